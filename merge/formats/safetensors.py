"""The safetensors file format: where each tensor lies, read and written without the tensors.

A file is an 8-byte little-endian header length, the header as JSON, and the tensors' bytes. See
https://github.com/huggingface/safetensors#format. Everything a merge has to know about an input is
in the header, and everything a reader has to know about an output can be written before its data.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merge.errors import MergeError
from merge.formats.dtypes import ITEM_SIZE, Array

_LENGTH_BYTES = 8
# How git-lfs begins what stands for a file that was not fetched.
_POINTER = b"version "
_ALIGNMENT = 8
# The format's own limit: a length beyond it is a file of another kind, not a large header.
_MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True)
class Entry(Array):
    """One tensor of a file: its type name, shape, and the byte offset of its first element."""

    dtype: str
    shape: tuple[int, ...]
    offset: int


def read_header(path: Path) -> dict[str, Entry]:
    """Return the tensors of a safetensors file by name, with offsets from the start of the file.

    Raises:
        MergeError: the file is not safetensors, is truncated, or its header contradicts itself.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(_LENGTH_BYTES)
        length = int.from_bytes(prefix, "little")
        if prefix == _POINTER:
            raise MergeError(f"{path} is git's pointer to a file; fetch it with git lfs pull.")
        if len(prefix) < _LENGTH_BYTES or length > min(_MAX_HEADER_BYTES, size - _LENGTH_BYTES):
            raise _broken(path, f"its {size} bytes do not hold the header they announce")
        text = file.read(length)
    try:
        header = json.loads(text, object_pairs_hook=_each_once)
    except _TwiceError as error:
        raise _broken(path, f"its header has {error} twice") from error
    except ValueError as error:
        raise _broken(path, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise _broken(path, "its header is not a JSON object")
    header.pop("__metadata__", None)
    data_start = _LENGTH_BYTES + length
    entries = {name: _entry(path, name, value, data_start) for name, value in header.items()}
    _check_extent(path, entries, data_start, size)
    return entries


class _TwiceError(Exception):
    """A name that one JSON object has twice."""


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(next(name for name in names if names.count(name) > 1))
    return found


def _entry(path: Path, name: str, value: Any, data_start: int) -> Entry:
    try:
        dtype, shape = str(value["dtype"]), tuple(int(length) for length in value["shape"])
        start, stop = (int(offset) for offset in value["data_offsets"])
    except (TypeError, KeyError, ValueError) as error:
        raise _broken(path, f"the header entry of {name} is malformed") from error
    if dtype not in ITEM_SIZE:
        raise MergeError(
            f"{path}: tensor {name} has the type {dtype}, which this version cannot read; "
            f"convert the checkpoint to float32, float16 or bfloat16."
        )
    entry = Entry(dtype, shape, data_start + start)
    if min(shape, default=0) < 0 or start < 0 or stop - start != entry.nbytes:
        raise _broken(path, f"{name} has {stop - start} bytes for {dtype} of shape {list(shape)}")
    return entry


def _check_extent(path: Path, entries: dict[str, Entry], data_start: int, size: int) -> None:
    """Tensors must follow one another without gap or overlap up to the end of the file."""
    end = data_start
    for entry in sorted(entries.values(), key=lambda entry: (entry.offset, entry.nbytes)):
        if entry.offset != end:
            raise _broken(path, "its tensors overlap or leave gaps")
        end += entry.nbytes
    if end != size:
        raise _broken(path, f"it has {size} bytes where its header describes {end}")


def _broken(path: Path, what: str) -> MergeError:
    return MergeError(f"{path} is not a whole safetensors file: {what}; download or save it again.")


def build_header(
    tensors: dict[str, tuple[str, tuple[int, ...]]], least: int = 0
) -> tuple[bytes, dict[str, Entry]]:
    """Return a file's header bytes and where each tensor goes, for tensors laid out in order.

    Args:
        tensors: type name and shape of each tensor.
        least: how many bytes the header has at least; what is missing is filled with spaces.
    """
    listing: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    relative: dict[str, Entry] = {}
    end = 0
    for name, (dtype, shape) in tensors.items():
        entry = Entry(dtype, shape, end)
        end += entry.nbytes
        relative[name] = entry
        listing[name] = {
            "dtype": dtype,
            "shape": list(shape),
            "data_offsets": [entry.offset, end],
        }
    header = encode_header(listing, least)
    return header, {
        name: Entry(entry.dtype, entry.shape, entry.offset + len(header))
        for name, entry in relative.items()
    }


def encode_header(listing: Mapping[str, Any], least: int = 0) -> bytes:
    """Return the bytes a file starts with, given what its header says of each tensor."""
    text = json.dumps(listing, separators=(",", ":")).encode()
    text = text.ljust(least - _LENGTH_BYTES)
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text
