"""How a merge runs."""

import os
from dataclasses import dataclass, field

from merge.errors import MergeError
from merge.formats import checksums


@dataclass(frozen=True)
class Options:
    """How to run; none of it changes the result beyond a last rounding.

    Attributes:
        threads: how many; 0 for as many as this process may run on.
        device: where to compute.
        allow_nonfinite: whether NaN and infinity are merged like numbers.
        block_elements: how much of a tensor is taken at a time; checksums are over such blocks.
    """

    threads: int = 0
    device: str = "cpu"
    allow_nonfinite: bool = False
    block_elements: int = field(default_factory=lambda: checksums.BLOCK_ELEMENTS)

    @property
    def thread_count(self) -> int:
        """Threads to use: as asked, or as many as this process may run on."""
        if self.threads > 0:
            return self.threads
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1

    def check(self) -> None:
        """Check that the number of threads is one and the device is there.

        Raises:
            MergeError: one of them is not.
        """
        if self.threads < 0:
            raise MergeError(f"--threads is {self.threads}; give 0 for one on each core, or more.")
        if self.device == "cpu":
            return
        import torch

        try:
            kind = torch.device(self.device).type
        except RuntimeError:
            kind = ""
        if kind != "cuda" or not torch.cuda.is_available():
            raise MergeError(
                f"--device is {self.device!r}, and torch finds no such device here; use --device "
                f"cpu."
            )
