"""A document as a page, Markdown, lines on a terminal, JUnit XML, GitHub's annotations or JSON."""
