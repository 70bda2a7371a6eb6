"""A merge planned and run: every block of the inputs read once, memory bounded."""
