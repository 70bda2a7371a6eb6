"""Scoring and judging variants while an engine answers for the next ones."""

import logging
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep.graph import RESULTS
from safemerge_tasks.sweep.judging import judge
from safemerge_tasks.sweep.session import Session
from safemerge_tasks.sweep.steps import Step

_log = logging.getLogger(__name__)


class Scoring:
    """Scores in one thread beside the caller's, and publishes each result at once.

    What fails there is tried once more in the caller's own thread, for some tasks' code works in a
    process's main thread only (such as a limit of time by a signal). A judge that loads no weights
    judges in a further thread; once it has failed, what is left is for the caller to judge.

    Args:
        session: whose steps they are.
        beside: use a thread; else everything is scored when it is begun.
    """

    def __init__(self, session: Session, *, beside: bool) -> None:
        self._session = session
        self._pool = ThreadPoolExecutor(1) if beside else None
        self._judge_pool = ThreadPoolExecutor(1)
        self._judge_failed = False
        self._begun: dict[str, tuple[Step, Future[str | None] | None]] = {}
        self._first: dict[str, str] = {}
        self._reasons: dict[str, str | None] = {}

    def __enter__(self) -> Self:
        self._judge_pool.submit(self._judge)
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for the last scores and verdicts."""
        for key in self._begun:
            self._settle(key)
        if self._pool:
            self._pool.shutdown()
        self._judge_pool.shutdown()

    def begin(self, steps: Iterable[Step]) -> None:
        """Score steps whose responses are there."""
        for step in steps:
            future = self._pool.submit(self._try, step) if self._pool else None
            self._first.setdefault(step.work["recording"], step.key)
            self._begun[step.key] = step, future
            if future is None:
                self._settle(step.key)

    def hopeless(self, recording: str) -> str | None:
        """Return why the first variant's answers to a recording cannot be scored, once known."""
        return self._settle(self._first[recording]) if recording in self._first else None

    def _settle(self, key: str) -> str | None:
        """Return why a step failed, if it did; wait for it."""
        step, future = self._begun[key]
        if key not in self._reasons:
            reason = future.result() if future else "not tried yet"
            if reason is not None:
                reason = self._try(step)
            if reason is not None:
                self._session.failed(step, reason)
            self._reasons[key] = reason
        return self._reasons[key]

    def _try(self, step: Step) -> str | None:
        from safemerge_tasks.judges.judging.saved_results import judgeable
        from safemerge_tasks.sweep.serving.evaluation import Evaluation
        from safemerge_tasks.sweep.serving.recording import Recording
        from safemerge_tasks.sweep.serving.scoring import score

        session, work = self._session, self._session.work(step)
        with session.store.staging(step.key) as staged:
            try:
                run = score(
                    Evaluation.model_validate(work["evaluation"]),
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
            if work.get("judged") and not judgeable(run):
                return "it asks nothing that a judge reads; write the task below utility"
            session.publish(step, staged)
        self._judge_pool.submit(self._judge)
        return None

    def _judge(self) -> None:
        """Judge all that was scored by now."""
        steps = [one for one in self._session.ready("judge") if not one.work.get("accelerated")]
        if not steps or self._judge_failed:
            return
        try:
            judge(self._session, steps)
        except Exception:  # the caller meets it again, and tells
            _log.exception("%s could not be judged yet", steps[0].name)
            self._judge_failed = True
