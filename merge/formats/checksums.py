"""Checksums of tensors and files: xxh3-128 over blocks.

A tensor's checksum is xxh3-128 of the digests of its blocks, so that several threads can work on
one tensor and the value depends on the bytes alone. It finds accidents (a flipped bit, a truncated
copy), and costs almost nothing; it is no defence against someone who forges files on purpose.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import xxhash

# One block is also the piece the engine works on: with its float32 copies it stays in a core's
# second-level cache.
BLOCK_ELEMENTS = 262_144
_FILE_PIECE = 1 << 20


def algorithm(size: int = BLOCK_ELEMENTS) -> str:
    """Return what a manifest calls a tensor's checksum over blocks of this many elements."""
    return f"xxh3-128 of the xxh3-128 digests of blocks of {size} elements"


def block_ranges(elements: int, size: int = BLOCK_ELEMENTS) -> Iterator[tuple[int, int]]:
    """Yield each block's first element of a tensor, and the one behind its last."""
    for start in range(0, elements, size):
        yield start, min(start + size, elements)


def digest(data: memoryview | bytes) -> bytes:
    """Return the 16-byte digest of one block."""
    return xxhash.xxh3_128_digest(data)


def combine(digests: Iterable[bytes]) -> str:
    """Return a tensor's checksum from its blocks' digests, in order."""
    return xxhash.xxh3_128_hexdigest(b"".join(digests))


def file_checksum(path: Path) -> str:
    """Return xxh3-128 of a whole file."""
    state = xxhash.xxh3_128()
    with path.open("rb") as file:
        while piece := file.read(_FILE_PIECE):
            state.update(piece)
    return state.hexdigest()


def text_checksum(text: str) -> str:
    """Return xxh3-128 of a text in UTF-8."""
    return xxhash.xxh3_128_hexdigest(text.encode())
