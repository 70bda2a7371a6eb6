"""Judges in files of the user's own: how they are written, and how they are read."""
