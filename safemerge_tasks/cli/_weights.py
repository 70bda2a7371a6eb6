"""The option `--lambda` of commands that take plain numbers."""

from safemerge_tasks.common.errors import SafemergeError


def read_weights(text: str) -> list[float]:
    """Return the weights.

    Raises:
        SafemergeError: one is no number.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise SafemergeError(
            f"--lambda {text!r} is no list of numbers; write --lambda 0.2,0.4."
        ) from None
