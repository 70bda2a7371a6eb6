"""What one pass over a tensor computes and a later pass needs again, as far as memory allows."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# Fixed, so that peak memory does not grow with the model: tensors that need more compute again.
BUDGET_BYTES = 256 * 2**20


class PassCache:
    """Values by name and block, until they exceed the budget; safe to use from several threads.

    What is computed again has the same bits, so that what was kept never shows in a result.
    """

    def __init__(self, block_elements: int, budget: int = BUDGET_BYTES) -> None:
        self._block = block_elements
        self._budget = budget
        self._lock = threading.Lock()
        self._values: dict[tuple[str, str, int], torch.Tensor] = {}
        self._free: list[torch.Tensor] = []
        self._used: list[torch.Tensor] = []
        # The block of memory that small values share, and how much of it is taken.
        self._shared: torch.Tensor | None = None
        self._taken = block_elements
        self._bytes = 0

    def get(
        self, key: tuple[str, str, int], compute: "Callable[[], torch.Tensor]"
    ) -> "torch.Tensor":
        """Return the kept value, or compute it and keep it if it fits."""
        found = self._values.get(key)
        if found is not None:
            return found
        value = compute()
        place = self._place(value)
        if place is not None:
            self._values[key] = place.copy_(value)
        return value

    def _place(self, value: "torch.Tensor") -> "torch.Tensor | None":
        """Return memory for a value; the same again and again, as new pages cost more than it.

        Small values share a block. There is none for float64, of which there is little, nor for
        what is larger than a block.
        """
        import torch

        if value.dtype != torch.float32 or len(value) > self._block:
            return None
        with self._lock:
            if len(value) == self._block:
                return self._block_of_memory(value)
            if self._taken + len(value) > self._block:
                self._shared = self._block_of_memory(value)
                self._taken = 0
            if self._shared is None:
                return None
            start = self._taken
            self._taken += len(value)
            return self._shared[start : self._taken]

    def _block_of_memory(self, value: "torch.Tensor") -> "torch.Tensor | None":
        import torch

        if self._free:
            buffer = self._free.pop()
        elif self._bytes + self._block * 4 <= self._budget:
            self._bytes += self._block * 4
            buffer = torch.empty(self._block, device=value.device)
        else:
            return None
        self._used.append(buffer)
        return buffer

    def clear(self) -> None:
        """Let go of every value; the memory stays for the next."""
        with self._lock:
            self._values.clear()
            self._free += self._used
            self._used.clear()
            self._shared, self._taken = None, self._block
