"""A gate's report for people, pull requests, CI servers and programs."""
