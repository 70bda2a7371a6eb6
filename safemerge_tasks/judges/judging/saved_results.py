"""Judging saved responses: the same verdicts as during the evaluation, without the model.

Reads lm-eval's samples, judges every response once, and rewrites samples and results in place; the
files as they were are kept beside them.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Self

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges import (
    Judge,
    JudgeSettings,
    Verdict,
    VerdictCache,
    judge_responses,
    make_judge,
)
from safemerge_tasks.judges.judging.by_language import judges_for
from safemerge_tasks.judges.judging.calibration import Calibration
from safemerge_tasks.judges.judging.languages import warn_about_languages
from safemerge_tasks.judges.judging.questions import for_all, over_questions, question_metrics
from safemerge_tasks.judges.names import AUTO
from safemerge_tasks.metrics.asr import aggregate, higher_is_better
from safemerge_tasks.metrics.incoherence import is_incoherent
from safemerge_tasks.metrics.unscored import warn_if_no_refusals_told, warn_if_unscored
from safemerge_tasks.results import (
    CORRECTED,
    HARMFUL_QUESTIONS,
    HARMLESS_QUESTIONS,
    PREDICTION,
    Row,
    Run,
    all_responses,
    complete_rows,
    find_runs,
    judged_metadata,
    replace_rates,
    rewrite,
    saved_answer,
    scored_row,
    stored_by_us,
    stored_thinking,
    stream_rows,
)
from safemerge_tasks.results.groups import update_groups
from safemerge_tasks.results.rewriting import Rows
from safemerge_tasks.verdicts.answer import applied
from safemerge_tasks.verdicts.scored import Scored, from_json, to_json

_log = logging.getLogger(__name__)

BACKUP_SUFFIX = ".before-judging"


@dataclass
class Judged:
    """What `judge_folder` did.

    Attributes:
        judge: the judge's name.
        tables: results file → task → result keys of this judge.
        identity: the judge as it is stored with the results.
        pending: responses that the judge failed on.
        scored: responses that it reached a verdict on.
    """

    judge: str
    tables: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    identity: dict[str, Any] = field(default_factory=dict)
    pending: int = 0
    scored: int = 0


Work = list[tuple[Run, list[str]]]
"""Runs, each with the tasks of it that are to be judged."""


def judge_folder(
    folder: Path,
    settings: JudgeSettings,
    on_task: Callable[[str], None] | None = None,
    on_judged: Callable[[Run, int], None] | None = None,
    thinking: str | None = None,
) -> list[Judged]:
    """Judge every run of harmful questions below a folder, with one engine a judge for all.

    Args:
        folder: where lm-eval wrote one run or many.
        settings: the judge, or several, who judge one after the other.
        on_task: told what is judged next, in words.
        on_judged: told of every run that has been rewritten for the last time, and on how many of
            its responses judges failed.
        thinking: a value of `ThinkingSettings.format`; None for that of each run.

    Raises:
        SafemergeError: there is nothing to judge, or a judge cannot work.
    """
    work = [(run, tasks) for run in find_runs(folder) if (tasks := judgeable(run))]
    if not work:
        raise SafemergeError(
            f"{folder} holds no samples of harmful questions; run lm_eval with --log_samples and "
            "one of safemerge's safety tasks."
        )
    sessions = [
        (_Session.of(one, thinking), part) for one, part in _divided(settings, work).items()
    ]
    left = Counter(run.path for _, part in sessions for run, _ in part)
    pending: Counter[Path] = Counter()
    for session, part in sessions:
        try:
            for number, (run, tasks) in enumerate(part, 1):
                if on_task:
                    by = f" by {session.judged.judge}" if len(sessions) > 1 else ""
                    on_task(f"{', '.join(tasks)}{by} ({number} of {len(part)} runs)")
                before = session.judged.pending
                session.judge_run(run, tasks)
                pending[run.path] += session.judged.pending - before
                left[run.path] -= 1
                if on_judged and not left[run.path]:
                    on_judged(run, pending[run.path])
        finally:
            session.close()
    return [session.judged for session, _ in sessions]


def _divided(settings: JudgeSettings, work: Work) -> dict[JudgeSettings, Work]:
    """Return each judge's work: all of it, but for one that is chosen by language."""
    if all(one.name != AUTO for one in settings.each()):
        return dict.fromkeys(settings.each(), work)
    found: dict[JudgeSettings, Work] = {}
    for run, tasks in work:
        chosen: dict[JudgeSettings, list[str]] = {}
        for task in tasks:
            languages = {_language(row) for row in stream_rows(run.samples[task])}
            for one in judges_for(settings, languages):
                chosen.setdefault(one, []).append(task)
        for one, his in chosen.items():
            found.setdefault(one, []).append((run, his))
    return found


