"""Whether two stored tensors hold the same values."""

from merge.formats.checksums import block_ranges
from merge.formats.dtypes import ITEM_SIZE
from merge.formats.stored_tensor import StoredTensor


def same_values(one: StoredTensor, other: StoredTensor) -> bool:
    """Return whether two tensors are equal, value by value, whatever type each is stored in."""
    if one is other:
        return True
    if one.shape != other.shape:
        return False
    same = _same_bytes if one.dtype == other.dtype else _same_numbers
    return all(same(one, other, start, stop) for start, stop in block_ranges(one.elements))


def _same_bytes(one: StoredTensor, other: StoredTensor, start: int, stop: int) -> bool:
    return one.read_bytes(start, stop) == other.read_bytes(start, stop)


def _same_numbers(one: StoredTensor, other: StoredTensor, start: int, stop: int) -> bool:
    import torch

    first, second = (each.read(start, stop)[0].to(torch.float64) for each in (one, other))
    return torch.equal(first, second)


def all_zero(tensor: StoredTensor) -> bool:
    """Return whether a tensor of floating-point numbers holds zeros only. This takes no torch."""
    size = ITEM_SIZE[tensor.dtype]
    return all(
        _zero(bytes(tensor.read_bytes(start, stop)), size)
        for start, stop in block_ranges(tensor.elements)
    )


def _zero(data: bytes, size: int) -> bool:
    """Return whether little-endian numbers are 0 or -0, which has its sign bit set."""
    below = (data[place::size] for place in range(size - 1))
    return not any(part.strip(b"\0") for part in below) and not data[size - 1 :: size].translate(
        None, b"\x00\x80"
    )
