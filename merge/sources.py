"""Read: checkpoints as named tensors that are fetched block by block.

Opening a checkpoint reads headers only. Blocks are read with positioned reads into buffers of our
own: a memory map would be simpler, but its pages count as this process's memory.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from merge.bin_file import read_bin_header
from merge.dtypes import ITEM_SIZE, torch_dtype
from merge.errors import MergeError
from merge.safetensors_file import read_header

if TYPE_CHECKING:
    import torch

CONFIG = "config.json"
SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
BIN_FILE = "pytorch_model.bin"
BIN_INDEX_FILE = "pytorch_model.bin.index.json"


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor in a file; two are equal only if they are the same object."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: Path
    descriptor: int
    offset: int

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def read_bytes(self, start: int, stop: int, into: memoryview | None = None) -> memoryview:
        """Return the bytes of elements ``start`` to ``stop`` of the flattened tensor.

        Raises:
            MergeError: the file ends early or cannot be read.
        """
        size = ITEM_SIZE[self.dtype]
        length = (stop - start) * size
        buffer = memoryview(bytearray(length)) if into is None else into
        position, done = self.offset + start * size, 0
        while done < length:
            try:
                got = os.preadv(self.descriptor, [buffer[done:]], position + done)
            except OSError as error:
                raise MergeError(
                    f"{self.path}: reading {self.name} failed ({error.strerror}); check the disk."
                ) from error
            if got == 0:
                raise MergeError(
                    f"{self.path} ended while {self.name} was being read: it was changed or "
                    f"truncated meanwhile; restore the file and run again."
                )
            done += got
        return buffer

    def read(self, start: int, stop: int) -> "tuple[torch.Tensor, memoryview]":
        """Return elements ``start`` to ``stop`` in the stored type, flat, and their bytes."""
        import torch

        data = torch.empty(stop - start, dtype=torch_dtype(self.dtype))
        view = data.view(torch.uint8).numpy().data
        return data, self.read_bytes(start, stop, view)


@dataclass
class Checkpoint:
    """An opened model folder: its configuration and its tensors by name."""

    folder: Path
    config: Mapping[str, Any]
    tensors: dict[str, StoredTensor]
    descriptors: list[int] = field(default_factory=list)

    def close(self) -> None:
        """Close the files."""
        while self.descriptors:
            os.close(self.descriptors.pop())


def open_checkpoint(folder: Path) -> Checkpoint:
    """Open a model folder: one safetensors file, or an index and its shards.

    Raises:
        MergeError: files are missing or broken, or the index leads out of the folder.
    """
    config = read_json(folder / CONFIG)
    tensors: dict[str, StoredTensor] = {}
    descriptors: list[int] = []
    for path in weight_files(folder):
        entries = read_header(path) if path.suffix == ".safetensors" else read_bin_header(path)
        descriptors.append(os.open(path, os.O_RDONLY))
        for name, entry in entries.items():
            if name in tensors:
                raise MergeError(
                    f"{folder}: tensor {name} is in {tensors[name].path.name} and in {path.name}; "
                    f"remove the shard that does not belong to the model."
                )
            tensors[name] = StoredTensor(
                name, entry.dtype, entry.shape, path, descriptors[-1], entry.offset
            )
    _check_index(folder, tensors)
    return Checkpoint(folder, config, tensors, descriptors)


def weight_files(folder: Path) -> list[Path]:
    """Return the files that hold a model's weights.

    Raises:
        MergeError: there are none, or the index names files that are missing or elsewhere.
    """
    for single, index in ((SINGLE_FILE, INDEX_FILE), (BIN_FILE, BIN_INDEX_FILE)):
        if (folder / index).is_file():
            names = sorted({str(name) for name in read_index(folder / index).values()})
            return [_inside(folder, index, name) for name in names]
        if (folder / single).is_file():
            return [folder / single]
    raise MergeError(
        f"{folder} holds no weights: neither {SINGLE_FILE} nor {INDEX_FILE} is there, nor their "
        f".bin forms; give a checkpoint folder."
    )


def read_index(path: Path) -> dict[str, str]:
    """Return which file of a sharded checkpoint holds each tensor."""
    weight_map = read_json(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise MergeError(f"{path} has no weight_map; save the checkpoint again.")
    return weight_map


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
    if index is None or (folder / SINGLE_FILE).is_file():
        return
    wrong = [
        name
        for name, file in read_index(index).items()
        if name not in tensors or tensors[name].path.name != file
    ]
    if wrong:
        raise MergeError(
            f"{index} promises tensors that its files do not hold: {', '.join(sorted(wrong)[:5])}; "
            f"save the checkpoint again."
        )
