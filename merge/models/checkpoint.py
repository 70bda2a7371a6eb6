"""Checkpoints on disk as named tensors; opening one reads headers only."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from merge.errors import MergeError
from merge.formats.json_object import read_json
from merge.formats.safetensors import read_header
from merge.formats.stored_tensor import StoredTensor
from merge.formats.tensor_names import unwrapped
from merge.formats.torch_bin import read_bin_header

CONFIG = "config.json"
SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
BIN_FILE = "pytorch_model.bin"
BIN_INDEX_FILE = "pytorch_model.bin.index.json"
WEIGHT_FILES = (SINGLE_FILE, INDEX_FILE, BIN_FILE, BIN_INDEX_FILE)


@dataclass
class Checkpoint:
    """An opened model folder: its configuration and its tensors by name.

    Attributes:
        dequantised: how its matrices are quantised, if they are and are taken as numbers.
    """

    folder: Path
    config: Mapping[str, Any]
    tensors: dict[str, StoredTensor]
    descriptors: list[int] = field(default_factory=list)
    dequantised: str | None = None

    @cached_property
    def by_shape(self) -> dict[tuple[int, ...], list[str]]:
        """The names of the tensors of each shape."""
        found: dict[tuple[int, ...], list[str]] = {}
        for name, tensor in self.tensors.items():
            found.setdefault(tensor.shape, []).append(name)
        return found

    @property
    def text_config(self) -> Mapping[str, Any]:
        """The language model's part of the configuration; all of it, if there are no parts."""
        part = self.config.get("text_config")
        return part if isinstance(part, dict) else self.config

    @property
    def layers(self) -> int | None:
        """How many layers the language model has, if the configuration says so."""
        for part in (self.config, self.text_config):
            for key in ("num_hidden_layers", "n_layer", "num_layers"):
                if part.get(key) is not None:
                    return self.whole_number(part, key)
        return None

    def whole_number(self, part: Mapping[str, Any], key: str) -> int:
        """Return what a part of the configuration counts.

        Raises:
            MergeError: it is no whole number.
        """
        if type(part[key]) is not int:
            raise MergeError(
                f"{self.folder / CONFIG}: {key} is {part[key]!r}, which is no whole number; "
                f"correct it."
            )
        return int(part[key])

    def close(self) -> None:
        """Close the files."""
        while self.descriptors:
            os.close(self.descriptors.pop())


def open_checkpoint(folder: Path) -> Checkpoint:
    """Open a model folder: one safetensors file, or an index and its shards.

    Raises:
        MergeError: files are missing or broken, or the index leads out of the folder.
    """
    if not (folder / CONFIG).is_file():
        if ranks := _ranks(folder):
            raise MergeError(f"{folder} {ranks}.")
        within = sorted([*folder.glob(f"*/{CONFIG}"), *folder.glob("*/adapter_config.json")])
        if within:
            raise MergeError(
                f"{folder / CONFIG} is missing, and {within[0].parent} has one or an adapter; give "
                f"that folder, or a complete model folder."
            )
    config = read_json(folder / CONFIG)
    tensors: dict[str, StoredTensor] = {}
    descriptors: list[int] = []
    checkpoint = Checkpoint(folder, config, tensors, descriptors)
    try:
        for path in weight_files(folder):
            entries = read_header(path) if path.suffix == ".safetensors" else read_bin_header(path)
            descriptors.append(os.open(path, os.O_RDONLY))
            for stored, entry in entries.items():
                name = unwrapped(stored)
                if name in tensors:
                    raise MergeError(
                        f"{folder}: tensor {name} is in {tensors[name].path.name} and in "
                        f"{path.name}; remove the shard that does not belong to the model."
                    )
                tensors[name] = StoredTensor(
                    name, entry.dtype, entry.shape, path, descriptors[-1], entry.offset
                )
        if not tensors:
            raise MergeError(f"{folder} holds no tensors in its weight files; save it again.")
        _check_index(folder, tensors)
        checkpoint.tensors = _without_prefix(tensors)
    except BaseException:
        checkpoint.close()
        raise
    return checkpoint


# What wraps a whole model: DistributedDataParallel and DeepSpeed, and peft.
_WHOLE = ("module.", "base_model.model.")


