"""All suites, packaged and the user's own, with what one wants to know before using them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.suites.availability import Availability, availability
from safemerge_tasks.suites.load import load_suite
from safemerge_tasks.suites.spec import SuiteSpec
from safemerge_tasks.suites.task_files import TaskFile, task_files


@dataclass(frozen=True)
class Listed:
    """One line of `safemerge suite list`; one that does not load says only why."""

    task: str
    path: str
    questions: int | None = None
    language: str | None = None
    gated: bool | None = None
    available: Availability | None = None
    problem: str | None = None


def list_suites(include_path: Path | None = None) -> list[Listed]:
    """Return all suites by task name.

    Raises:
        SafemergeError: `include_path` is not a folder.
    """
    return sorted(_listed(task_files(include_path)), key=lambda suite: suite.task)


def _listed(files: list[TaskFile]) -> Iterator[Listed]:
    for file in files:
        if file.error is not None:
            yield Listed(file.name, str(file.path), problem=file.error)
        elif file.is_suite:
            try:
                yield _described(file)
            except SafemergeError as error:
                yield Listed(file.name, str(file.path), problem=str(error))


def _described(file: TaskFile) -> Listed:
    spec = SuiteSpec.checked(
        file.content.get("dataset_kwargs") or {}, where=str(file.path), beside=file.path.parent
    )
    available = availability(spec)
    # Only what is counted without a network: the Hub is asked again even for cached files.
    countable = available == "local" or (available == "cached" and spec.hub is None)
    return Listed(
        task=file.name,
        path=str(file.path),
        questions=len(load_suite(spec)) if countable else _declared(spec),
        language=spec.language,
        gated=spec.access is not None,
        available=available,
    )


def _declared(spec: SuiteSpec) -> int | None:
    """Return how many questions the YAML promises, as far as it does."""
    if spec.hold_out is not None and spec.hold_out.keep == "held_out":
        whole = _declared(spec.model_copy(update={"hold_out": None}))
        share = spec.hold_out.share
        return spec.hold_out.count or (round(whole * share) if whole and share else None)
    if spec.sample is not None:
        several = spec.sample.per and not spec.sample.evenly
        return spec.sample.total or (None if several else spec.sample.count)
    if spec.rows is None:
        return None
    return spec.rows * sum(not part.optional for part in spec.parts)
