"""What of a response is the program: Farn et al. 2024, arXiv 2412.19512.

The first block marked ```` ```python ````, else the response as it stands. Nothing is stripped,
because the first line's indentation continues the prompt's function.
"""

import re

_BLOCK = re.compile(r"```python[ \t]*\r?\n(.*?)```", re.DOTALL)


def has_block(response: str) -> bool:
    """Return whether a response holds a finished Python block."""
    return _BLOCK.search(response) is not None


def completion(response: str) -> str:
    """Return what follows the problem's prompt in the program.

    A block that the token limit cut off has no end and so is none. One that repeats the function
    is fine: the prompt ends after a docstring, so the second definition replaces the first.
    """
    found = _BLOCK.search(response)
    return found[1] if found else response
