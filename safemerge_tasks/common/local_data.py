"""The user's folder of files that would otherwise be fetched."""

import os
from pathlib import Path

DATA_DIR = "SAFEMERGE_DATA_DIR"
"""The environment variable that names it."""


def data_dir() -> Path | None:
    """Return the folder that `SAFEMERGE_DATA_DIR` names; None if it names none."""
    named = os.environ.get(DATA_DIR)
    return Path(named).expanduser() if named else None
