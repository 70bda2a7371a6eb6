"""The one exception a caller of this package has to know."""


class SafemergeError(Exception):
    """Bad input; the message is one sentence naming the file, the value and the fix."""
