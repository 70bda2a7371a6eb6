"""PyTorch's `.bin` files, read as safely and as lazily as safetensors.

`torch.load` with `weights_only` runs none of the code a pickle may hold. Under a fake-tensor mode
it loads no values either, and says where in the file each one lies. `mmap=True` does not say that,
and what is read through the map counts as this process's memory. (Torch 2.13 says it under
`map_location="meta"` too, without the two seconds that importing the mode takes; 2.6 does not.)
"""

from pathlib import Path

from merge.errors import MergeError
from merge.formats.dtypes import code_of
from merge.formats.safetensors import Entry


def read_bin_header(path: Path) -> dict[str, Entry]:
    """Return the tensors of a `.bin` file by name, with offsets from the start of the file.

    Raises:
        MergeError: the file is broken, holds more than tensors, or has a layout that is not a plain
            array.
    """
    import pickle

    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    try:
        with FakeTensorMode():
            values = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, OSError) as error:
        raise _unreadable(path, str(error).strip().splitlines()[0]) from error
    if not isinstance(values, dict) or not all(
        isinstance(value, torch.Tensor) for value in values.values()
    ):
        raise _unreadable(path, "it holds other things than tensors")
    size = path.stat().st_size
    return {str(name): _entry(path, str(name), value, size) for name, value in values.items()}


def _entry(path: Path, name: str, value: object, size: int) -> Entry:
    import torch

    assert isinstance(value, torch.Tensor)
    plain = value.layout is torch.strided and not value.is_quantized
    start = getattr(value.untyped_storage(), "_checkpoint_offset", None) if plain else None
    if start is None or not value.is_contiguous():
        raise _unreadable(path, f"{name} is not stored as a plain array")
    offset = start + value.storage_offset() * value.element_size()
    entry = Entry(code_of(str(value.dtype)), tuple(value.shape), offset)
    if offset + entry.nbytes > size:
        raise _unreadable(path, f"{name} lies beyond its end")
    return entry


def _unreadable(path: Path, why: str) -> MergeError:
    return MergeError(
        f"{path} cannot be read as weights ({why}); save the model as safetensors and give that."
    )
