"""The one exception a caller of this package has to know."""


class MergeError(Exception):
    """A merge cannot be done; the message is a sentence that names file, value and fix."""
