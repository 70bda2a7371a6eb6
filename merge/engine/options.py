"""How a merge runs."""

import os
from dataclasses import dataclass

from merge.errors import MergeError


@dataclass(frozen=True)
class Options:
    """How to run; none of it changes the result beyond a last rounding on another device."""

    threads: int = 0
    device: str = "cpu"
    allow_nonfinite: bool = False

    @property
    def thread_count(self) -> int:
        """Threads to use: as asked, or as many as this process may run on."""
        if self.threads > 0:
            return self.threads
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1

    def check(self) -> None:
        """Check that the device is there.

        Raises:
            MergeError: it is not.
        """
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
