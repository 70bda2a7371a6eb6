"""Whether two stored tensors hold the same values."""

from merge.formats.checksums import block_ranges
from merge.formats.stored_tensor import StoredTensor


def same_values(one: StoredTensor, other: StoredTensor) -> bool:
    """Return whether two tensors are equal, value by value, whatever type each is stored in."""
    import torch

    if one is other:
        return True
    if one.shape != other.shape:
        return False
    for start, stop in block_ranges(one.elements):
        if one.dtype == other.dtype:
            if one.read_bytes(start, stop) != other.read_bytes(start, stop):
                return False
        elif not torch.equal(
            one.read(start, stop)[0].to(torch.float64), other.read(start, stop)[0].to(torch.float64)
        ):
            return False
    return True


def all_zero(tensor: StoredTensor) -> bool:
    """Return whether a tensor holds zeros only."""
    return not any(
        tensor.read(start, stop)[0].any() for start, stop in block_ranges(tensor.elements)
    )
