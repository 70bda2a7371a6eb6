"""What is said of one response: a verdict, and the form in which lm-eval keeps it."""
