"""Results as tables, plots, Markdown and one HTML page; and their history over many nights."""
