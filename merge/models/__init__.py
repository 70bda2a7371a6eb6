"""Models on disk: where they are, what they hold, and how several are brought together."""
