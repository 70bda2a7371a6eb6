"""What a step of answering is told: variants and engine, all of it JSON-able."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep.serving.merges import Merge

Done = Callable[[str], None]
"""Told a variant's name when its responses are on disk."""

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
        done: told each variant whose responses are on disk.
        progress: told how many requests are answered.
        failed: told a variant that cannot be served as it is, and why; else that is raised.
        unwanted: asked before a variant is, whether it need not be any more.
    """

    done: Done
    progress: OnAnswered | None = None
    failed: Callable[[str, str], None] = _raise
    unwanted: Callable[[Asked], bool] = lambda _one: False

    def all_failed(self, asked: Iterable[tuple[Asked, Any]], reason: str) -> None:
        """Tell that none of those who share weights can be served, whatever each is asked."""
        for one, _ in asked:
            self.failed(one.name, reason)


@dataclass(frozen=True)
class EngineSettings:
    """How to run models.

    Attributes:
        model: lm-eval's name of the backend, `vllm` or `hf`, or `url`.
        model_args: lm-eval's own model_args, but for the weights: dtype, max_model_len and so on.
        max_loras: adapters in one batch; vLLM keeps GPU memory for so many. Default: all, at most
            8. On a CPU there is always room for all.
        batch_size: lm-eval's own.
        url: base URL of the server that answers, with `url`.
        api_key_env: environment variable with the server's key.
        probe: compare a served model's log-probabilities with those of its weights.
    """

    model: str = "vllm"
    model_args: Mapping[str, Any] = field(default_factory=dict)
    max_loras: int | None = None
    batch_size: int | str = "auto"
    url: str | None = None
    api_key_env: str | None = None
    probe: bool = True
