"""What reports draw; matplotlib is imported only then."""