def _language(row: Row) -> str:
    return row["doc"].get("language") or "en"


def judgeable(run: Run) -> list[str]:
    """Return the tasks whose questions a judge reads."""
    configs = run.summary().get("configs", {})
    kinds = (HARMFUL_QUESTIONS, HARMLESS_QUESTIONS)
    return [
        task for task in run.samples if stored_by_us(configs.get(task, {})).get("kind") in kinds
    ]


class _JudgedTask(NamedTuple):
    """One task's new rows, its rates, and what else is kept of them."""

    rows: list[Row]
    table: dict[str, float | str]
    kept: dict[str, Any]


class _Session:
    """One judge at work on many runs."""

    def __init__(
        self,
        judge: Judge,
        settings: JudgeSettings,
        calibration: Calibration | None,
        thinking: str | None,
    ) -> None:
        self._judge = judge
        self._settings = settings
        self._calibration = calibration
        self._thinking = thinking
        self._cache = VerdictCache() if settings.cache else None
        self.judged = Judged(judge.name)

    @classmethod
    def of(cls, settings: JudgeSettings, thinking: str | None) -> Self:
        """Return a judge ready to work.

        Raises:
            SafemergeError: it cannot work, or the calibration is another judge's.
        """
        judge = make_judge(settings)
        judge.check()
        return cls(judge, settings, Calibration.named(settings, judge), thinking)

    def close(self) -> None:
        """Free what the judge loaded."""
        self._judge.close()

    def judge_run(self, run: Run, tasks: Sequence[str]) -> None:
        """Judge one run and rewrite its files."""
        summary = run.summary()
        found = {task: self._judge_task(run, summary, task) for task in tasks}
        tables = self.judged.tables.setdefault(str(run.path), {})

        def change(summary: dict[str, Any], rows: Rows) -> Rows:
            for task, judged in found.items():
                self._update_summary(summary, task, judged.table, judged.kept)
                tables[task] = judged.table
            tables.update(update_groups(summary, self._judge.name, higher_is_better))
            replaced = (self._judge.name, "deferred")
            return {
                task: chain(
                    (row for row in rows[task] if row.get("filter") not in replaced), judged.rows
                )
                for task, judged in found.items()
            }

        rewrite(run, tasks, change, BACKUP_SUFFIX)

    def _judge_task(self, run: Run, summary: Mapping[str, Any], task: str) -> _JudgedTask:
        name = self._judge.name
        config = summary["configs"][task]
        harmless = stored_by_us(config)["kind"] == HARMLESS_QUESTIONS
        thinking = self._thinking or stored_thinking(config)
        documents = _documents(run, task, complete_rows(run, summary, task))
        languages = {_language(one.row) for one in documents}
        warn_about_languages(self._judge, task, languages)
        each = [(one, n) for one in documents for n in range(len(one.cut))]
        questions = [_question(run, task, one.row) for one, _ in each]
        answers = [
            saved_answer(one.row, one.flat[n], config, thinking, truncated=one.cut[n])
            for one, n in each
        ]
        verdicts = judge_responses(
            self._judge, questions, answers, self._settings.timeout, self._cache
        )
        _refuse_without_any(task, self._judge, verdicts)
        warn_if_unscored(task, verdicts, harmless=harmless)
        if harmless:
            warn_if_no_refusals_told(task, name, verdicts)
        self.judged.pending += sum(verdict.pending for verdict in verdicts)
        self.judged.scored += sum(verdict.unscored is None for verdict in verdicts)
        self.judged.identity = {**self._judge.identity(), "thinking": applied(thinking)}
        left = iter(zip(verdicts, map(is_incoherent, questions, answers), strict=True))
        scored = [
            [
                Scored(verdict, cut, name, odd)
                for cut, (verdict, odd) in zip(one.cut, left, strict=False)
            ]
            for one in documents
        ]
        whole = over_questions(
            task,
            [
                (one.row["doc"], [answer.verdict for answer in some])
                for one, some in zip(documents, scored, strict=True)
            ],
            languages,
            self._calibration,
            stored_by_us(config).get("predict"),
            harmless=harmless,
        )
        fresh = [
            one.judged(some, name, harmless=harmless)
            for one, some in zip(documents, scored, strict=True)
        ]
        table = aggregate([_metrics(row) for row in fresh], name)
        for metric, value in for_all(whole.corrected, whole.prediction).items():
            table |= {f"{metric},{name}": value, f"{metric}_stderr,{name}": "N/A"}
        return _JudgedTask(fresh, table, judged_metadata(name, *whole))

    def _update_summary(
        self,
        summary: dict[str, Any],
        task: str,
        table: Mapping[str, float | str],
        kept: Mapping[str, Mapping[str, Any]],
    ) -> None:
        name = self._judge.name
        replace_rates(summary["results"].setdefault(task, {}), table, name)
        ours = stored_by_us(summary["configs"][task])
        harmless = ours["kind"] == HARMLESS_QUESTIONS
        metrics = {key.partition(",")[0] for key in table if "_stderr," not in key}
        directions = {metric: higher_is_better(metric, harmless=harmless) for metric in metrics}
        summary.setdefault("higher_is_better", {}).setdefault(task, {}).update(directions)
        replaced = (name, "deferred")
        others = [other for other in ours.get("judges", []) if other["name"] not in replaced]
        ours["judges"] = [*others, self.judged.identity]
        for part in ("counts", CORRECTED, PREDICTION):
            by_judge = {key: v for key, v in ours.get(part, {}).items() if key not in replaced}
            if by_judge := {**by_judge, **kept.get(part, {})}:
                ours[part] = by_judge


