"""The `safemerge merge` and `safemerge verify` commands."""


def merge() -> None:
    """Merge a fine-tuned model back toward its aligned base."""
    raise NotImplementedError


def verify() -> None:
    """Check a merged checkpoint against its manifest."""
    raise NotImplementedError
