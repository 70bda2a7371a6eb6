"""Sizes of files as people write them."""

from merge.errors import MergeError

_UNITS = {"TB": 10**12, "GB": 10**9, "MB": 10**6, "KB": 10**3, "B": 1}


def parse_size(text: str) -> int:
    """Return the bytes of a size such as ``5GB``, with the units huggingface_hub takes.

    Raises:
        MergeError: it is no size.
    """
    cleaned = text.strip().upper()
    for unit, factor in _UNITS.items():
        number = cleaned.removesuffix(unit)
        if number != cleaned or unit == "B":
            try:
                size = int(float(number) * factor)
            except (ValueError, OverflowError):
                break
            if size > 0:
                return size
            break
    raise MergeError(f"--max-shard-size is {text!r}; give a size such as 5GB or 500MB.")
