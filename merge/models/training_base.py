"""Which model a fine-tuning of our own started from, by samples of its tensors.

`safemerge finetune` writes them beside what it makes: for some tensors of the base the type, the
shape, and a hash of how the tensor begins.
"""

from pathlib import Path
from typing import Any

from merge.formats.checksums import digest
from merge.formats.dtypes import ITEM_SIZE
from merge.formats.json_object import read_json
from merge.models.checkpoint import Checkpoint

MANIFEST = "safemerge_finetune.json"
SAMPLE_BYTES = 1 << 16


def differing_sample(folder: Path, base: Checkpoint) -> str | None:
    """Return a tensor that differs in the base given and the one a folder was fine-tuned from.

    Empty if all samples are equal; None if none can be compared, as where the base is stored in
    another type, or the folder was made by others.
    """
    if not (folder / MANIFEST).is_file():
        return None
    recorded = read_json(folder / MANIFEST).get("base")
    samples = recorded.get("samples") if isinstance(recorded, dict) else None
    compared = False
    for name, sample in (samples or {}).items():
        tensor = base.tensors.get(name)
        if tensor is None or tensor.dtype != sample["dtype"]:
            continue
        if list(tensor.shape) != sample["shape"]:
            return str(name)
        compared = True
        stop = min(tensor.elements, SAMPLE_BYTES // ITEM_SIZE[tensor.dtype])
        if _hash(tensor.read_bytes(0, stop)) != sample["begins"]:
            return str(name)
    return "" if compared else None


def _hash(data: Any) -> str:
    return digest(data).hex()
