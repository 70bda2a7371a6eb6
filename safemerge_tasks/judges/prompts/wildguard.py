"""WildGuard's prompt, read from the `wildguard` distribution without importing it.

Importing that package imports vLLM and its own engine code, so the constant is taken from its
source file. Whitespace matters to the classifier, hence the hash check.
"""

import ast
import hashlib
from functools import cache
from importlib import metadata
from pathlib import Path

from safemerge_tasks.common.errors import SafemergeError

DISTRIBUTION = "wildguard"
VERSION = "1.0.1"
SHA256 = "5e74b62445cca8e91d51deba51848059267bd2b8c279ac1c7a94adef445d8bdf"
_SOURCE = "wildguard/utils.py"
_CONSTANT = "WILDGUARD_INPUT_FORMAT"
_INSTALL = f"pip install --no-deps {DISTRIBUTION}=={VERSION}"


@cache
def wildguard_prompt() -> str:
    """Return WildGuard's input format, with the fields `{prompt}` and `{response}`.

    Raises:
        SafemergeError: the distribution is not installed, or its prompt is not the pinned one.

    Source: Han et al. 2024, arXiv 2406.18495; the PyPI distribution `wildguard`.
    """
    try:
        source = Path(str(metadata.distribution(DISTRIBUTION).locate_file(_SOURCE)))
        text = _constant(source.read_text(encoding="utf-8"))
    except (metadata.PackageNotFoundError, FileNotFoundError) as error:
        raise SafemergeError(
            "The wildguard judge takes its prompt from the package "
            f"'{DISTRIBUTION}', which is not installed: run `{_INSTALL}`."
        ) from error
    digest = hashlib.sha256((text or "").encode()).hexdigest()
    if text is None or digest != SHA256:
        raise SafemergeError(
            f"{source} does not hold the prompt of {DISTRIBUTION} {VERSION} "
            f"(sha256 {digest[:12]} instead of {SHA256[:12]}): run `{_INSTALL}`."
        )
    return text


def _constant(source: str) -> str | None:
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            if _CONSTANT in names and isinstance(node.value.value, str):
                return node.value.value
    return None
