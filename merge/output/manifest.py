"""The manifest of an output: what it was made from, and checksums of all that it holds.

The manifest is written last, and ends with a checksum of itself. A folder without a whole one is
not a checkpoint.
"""

import json
import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from merge.engine.plan import Plan
from merge.engine.plan_work import Result
from merge.engine.rounding_loss import RoundingLoss
from merge.errors import MergeError
from merge.formats.checksums import algorithm, combine, file_checksum, text_checksum
from merge.formats.stored_tensor import StoredTensor
from merge.lora.adapter import adapter_file
from merge.models.checkpoint import Checkpoint
from merge.models.input_models import InputModel
from merge.models.saved_vector import MANIFEST
from merge.output.public_names import public_name, public_notes, public_recipe
from merge.output.shard_files import Shard
from merge.recipe.recipe import Lambda

FORMAT = 1
_SELF = "manifest_checksum"


def describe_inputs(plan: Plan, result: Result) -> list[dict[str, Any]]:
    """Return the identity of every input: its name, commit if it has one, and checksum."""
    return [_describe(model, result) for model in plan.inputs.all()]


def _describe(model: InputModel, result: Result) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "role": model.role,
        "reference": public_name(str(model.reference)),
        "folder": model.folder.absolute().name,
        "commit": model.local.commit,
    }
    if model.adapter is not None:
        entry["kind"] = "adapter"
        entry["checksum"] = file_checksum(model.adapter.path)
        entry["on"] = model.checkpoint.folder.absolute().name
        return entry
    if model.merged_whole is not None:
        entry["kind"] = "adapter, merged by peft"
        entry["checksum"] = file_checksum(adapter_file(model.merged_whole))
        return entry
    entry["kind"] = "checkpoint"
    entry["checksum"], entry["tensors_read"] = checkpoint_checksum(
        model.checkpoint, result.input_digests
    )
    return entry


def checkpoint_checksum(
    checkpoint: Checkpoint, digests: Mapping[StoredTensor, Mapping[int, bytes]]
) -> tuple[str | None, int]:
    """Return a checksum over the tensors that were read, and how many those are.

    None if there are none, as of the base when only adapters are computed.

    It depends on names, types, shapes and values, and not on how they are divided over files.
    """
    lines = []
    for name, tensor in sorted(checkpoint.tensors.items()):
        if blocks := digests.get(tensor):
            value = combine(blocks[start] for start in sorted(blocks))
            lines.append(f"{name} {tensor.dtype} {list(tensor.shape)} {value}")
    return text_checksum("\n".join(lines)) if lines else None, len(lines)


def build_manifest(
    plan: Plan,
    *,
    lambda_: Lambda | None,
    inputs: list[dict[str, Any]],
    tensors: Mapping[str, Mapping[str, Any]],
    report: Counter[str],
    rounding: RoundingLoss | None,
    folder: Path,
    block_elements: int,
) -> dict[str, Any]:
    """Return the manifest of one output, given the files in its folder.

    Args:
        plan: what was computed.
        lambda_: the output's λ, for methods that have one.
        inputs: from `describe_inputs`.
        tensors: file, type, shape and checksum of every tensor.
        report: what the method counted.
        rounding: what the output's type rounded away; None of an adapter.
        folder: where the output's other files are already.
        block_elements: of the blocks that checksums are over.
    """
    weights = {str(tensor["file"]) for tensor in tensors.values()}
    return {
        "format": FORMAT,
        "tool": {"name": "safemerge", "version": version("safemerge"), "torch": version("torch")},
        "python": platform.python_version(),
        "recipe": public_recipe(plan.recipe),
        "lambda": lambda_,
        "method_file": plan.method.file
        and dict(zip(("name", "sha256"), plan.method.file, strict=True)),
        "inputs": inputs,
        "notes": public_notes(plan),
        "report": dict(report),
        "rounding": rounding and rounding.as_json(),
        "checksum_algorithm": algorithm(block_elements),
        "checksum_block": block_elements,
        "files": {
            str(path.relative_to(folder)): file_checksum(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name not in weights
        },
        "tensors": {name: dict(tensor) for name, tensor in tensors.items()},
    }


def write_manifest(manifest: Mapping[str, Any], folder: Path) -> None:
    """Write a manifest, closed with a checksum of itself."""
    closed = {**manifest, _SELF: _own_checksum(manifest)}
    (folder / MANIFEST).write_text(json.dumps(closed, indent=1) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return a folder's manifest.

    Raises:
        MergeError: it is missing, incomplete or changed.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        stored = manifest.pop(_SELF)
    except FileNotFoundError as error:
        raise MergeError(
            f"{folder} has no {MANIFEST}, so it is not a complete merged checkpoint; merge again."
        ) from error
    except (ValueError, KeyError, AttributeError, TypeError, OSError) as error:
        raise _damaged(path) from error
    if stored != _own_checksum(manifest):
        raise _damaged(path)
    if manifest.get("format") != FORMAT:
        raise MergeError(
            f"{path} has format {manifest.get('format')}, this version reads {FORMAT}; verify it "
            f"with the version of safemerge that wrote it."
        )
    return dict(manifest)


def _own_checksum(manifest: Mapping[str, Any]) -> str:
    return text_checksum(json.dumps(manifest, sort_keys=True))


def _damaged(path: Path) -> MergeError:
    return MergeError(f"{path} is damaged or was edited; merge again.")


def tensor_entries(
    checksums: Mapping[str, str], shards: Iterable[Shard]
) -> dict[str, dict[str, Any]]:
    """Return the manifest's entry for every tensor."""
    return {
        name: {
            "file": shard.file,
            "dtype": entry.dtype,
            "shape": list(entry.shape),
            "checksum": checksums[name],
        }
        for shard in shards
        for name, entry in shard.entries.items()
    }
