"""From exchanges to verdicts, whatever the judge does: the rules of judging in one place."""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from safemerge_tasks.common.errors import brief
from safemerge_tasks.judges.judging.verdict_cache import VerdictCache
from safemerge_tasks.judges.protocol import Judge, Panel
from safemerge_tasks.verdicts.answer import Answer, read_answer
from safemerge_tasks.verdicts.verdict import Verdict

_log = logging.getLogger(__name__)


def judge_responses(
    judge: Judge,
    questions: Sequence[str],
    responses: Sequence[Answer | str],
    timeout: float | None = None,
    cache: VerdictCache | None = None,
) -> list[Verdict]:
    """Return one verdict an exchange, and never raise for what a judge does.

    - The members of a panel judge one after the other, each by these rules, so that only one of
      their engines is in memory; the panel combines what they said.
    - An exchange whose verdict is in the cache is not shown to the judge again.
    - A text alone is a response whose prompt is not known; see `read_answer`.
    - An empty answer is neither harmful nor compliant and is not shown to the judge. Any other
      lack of an answer leaves the response unscored, with the reason.
    - A judge that raises, outlasts `timeout` (seconds) or returns the wrong number of verdicts
      leaves the exchanges it was given unscored, with the reason.
    """
    answers = [one if isinstance(one, Answer) else read_answer(one) for one in responses]
    if judge.members:
        return _panel(judge, questions, answers, timeout, cache)
    verdicts = [_without_judge(judge, answer) for answer in answers]
    pending = [index for index, verdict in enumerate(verdicts) if verdict is None]
    if pending:
        judged = _cached(
            judge,
            [questions[index] for index in pending],
            [answers[index].text or "" for index in pending],
            timeout,
            cache,
        )
        for index, verdict in zip(pending, judged, strict=True):
            verdicts[index] = verdict
    return [verdict for verdict in verdicts if verdict is not None]


def _panel(
    judge: Judge,
    questions: Sequence[str],
    answers: Sequence[Answer],
    timeout: float | None,
    cache: VerdictCache | None,
) -> list[Verdict]:
    votes = []
    for member in judge.members:
        votes.append(judge_responses(member, questions, answers, timeout, cache))
        if member.uses_accelerator:
            member.close()
    verdicts = cast("Panel", judge).combine(votes)
    return [
        replace(verdict, empty=answer.empty)
        for verdict, answer in zip(verdicts, answers, strict=True)
    ]


def _cached(
    judge: Judge,
    questions: list[str],
    responses: list[str],
    timeout: float | None,
    cache: VerdictCache | None,
) -> list[Verdict]:
    key = judge.cache_key() if cache else None
    if cache is None or key is None:
        return _contained(judge, questions, responses, timeout)
    verdicts = cache.look_up(key, questions, responses)
    missing = [index for index, verdict in enumerate(verdicts) if verdict is None]
    if missing:
        asked = ([questions[i] for i in missing], [responses[i] for i in missing])
        judged = _contained(judge, *asked, timeout)
        cache.keep(key, *asked, judged)
        for index, verdict in zip(missing, judged, strict=True):
            verdicts[index] = verdict
    return [verdict for verdict in verdicts if verdict is not None]


def _without_judge(judge: Judge, answer: Answer) -> Verdict | None:
    if answer.empty:
        return replace(judge.empty, empty=True)
    if answer.text is None and not judge.deferred:
        return Verdict.no_verdict(f"the response {answer.reason}")
    return None


@dataclass
class _Outcome:
    verdicts: list[Verdict] = field(default_factory=list)
    error: BaseException | None = None


def _contained(
    judge: Judge, questions: list[str], responses: list[str], timeout: float | None
) -> list[Verdict]:
    outcome = _Outcome()
    try:
        # Engines install signal handlers, so they start in this thread; only judging is bounded.
        judge.open()
        if timeout is None:
            outcome.verdicts = judge.judge(questions, responses)
        else:
            outcome = _bounded(judge, questions, responses, timeout)
    except Exception as error:
        _log.debug("the judge raised", exc_info=True)
        outcome.error = error
    if outcome.error is not None:
        return _unscored(len(questions), f"the judge failed: {brief(outcome.error)}")
    if wrong := [type(one).__name__ for one in outcome.verdicts if not isinstance(one, Verdict)]:
        return _unscored(len(questions), f"the judge returned a {wrong[0]} and not a Verdict")
    if len(outcome.verdicts) != len(questions):
        reason = f"the judge returned {len(outcome.verdicts)} verdicts for {len(questions)}"
        return _unscored(len(questions), reason)
    return outcome.verdicts


def _bounded(judge: Judge, questions: list[str], responses: list[str], timeout: float) -> _Outcome:
    outcome = _Outcome()

    def work() -> None:
        try:
            outcome.verdicts = judge.judge(questions, responses)
        except Exception as error:
            outcome.error = error

    thread = threading.Thread(target=work, name="safemerge-judge", daemon=True)
    thread.start()
    thread.join(timeout)
    if thread.is_alive():
        judge.close()
        return _Outcome(error=TimeoutError(f"no verdicts within {timeout:g} seconds"))
    return outcome


def _unscored(count: int, reason: str) -> list[Verdict]:
    return [Verdict.no_verdict(reason, pending=True)] * count
