"""Whether an adapter was trained on the model it is put on."""

import re
from pathlib import Path

from merge.errors import MergeError
from merge.formats.checksums import BLOCK_ELEMENTS
from merge.formats.dtypes import FLOATS
from merge.formats.stored_tensor import StoredTensor
from merge.lora.adapter import Adapter
from merge.models.checkpoint import Checkpoint, open_checkpoint
from merge.models.model_location import ModelReference
from merge.models.training_base import differing_sample

# What repositories of quantised copies append to the model's name.
_QUANTISED = re.compile(
    r"(-unsloth)?(-bnb)?-(4|8)bit$|-(gptq|awq|hqq|fp8|int4|int8|w4a16|w8a8)\b.*$|-unsloth$",
    re.IGNORECASE,
)
# Beyond this relative difference two copies are not one model in two number formats.
_ROUNDING = 0.01


def origin(
    adapter: Adapter, reference: ModelReference, base: Checkpoint, *, compare: bool
) -> tuple[str | None, str | None]:
    """Return a problem, if the adapter provably belongs to another model, and a note, if it may.

    Args:
        adapter: the adapter.
        reference: the model as it was given.
        base: the model.
        compare: whether values may be read.
    """
    named = adapter.config.base_name
    sample = differing_sample(adapter.folder, base) if compare else None
    if sample:
        return (
            f"{adapter.folder} was trained on another model than {base.folder}, as {sample} shows "
            f"(safemerge_finetune.json); give {named or 'that model'} as the base, or as "
            f"{named or 'MODEL'}+{adapter.folder}"
        ), None
    if sample is not None:
        return None, None
    note = other_name(adapter.folder, named, reference, base)
    if note is None:
        return None, None
    there = Path(named).expanduser()
    if not there.is_dir() or not compare:
        return None, note
    if there.resolve() == base.folder.resolve():
        return None, None
    try:
        own = open_checkpoint(there)
    except MergeError:
        return None, note
    try:
        differing = _differing(adapter, own, base)
    finally:
        own.close()
    if differing is None:
        return None, note
    if not differing:
        return None, None
    return (
        f"{adapter.folder} was trained on {there} (its adapter_config.json says so), and "
        f"{base.folder} differs from it in {differing}; give {there} as the base, or the model as "
        f"{there}+{adapter.folder}"
    ), None


def other_name(folder: Path, named: str, reference: ModelReference, base: Checkpoint) -> str | None:
    """Return a note if the model that an adapter names is not the one that was given."""
    if not named or _same_name(named, reference, base):
        return None
    return (
        f"{folder.name} says that it was trained on {named}, and {reference} was given as its base"
    )


def _same_name(named: str, reference: ModelReference, base: Checkpoint) -> bool:
    names = [reference.model, base.folder.name, str(base.config.get("_name_or_path") or "")]
    # The Hub's cache: models--OWNER--NAME/snapshots/COMMIT.
    names += [part.split("--")[-1] for part in base.folder.parts if part.startswith("models--")]
    return _plain(named) in {_plain(name) for name in names if name}


def _plain(name: str) -> str:
    """Return a model's own name: no owner, no folders, no mark of a quantised copy."""
    last = name.rstrip("/").rsplit("/", 1)[-1].lower()
    return _QUANTISED.sub("", last)


def _differing(adapter: Adapter, own: Checkpoint, base: Checkpoint) -> str | None:
    """Return a tensor that the adapter updates and that is not the same in both models.

    Empty if all are; None if none can be compared, as where one copy is quantised.
    """
    compared = False
    for name in [*adapter.factors, *adapter.experts, *adapter.tokens]:
        one, other = own.tensors.get(name), base.tensors.get(name)
        if one is None or other is None or not {one.dtype, other.dtype} <= FLOATS:
            continue
        if one.shape != other.shape:
            return name
        compared = True
        if not _alike(one, other):
            return name
    return "" if compared else None


def _alike(one: StoredTensor, other: StoredTensor) -> bool:
    """Return whether two tensors begin alike, to the bit where they are stored alike."""
    stop = min(one.elements, BLOCK_ELEMENTS)
    if one.dtype == other.dtype:
        return one.read_bytes(0, stop) == other.read_bytes(0, stop)
    first, second = (tensor.read(0, stop)[0].double() for tensor in (one, other))
    return float((first - second).norm()) <= _ROUNDING * float(first.norm())
