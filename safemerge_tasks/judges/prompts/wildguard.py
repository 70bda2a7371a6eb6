"""WildGuard's prompt, byte for byte the one in the PyPI package `wildguard` 1.0.1.

Copied by requirements/wildguard_prompt.py. Whitespace matters to the classifier, hence the hash.
"""

import hashlib
from functools import cache
from pathlib import Path

from safemerge_tasks.common.errors import SafemergeError

PATH = Path(__file__).with_suffix(".txt")
SHA256 = "5e74b62445cca8e91d51deba51848059267bd2b8c279ac1c7a94adef445d8bdf"


@cache
def wildguard_prompt() -> str:
    """Return WildGuard's input format, with the fields `{prompt}` and `{response}`.

    Raises:
        SafemergeError: the file is missing, or does not hold that prompt.

    Source: Han et al. 2024, arXiv 2406.18495. Copyright 2024 Allen Institute for Artificial
    Intelligence, Apache-2.0 (`wildguard.LICENSE.md`).
    """
    try:
        text = PATH.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SafemergeError(f"{PATH} cannot be read; install safemerge again.") from error
    digest = hashlib.sha256(text.encode()).hexdigest()
    if digest != SHA256:
        raise SafemergeError(
            f"{PATH} does not hold the prompt of wildguard 1.0.1 (sha256 {digest[:12]} instead of "
            f"{SHA256[:12]}); install safemerge again."
        )
    return text