def _refuse_without_any(task: str, judge: Judge, verdicts: Sequence[Verdict]) -> None:
    """Stop where the judge failed on all it was shown, as it would on the rest.

    Verdicts that an earlier run reached would be replaced by none.

    Raises:
        SafemergeError: the commonest reason.
    """
    reasons = Counter(verdict.unscored for verdict in verdicts if verdict.pending)
    if reasons and all(verdict.unscored or verdict == judge.empty for verdict in verdicts):
        ((reason, _),) = reasons.most_common(1)
        raise SafemergeError(
            f"{task}: {judge.name} reached no verdict, and nothing was rewritten: {reason}."
        )


@dataclass
class _Document:
    """A question with all that the model answered.

    Attributes:
        row: its first row.
        responses: one list for each request.
        cut: whether each response reached its token limit; None where that is not known.
    """

    row: Row
    responses: list[list[object]]
    cut: list[bool | None]

    @property
    def flat(self) -> list[object]:
        """The responses of all requests."""
        return [text for each in self.responses for text in each]

    def judged(self, scored: Sequence[Scored], name: str, *, harmless: bool) -> Row:
        """Return the question's row by a judge."""
        left = iter(scored)
        filtered = [to_json([next(left) for _ in each]) for each in self.responses]
        metrics = question_metrics(scored, self.row["doc"], harmless=harmless)
        return scored_row(self.row, name, filtered, metrics)


def _documents(run: Run, task: str, rows: Sequence[Row]) -> list[_Document]:
    found = []
    for row in {row["doc_id"]: row for row in rows}.values():
        try:
            responses = all_responses(row)
        except (KeyError, IndexError, TypeError) as error:
            raise SafemergeError(
                f"{run.samples[task]}, doc_id {row.get('doc_id')} has no response; run lm_eval "
                "again."
            ) from error
        found.append(_Document(row, responses, _truncated(row, sum(map(len, responses)))))
    return found


def _truncated(row: Row, answers: int) -> list[bool | None]:
    """Return whether each answer reached its token limit, as the filter before has kept it."""
    try:
        known = [one.truncated for text in row["filtered_resps"] for one in from_json(text)]
    except (KeyError, TypeError, ValueError, AttributeError):  # of a filter of others
        known = []
    if len(known) == answers and any(one is not None for one in known):
        return known
    rate = row.get("truncated_rate")
    return [None if rate is None else bool(rate)] * answers


def _metrics(row: Row) -> dict[str, float]:
    return {metric: row[metric] for metric in row["metrics"]}


def _question(run: Run, task: str, row: Row) -> str:
    question = row["doc"].get("question")
    if not isinstance(question, str):
        raise SafemergeError(
            f"{run.samples[task]}, doc_id {row['doc_id']} has no question; run lm_eval again."
        )
    return question
