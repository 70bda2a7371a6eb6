"""Metrics: verdicts and references in, numbers out."""
