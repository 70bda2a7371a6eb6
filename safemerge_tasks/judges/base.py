"""What every judge offers, and how one is found by name."""

import pkgutil
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges.settings import JudgeSettings
from safemerge_tasks.verdicts.verdict import Verdict


class Panel(Protocol):
    """What a judge with members offers besides."""

    def combine(self, votes: Sequence[Sequence[Verdict]]) -> list[Verdict]:
        """Return the panel's verdicts from those of its members, `[members][exchanges]`."""
        ...


class Judge(Protocol):
    """A pure batch function from exchanges to verdicts.

    A judge named `my-judge` is a module `judges/my_judge.py` with a function
    `make(settings: JudgeSettings) -> Judge` that loads nothing heavy. One whose prompt can be
    replaced with `judge_prompt` says so with `READS_PROMPT = True`.
    """

    name: str
    empty: Verdict
    """What an empty response is; it is not shown to the judge."""
    languages: frozenset[str] | None
    """Languages (ISO 639-1) that the judge's makers list; None where they name none."""
    uses_accelerator: bool
    """True where the judge loads weights here, so the model under test must make room."""
    deferred: bool
    """True where judging is left to `safemerge judge`."""
    members: "tuple[Judge, ...]"
    """The judges of a panel, which also offers `combine`; empty for any other judge."""

    def check(self) -> None:
        """Find out, before anything slow, whether this judge can work.

        Raises:
            SafemergeError: one sentence with the way out.
        """
        ...

    def open(self) -> None:
        """Load what judging needs; may be slow, and may be called again at no cost."""
        ...

    def judge(self, questions: Sequence[str], responses: Sequence[str]) -> list[Verdict]:
        """Return one verdict an exchange, in order."""
        ...

    def identity(self) -> dict[str, Any]:
        """Return what shapes this judge's verdicts: stored with the results."""
        ...

    def cache_key(self) -> dict[str, Any] | None:
        """Return everything that shapes a verdict and is known before anything is loaded.

        Two judges with equal keys give equal verdicts. None where a verdict is not worth keeping,
        or its maker cannot be told from another.
        """
        ...

    def close(self) -> None:
        """Free what `open` loaded; a `judge` running in another thread ends soon after."""
        ...


def judge_names() -> list[str]:
    """Return the names that `judge=` accepts."""
    folder = Path(__file__).parent
    modules = (module.name for module in pkgutil.iter_modules([str(folder)]) if not module.ispkg)
    return [
        name.replace("_", "-")
        for name in modules
        if "\ndef make(" in (folder / f"{name}.py").read_text(encoding="utf-8")
    ]


def make_judge(settings: JudgeSettings) -> Judge:
    """Return the judge that `settings` name; nothing is loaded yet.

    Raises:
        SafemergeError: there is no such judge.
    """
    names = judge_names()
    kind = settings.name.partition("(")[0]
    if kind not in names:
        raise SafemergeError(f"judge={settings.name} is unknown; choose from {', '.join(names)}.")
    module = import_module(f"safemerge_tasks.judges.{kind.replace('-', '_')}")
    if settings.prompt and not (settings.is_panel or getattr(module, "READS_PROMPT", False)):
        raise SafemergeError(
            f"judge={settings.name} has a prompt of its own, which judge_prompt cannot replace; "
            "leave that out, or for one judge of several write judge_prompt.NAME=FILE."
        )
    judge: Judge = module.make(settings)
    return judge
