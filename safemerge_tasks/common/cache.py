"""Where safemerge keeps what it can make again."""

import os
from pathlib import Path

from safemerge_tasks.common.errors import SafemergeError

VARIABLE = "SAFEMERGE_CACHE_DIR"


def cache_dir() -> Path:
    """Return `SAFEMERGE_CACHE_DIR`, else `safemerge` in the user's cache folder; not created.

    Raises:
        SafemergeError: nothing says where that is.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "safemerge"
    except RuntimeError as error:
        raise SafemergeError(
            f"This user has no home folder to keep a cache in; set {VARIABLE} or HOME."
        ) from error
