"""JSON files that hold one object, such as configurations."""

import json
from pathlib import Path
from typing import Any

from merge.errors import MergeError


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file's object.

    Raises:
        MergeError: the file is missing or not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MergeError(f"{path} is missing; give a complete model folder.") from error
    except (ValueError, OSError) as error:
        raise MergeError(f"{path} cannot be read as JSON ({error}); save it again.") from error
    if not isinstance(value, dict):
        raise MergeError(f"{path} holds no JSON object; save it again.")
    return value
