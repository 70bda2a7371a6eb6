"""The toy model family, and the whole story told with it."""
