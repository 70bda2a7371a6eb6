"""Doing the steps of one job, from answers to verdicts, each published as it is finished."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep.graph import RESPONSES
from safemerge_tasks.sweep.judging import judge
from safemerge_tasks.sweep.models import MODEL
from safemerge_tasks.sweep.scoring_beside import Scoring
from safemerge_tasks.sweep.serving.merges import Merge
from safemerge_tasks.sweep.session import Session, Tell
from safemerge_tasks.sweep.steps import KINDS, Step
from safemerge_tasks.sweep.store import SCRATCH, Store


def do_steps(steps: Sequence[Step], store: Store, tell: Tell) -> None:
    """Do steps, kind by kind; those whose result is there by now are only reported.

    What another sweep holds is reported as busy, and left to it.

    Raises:
        SafemergeError: nothing more can be done of this job; a result to read is not there.
    """
    with store.claimed(step.key for step in steps) as mine:
        left: dict[str, Step] = {}
        busy: set[str] = set()
        for step in steps:
            if store.done(step.key):
                tell({"done": step.key})
            elif step.key not in mine or any(key in busy for key in step.inputs):
                busy.add(step.key)
                tell({"busy": step.key})
            else:
                left[step.key] = step
        lost = [
            key
            for step in left.values()
            for key in step.inputs
            if key not in left and not store.done(key)
        ]
        if lost:
            raise SafemergeError(
                f"{store.folder(lost[0])} is gone, as if the store had been pruned meanwhile; run "
                "the sweep again."
            )
        session = Session(list(left.values()), store, tell)
        for kind in KINDS:
            if session.ready(kind):
                _HANDLERS[kind](session)


def _finetune(session: Session) -> None:
    from safemerge_tasks.finetune import FinetuneConfig, finetune

    for step in session.ready("finetune"):
        work = session.work(step)
        with session.store.staging(step.key) as staged:
            finetune(
                FinetuneConfig.model_validate(work["config"]),
                work["seed"],
                staged / MODEL,
                work=session.store.work_folder(step.key),
                progress=session.progress,
            )
            session.publish(step, staged)


def _merge(session: Session) -> None:
    """Write adapters, and checkpoints that are to stay; one that fails stops no other."""
    steps = session.ready("merge")
    for number, step in enumerate(steps, 1):
        with session.store.staging(step.key) as staged:
            try:
                Merge.of(session.work(step)).write(staged / MODEL, session.percent)
            except SafemergeError as error:
                session.failed(step, str(error))
            else:
                session.publish(step, staged)
        session.progress(number, len(steps))


def _answer(session: Session) -> None:
    """Answer the requests of many variants with one engine; each is scored beside the next ones."""
    from safemerge_tasks.sweep.serving.answering import (
        Asked,
        EngineSettings,
        Listener,
        answer_with_adapters,
        answer_with_checkpoints,
    )

    answers = session.ready("answer")
    steps = {step.key: step for step in answers}
    settings = EngineSettings(**session.work(answers[0])["engine"])
    # Sampling of hf draws from the random numbers that lm-eval seeds anew for every evaluation.
    with ExitStack() as stack, Scoring(session, beside=settings.model != "hf") as scoring:
        scoring.begin(session.ready("score"))
        served: dict[str, list[Asked]] = {"adapter": [], "checkpoint": []}
        for step in answers:
            work = session.work(step)
            staged = stack.enter_context(session.store.staging(step.key))
            model = Path(work["model"]) if work["model"] else None
            where: dict[str, Any] = {str(work["served"]): model}
            if "merge" in work:
                where = {"merge": Merge.of(work["merge"])}
            recording = session.store.recording(work["recording"])
            one = Asked(step.key, recording, staged / RESPONSES, **where)
            served[work["served"]].append(one)
        places = {one.name: one.out.parent for some in served.values() for one in some}

        def done(name: str) -> None:
            session.publish(steps[name], places[name])
            scoring.begin(step for step in session.steps if name in step.inputs)

        def failed(name: str, reason: str) -> None:
            session.failed(steps[name], reason)

        def unwanted(one: Asked) -> bool:
            reason = scoring.hopeless(steps[one.name].work["recording"])
            if reason:
                failed(one.name, f"what was answered cannot be scored: {reason}")
            return reason is not None

        listener = Listener(done, session.progress, failed, unwanted)
        if served["adapter"]:
            base = session.work(answers[0])["base"]
            answer_with_adapters(base, served["adapter"], settings, listener)
        if served["checkpoint"]:
            scratch = stack.enter_context(session.store.staging(f"{SCRATCH}{answers[0].key}"))
            answer_with_checkpoints(served["checkpoint"], settings, listener, scratch)


def _score(session: Session) -> None:
    """Score what was answered earlier."""
    with Scoring(session, beside=False) as scoring:
        scoring.begin(session.ready("score"))


_HANDLERS: Mapping[str, Callable[[Session], None]] = {
    "finetune": _finetune,
    "merge": _merge,
    "answer": _answer,
    "score": _score,
    "judge": lambda session: judge(session, session.ready("judge")),
}


def step_to_json(step: Step) -> dict[str, Any]:
    """Return a step as JSON."""
    return asdict(step)


def step_from_json(given: Mapping[str, Any]) -> Step:
    """Return a step from its JSON."""
    return Step(**{**given, "inputs": tuple(given["inputs"])})
