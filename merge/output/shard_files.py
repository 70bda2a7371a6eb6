"""Shards of an output: which file each tensor goes to, and writing them in any order.

All shapes are known before the first value is computed, so every file starts with its finished
header and tensors are written where they belong, from any thread.
"""

import errno
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from merge.engine.fp8_output import RowScales
from merge.engine.plan import TensorPlan
from merge.errors import MergeError
from merge.formats.safetensors import Entry, build_header
from merge.models.checkpoint import INDEX_FILE


@dataclass(frozen=True)
class Shard:
    """One output file: its name, its header, and where its tensors go."""

    file: str
    header: bytes
    entries: dict[str, Entry]

    @property
    def size(self) -> int:
        """Size of the file in bytes."""
        return len(self.header) + sum(entry.nbytes for entry in self.entries.values())


def plan_shards(tensors: Sequence[TensorPlan | RowScales], max_bytes: int) -> list[Shard]:
    """Divide tensors over files as `save_pretrained` does; one beyond the limit gets its own."""
    from huggingface_hub import split_state_dict_into_shards_factory

    split = split_state_dict_into_shards_factory(
        {tensor.name: tensor for tensor in tensors},
        get_storage_size=lambda tensor: tensor.nbytes,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=max_bytes,
    )
    arrays = {tensor.name: (tensor.dtype, tensor.shape) for tensor in tensors}
    return [
        Shard(file, *build_header({name: arrays[name] for name in names}))
        for file, names in split.filename_to_tensors.items()
    ]


class ShardWriter:
    """Writes one output's shards. Safe to use from several threads for different bytes."""

    def __init__(self, folder: Path, shards: Sequence[Shard]) -> None:
        self.folder = folder
        self._descriptors: list[int] = []
        self._targets: dict[str, tuple[int, Entry, Path]] = {}
        for shard in shards:
            self._create(shard)
        if len(shards) > 1:
            self._write_index(shards)

    def _create(self, shard: Shard) -> None:
        path = self.folder / shard.file
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        self._descriptors.append(descriptor)
        _write(descriptor, memoryview(shard.header), 0, path)
        os.ftruncate(descriptor, shard.size)
        for name, entry in shard.entries.items():
            self._targets[name] = (descriptor, entry, path)

    def _write_index(self, shards: Sequence[Shard]) -> None:
        total = sum(entry.nbytes for shard in shards for entry in shard.entries.values())
        weight_map = {name: shard.file for shard in shards for name in shard.entries}
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        text = json.dumps(index, indent=2) + "\n"
        (self.folder / INDEX_FILE).write_text(text, encoding="utf-8")

    def write(self, name: str, position: int, data: memoryview) -> None:
        """Write part of a tensor, ``position`` bytes from its start.

        Raises:
            MergeError: the disk is full or fails.
        """
        descriptor, entry, path = self._targets[name]
        _write(descriptor, data, entry.offset + position, path)

    def close(self) -> None:
        """Close the files."""
        while self._descriptors:
            os.close(self._descriptors.pop())


def _write(descriptor: int, data: memoryview, position: int, path: Path) -> None:
    done = 0
    while done < len(data):
        try:
            done += os.pwrite(descriptor, data[done:], position + done)
        except OSError as error:
            full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            fix = "free space there or choose another --out" if full else "check the disk"
            raise MergeError(f"{path} cannot be written ({error.strerror}); {fix}.") from error
