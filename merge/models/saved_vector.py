"""Safety vectors that were saved before: differences of weights, which are no models."""

from pathlib import Path

from merge.formats.json_object import read_json

MANIFEST = "safemerge_manifest.json"
METHOD = "safety-vector"


def is_saved_vector(folder: Path) -> bool:
    """Return whether a folder holds what `safemerge vector` saves."""
    path = folder / MANIFEST
    return path.is_file() and (read_json(path).get("recipe") or {}).get("method") == METHOD
