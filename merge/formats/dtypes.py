"""Tensor element types, by the names the safetensors format gives them."""

import math
from typing import TYPE_CHECKING

from merge.errors import MergeError

if TYPE_CHECKING:
    import torch

ITEM_SIZE = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
    "U64": 8,
    "U32": 4,
    "U16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F8_E8M0": 1,
    "C64": 8,
}
FLOATS = frozenset({"F64", "F32", "F16", "BF16"})


class Array:
    """Something with an element type, by its safetensors name, and a shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.elements * ITEM_SIZE[self.dtype]


_TORCH_NAMES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
}
_NAME_OF_TORCH = {name: code for code, name in _TORCH_NAMES.items()}


def torch_dtype(code: str) -> "torch.dtype":
    """Return the torch type of a safetensors type name such as ``BF16``."""
    import torch

    dtype = getattr(torch, _TORCH_NAMES[code])
    assert isinstance(dtype, torch.dtype)
    return dtype


def work_dtype(code: str) -> "torch.dtype":
    """Return the torch type that is computed in where values are stored as this one."""
    import torch

    return torch.float64 if code == "F64" else torch.float32


def code_of(torch_name: str) -> str:
    """Return the safetensors name of a torch type name such as ``bfloat16``.

    Raises:
        MergeError: the name is not a type that can be stored.
    """
    name = torch_name.removeprefix("torch.")
    if name not in _NAME_OF_TORCH:
        raise MergeError(
            f"The dtype {torch_name!r} is not one that can be written; use one of "
            f"float32, float16, bfloat16."
        )
    return _NAME_OF_TORCH[name]


def config_name(code: str) -> str:
    """Return what a model's ``config.json`` calls a safetensors type name."""
    return _TORCH_NAMES[code]
