"""Where safemerge keeps what it can make again."""

import os
from pathlib import Path

VARIABLE = "SAFEMERGE_CACHE_DIR"


def cache_dir() -> Path:
    """Return `SAFEMERGE_CACHE_DIR`, else `safemerge` in the user's cache folder; not created."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "safemerge"
