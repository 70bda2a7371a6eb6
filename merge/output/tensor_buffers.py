"""An output in memory, for whoever loads it at once: each tensor until it is taken."""

import threading
from typing import TYPE_CHECKING

from merge.engine.plan import TensorPlan
from merge.formats.dtypes import torch_dtype
from merge.formats.stored_tensor import FilePlace

if TYPE_CHECKING:
    import torch


class TensorBuffers:
    """Collects the blocks of tensors. Safe to use from several threads for different bytes."""

    def __init__(self, tensors: tuple[TensorPlan, ...]) -> None:
        self._tensors = {tensor.name: tensor for tensor in tensors}
        self._lock = threading.Lock()
        self._begun: dict[str, torch.Tensor] = {}

    def _flat(self, name: str) -> "torch.Tensor":
        import torch

        with self._lock:
            if name not in self._begun:
                tensor = self._tensors[name]
                self._begun[name] = torch.empty(tensor.elements, dtype=torch_dtype(tensor.dtype))
            return self._begun[name]

    def write(
        self, name: str, position: int, data: memoryview, source: FilePlace | None = None
    ) -> None:
        """Keep part of a tensor, ``position`` bytes from its start."""
        import torch

        del source
        self._flat(name).view(torch.uint8).numpy().data[position : position + len(data)] = data

    def take(self, name: str) -> "torch.Tensor":
        """Return a whole tensor in its shape, which is kept no longer."""
        whole = self._flat(name).reshape(self._tensors[name].shape)
        del self._begun[name]
        return whole
