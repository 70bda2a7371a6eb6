"""What a step of answering is told: variants and engine, all of it JSON-able."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep.serving.merges import Merge
from safemerge_tasks.sweep.spec import EngineSpec

OnAnswered = Callable[[int, int], None]
"""Told the requests answered so far and in all."""


@dataclass(frozen=True)
class Asked:
    """One variant and what it shall answer.

    Attributes:
        name: of the variant, unique among those asked together.
        recording: the file of the requests.
        out: the file to write the responses to.
        adapter: folder of a LoRA adapter of the base.
        checkpoint: folder of whole weights.
        merge: what makes whole weights that are in no folder. With none of these: the base itself.
    """

    name: str
    recording: Path
    out: Path
    adapter: Path | None = None
    checkpoint: Path | None = None
    merge: Merge | None = None

    @property
    def weights(self) -> str:
        """Tells its weights from those of others."""
        return self.merge.name if self.merge else str(self.checkpoint or self.adapter)


def _raise(_name: str, reason: str) -> None:
    raise SafemergeError(reason)


@dataclass(frozen=True)
class Listener:
    """Whoever wants the answers.

    Attributes:
        done: told the name of each variant whose responses are on disk.
        progress: told how many requests are answered.
        failed: told a variant that cannot be served as it is, and why; else that is raised.
        unwanted: asked before a variant is, whether it need not be any more.
    """

    done: Callable[[str], None]
    progress: OnAnswered | None = None
    failed: Callable[[str, str], None] = _raise
    unwanted: Callable[[Asked], bool] = lambda _one: False

    def all_failed(self, asked: Iterable[tuple[Asked, Any]], reason: str) -> None:
        """Tell that none of those who share weights can be served, whatever each is asked."""
        for one, _ in asked:
            self.failed(one.name, reason)


class EngineSettings(EngineSpec):
    """How to run models: what a sweep says of its engine, and lm-eval's own batch size."""

    batch_size: int | str = "auto"
