"""Samples of a checkpoint's tensors: enough to tell it from another, and quick to take."""

import json
from pathlib import Path
from typing import Any

import xxhash

_SAMPLES = 32
_BYTES = 1 << 16
_LENGTH = 8
_SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


def sample_tensors(folder: Path) -> dict[str, Any]:
    """Return type, shape and a hash of the first bytes of some tensors, by name.

    They are at least `_SAMPLES` of those in safetensors files, evenly spread over the names.
    """
    found = {}
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH), "little")
            header = json.loads(file.read(length))
        for name, entry in header.items():
            if name != "__metadata__" and entry["dtype"] in _SIZES:
                found[name] = path, _LENGTH + length, entry
    names = sorted(found)
    step = max(1, len(names) // _SAMPLES)
    return {name: _sample(*found[name]) for name in names[::step]}


def _sample(path: Path, data: int, entry: dict[str, Any]) -> dict[str, Any]:
    begin, end = entry["data_offsets"]
    with path.open("rb") as file:
        file.seek(data + begin)
        beginning = file.read(min(end - begin, _BYTES))
    digest = xxhash.xxh3_128_hexdigest(beginning)
    return {"dtype": entry["dtype"], "shape": entry["shape"], "begins": digest}
