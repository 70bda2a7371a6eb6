"""The one exception a caller of this package has to know."""


class MergeError(Exception):
    """A merge cannot be done; the message is one sentence naming the file, the value and the fix."""
