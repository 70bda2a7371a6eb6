"""Scoring variants while an engine answers for the next ones."""

import logging
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep.graph import RESULTS
from safemerge_tasks.sweep.session import Session
from safemerge_tasks.sweep.steps import Step

_log = logging.getLogger(__name__)


class Scoring:
    """Scores in one thread beside the caller's, and publishes each result at once.

    What fails there is tried once more in the caller's own thread, for some tasks' code works in a
    process's main thread only (such as a limit of time by a signal).

    Args:
        session: whose steps they are.
        beside: use a thread; else everything is scored when it is begun.
    """

    def __init__(self, session: Session, *, beside: bool) -> None:
        self._session = session
        self._pool = ThreadPoolExecutor(1) if beside else None
        self._begun: list[tuple[Step, Future[str | None] | None]] = []
        self._first: dict[str, int] = {}
        self._reasons: dict[str, str | None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for the last scores."""
        for number in range(len(self._begun)):
            self._settle(number)
        if self._pool:
            self._pool.shutdown()

    def begin(self, steps: Iterable[Step]) -> None:
        """Score steps whose responses are there."""
        for step in steps:
            future = self._pool.submit(self._try, step) if self._pool else None
            self._first.setdefault(step.work["recording"], len(self._begun))
            self._begun.append((step, future))
            if future is None:
                self._settle(len(self._begun) - 1)

    def hopeless(self, recording: str) -> str | None:
        """Return why the first variant's answers to a recording cannot be scored, once known."""
        number = self._first.get(recording)
        return None if number is None else self._settle(number)

    def _settle(self, number: int) -> str | None:
        """Return why a step failed, if it did; wait for it."""
        step, future = self._begun[number]
        if step.key not in self._reasons:
            reason = future.result() if future else "not tried yet"
            if reason is not None:
                reason = self._try(step)
            if reason is not None:
                self._session.failed(step, reason)
            self._reasons[step.key] = reason
        return self._reasons[step.key]

    def _try(self, step: Step) -> str | None:
        from safemerge_tasks.sweep.serving.evaluation import Evaluation
        from safemerge_tasks.sweep.serving.recording import Recording
        from safemerge_tasks.sweep.serving.scoring import score

        session, work = self._session, self._session.work(step)
        with ExitStack() as stack:
            staged = stack.enter_context(session.store.staging(step.key))
            try:
                score(
                    Evaluation.from_json(work["evaluation"]),
                    Recording.load(session.store.recording(work["recording"])),
                    Path(work["responses"]),
                    staged / RESULTS,
                    work["model_args"],
                )
            except SafemergeError as error:
                return str(error)
            except Exception as error:  # whatever a task's own code raises
                _log.exception("%s could not be scored", step.name)
                return f"{type(error).__name__}: {error}"
            session.publish(step, staged)
        return None
