"""Shards of an output: which file each tensor goes to, and writing them in any order.

All shapes are known before the first value is computed, so every file starts with its finished
header and tensors are written where they belong, from any thread.
"""

import errno
import fcntl
import json
import os
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from merge.engine.fp8_output import RowScales
from merge.engine.plan import TensorPlan
from merge.errors import MergeError
from merge.formats.safetensors import Entry, build_header
from merge.formats.stored_tensor import FilePlace
from merge.models.checkpoint import INDEX_FILE

# What disks share is a multiple of this, on every common one.
DISK_BLOCK = 4096
# FICLONERANGE, from linux/fs.h.
_CLONE_RANGE = 0x4020940D


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
    named = {tensor.name: tensor for tensor in tensors}
    return [
        _shard(file, [named[name] for name in names])
        for file, names in split.filename_to_tensors.items()
    ]


def _shard(file: str, tensors: Sequence[TensorPlan | RowScales]) -> Shard:
    """Lay out a file so that most of what is copied lies in its disk blocks as in the base's."""
    arrays = {tensor.name: (tensor.dtype, tensor.shape) for tensor in tensors}
    header, entries = build_header(arrays)
    shifts: Counter[int] = Counter()
    for tensor in tensors:
        if isinstance(tensor, RowScales):
            continue
        base = tensor.operands.base
        if tensor.unchanged and base is not None and tensor.dtype == base.stored.dtype:
            shift = (base.stored.offset - entries[tensor.name].offset) % DISK_BLOCK
            shifts[shift] += tensor.nbytes
    if shifts:
        header, entries = build_header(arrays, len(header) + shifts.most_common(1)[0][0])
    return Shard(file, header, entries)


class ShardWriter:
    """Writes one output's shards. Safe to use from several threads for different bytes.

    What is a copy shares the disk blocks of where it is from, on disks that can (XFS, btrfs): it
    takes no room and next to no time. Elsewhere it is written from memory, where it was read for
    its checksum; letting the kernel copy it once more takes longer than that.
    """

    def __init__(self, folder: Path, shards: Sequence[Shard]) -> None:
        self.folder = folder
        self._descriptors: list[int] = []
        self._targets: dict[str, tuple[int, Entry, Path]] = {}
        # Files whose blocks cannot be shared here.
        self._apart: set[int] = set()
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

    def write(
        self, name: str, position: int, data: memoryview, source: FilePlace | None = None
    ) -> None:
        """Write part of a tensor, ``position`` bytes from its start.

        Args:
            name: of the tensor.
            position: of the part in it.
            data: the bytes.
            source: where the same bytes lie in a file, if they do.

        Raises:
            MergeError: the disk is full or fails.
        """
        descriptor, entry, path = self._targets[name]
        start = entry.offset + position
        first, last = 0, 0
        if source is not None and source.descriptor not in self._apart:
            first, last = self._share(source, descriptor, start, len(data))
        _write(descriptor, data[:first], start, path)
        _write(descriptor, data[last:], start + last, path)

    def _share(
        self, source: FilePlace, descriptor: int, start: int, length: int
    ) -> tuple[int, int]:
        """Share the whole disk blocks among some bytes; return which of them it was."""
        first, last = -start % DISK_BLOCK, (start + length) // DISK_BLOCK * DISK_BLOCK - start
        if last <= first or (source.offset - start) % DISK_BLOCK:
            return 0, 0
        wanted = struct.pack(
            "qQQQ", source.descriptor, source.offset + first, last - first, start + first
        )
        try:
            fcntl.ioctl(descriptor, _CLONE_RANGE, wanted)
        # Another disk, one that shares nothing, or larger blocks: all are written, and an error of
        # writing is told there.
        except OSError:
            self._apart.add(source.descriptor)
            return 0, 0
        return first, last

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