def _without_prefix(tensors: dict[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Return tensors by their names without what is wrapped around all of the model."""
    for prefix in _WHOLE:
        while tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): each for name, each in tensors.items()}
    return tensors


def weight_files(folder: Path) -> list[Path]:
    """Return the files that hold a model's weights.

    Raises:
        MergeError: there are none, or the index names files that are missing or elsewhere.
    """
    for single, index in ((SINGLE_FILE, INDEX_FILE), (BIN_FILE, BIN_INDEX_FILE)):
        if (folder / index).is_file():
            names = sorted({str(name) for name in read_index(folder / index).values()})
            if (folder / single).is_file() and names != [single]:
                raise MergeError(
                    f"{folder} holds two sets of weights, {single} and the files that {index} "
                    f"names, and loaders differ in which they take; remove the one that does not "
                    f"belong to the model."
                )
            return [_inside(folder, index, name) for name in names]
        if (folder / single).is_file():
            return [folder / single]
    raise MergeError(
        f"{folder} holds no weights: neither {SINGLE_FILE} nor {INDEX_FILE} is there, nor their "
        f".bin forms; {_what_is_there(folder)}."
    )


def _what_is_there(folder: Path) -> str:
    """Return what to do about a folder without weights, from what it holds in their place."""
    if found := sorted(folder.glob("*.gguf")):
        return f"{found[0].name} is GGUF, which is quantised: give the model it was made from"
    if (folder / "zero_to_fp32.py").is_file() or any(folder.glob("global_step*")):
        return "it holds DeepSpeed's shards: gather them with its zero_to_fp32.py first"
    if ranks := _ranks(folder) or _ranks(folder.parent):
        return f"its folder {ranks}"
    if any(folder.glob("iter_*")) or any(folder.glob("common.pt")):
        return "it holds Megatron's checkpoint: convert it to Hugging Face's form first"
    if any(folder.glob("*.distcp")) or any(folder.glob("*/*.distcp")):
        return "it holds FSDP's shards: gather them with `accelerate merge-weights` first"
    for single, index in ((SINGLE_FILE, INDEX_FILE), (BIN_FILE, BIN_INDEX_FILE)):
        found = sorted(folder.glob(f"*{Path(single).suffix}"))
        if shard := next((path.name for path in found if _SHARD.search(path.name)), None):
            return f"{shard} is a part of a model, and {index} is missing: download it too"
        if found:
            return f"rename {found[0].name} to {single} if it is the whole model"
    other = (path.name for kind in _OTHER_FORMS for path in sorted(folder.glob(kind)))
    if file := next(other, None):
        return f"{file} is of another framework: load the model there and save it as safetensors"
    if found := sorted(path.parent for path in folder.glob(f"*/{CONFIG}")):
        return f"give one of its folders, such as {found[0]}"
    return "give a checkpoint folder"


# A file's number among a model's.
_SHARD = re.compile(r"-\d+-of-\d+")
_OTHER_FORMS = ("*.h5", "*.msgpack", "*.onnx", "*.pt", "*.pth", "*.ckpt", "*.nemo")


def _ranks(folder: Path) -> str | None:
    """Return what to do about verl's files of each process, if a folder holds these."""
    if not any(folder.glob("model_world_size_*_rank_*.pt")):
        return None
    return "holds verl's shards: gather them with `python -m verl.model_merger merge` first"


def read_index(path: Path) -> dict[str, str]:
    """Return which file of a sharded checkpoint holds each tensor."""
    weight_map = read_json(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise MergeError(f"{path} has no weight_map; save the checkpoint again.")
    return weight_map


def _inside(folder: Path, index: str, name: str) -> Path:
    """Return a file that an index names, which must lie directly in the folder."""
    if Path(name).name != name or name in {"", ".", ".."}:
        raise MergeError(
            f"{folder / index} names the file {name!r}, which is outside the folder; an index "
            f"may name files beside it only, so do not trust this checkpoint."
        )
    path = folder / name
    if not path.is_file():
        raise MergeError(f"{path} is missing, though the index names it; download it again.")
    return path


def _check_index(folder: Path, tensors: Mapping[str, StoredTensor]) -> None:
    index = next(
        (folder / name for name in (INDEX_FILE, BIN_INDEX_FILE) if (folder / name).is_file()), None
    )
    if index is None or (index.name == BIN_INDEX_FILE and (folder / SINGLE_FILE).is_file()):
        return
    wrong = [
        name
        for name, file in read_index(index).items()
        if (found := tensors.get(unwrapped(name))) is None or found.path.name != file
    ]
    if wrong:
        raise MergeError(
            f"{index} promises tensors that its files do not hold: {', '.join(sorted(wrong)[:5])}; "
            f"save the checkpoint again."
        )
