"""What was asked: recipes from flags, from Python, and from YAML in mergekit's schema."""
