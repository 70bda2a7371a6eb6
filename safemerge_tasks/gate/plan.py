"""Which tests a policy asks for; without one, the safety tasks against the default margin."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.gate.policy import EVERY, LIMITS, MARGIN, Criteria, Policy, TaskPolicy
from safemerge_tasks.metrics.asr import HIGHER_IS_BETTER
from safemerge_tasks.metrics.several_answers import is_predicted
from safemerge_tasks.results import HARMFUL_QUESTIONS, HARMLESS_QUESTIONS
from safemerge_tasks.results.category_rows import (
    category_rows,
    is_category_row,
    is_subcategory_row,
    old_name,
    same_row,
)
from safemerge_tasks.results.evaluation import MAIN, Evaluation, Scores, TaskResult

PENDING = "deferred"

RATES = frozenset({"acc", "acc_norm", "exact_match", "pass@1", "pass@10", *HIGHER_IS_BETTER})
"""Metrics that are rates even where no samples say so."""


@dataclass(frozen=True)
class Check:
    """One metric of one task under one judge, in all its questions or some of them.

    Attributes:
        criteria: complete, with a limit.
        category: the only one meant; None for all.
        language: the only one meant; None for all.
        attack: the task's own, where it stands among others on the same suite; None elsewhere.
    """

    task: str
    judge: str
    metric: str
    criteria: Criteria
    category: str | None = None
    language: str | None = None
    attack: str | None = None

    @property
    def name(self) -> str:
        """The metric, with the category or language."""
        part = self.category or self.language
        return f"{self.metric} [{part}]" if part else self.metric


class Alone(NamedTuple):
    """Verdicts that only one evaluation has."""

    task: str
    judge: str
    side: str


def plan(policy: Policy, baseline: Evaluation, candidate: Evaluation) -> list[Check]:
    """Return the checks, in the policy's order, without those of `missing_tasks`.

    Raises:
        SafemergeError: an evaluation lacks a task, judge, metric or category that is to be checked,
            or a limit contradicts the metric.
    """
    if policy.tasks:
        wanted: Iterable[tuple[str, TaskPolicy]] = policy.tasks.items()
        missing = missing_tasks(policy, baseline, candidate)
        return [
            check
            for name, one in wanted
            if name not in missing
            for check in _task(name, one, policy, baseline, candidate)
        ]
    return list(_default(policy, baseline, candidate))


def missing_tasks(policy: Policy, baseline: Evaluation, candidate: Evaluation) -> list[str]:
    """Return the tasks that the policy names, the baseline has and the candidate lacks."""
    return [name for name in policy.tasks if name in baseline.tasks and name not in candidate.tasks]


def _task(
    task: str, asked: TaskPolicy, policy: Policy, baseline: Evaluation, candidate: Evaluation
) -> Iterator[Check]:
    judge = _judge(task, asked.judge or policy.judge, baseline, candidate)
    for metric, limits in asked.metrics.items():
        if is_predicted(metric):
            raise SafemergeError(
                f"{task}: {metric} is a prediction, one number for all questions, so the gate has "
                "nothing to compare; limit asr, or hit@k of as many answers as were drawn."
            )
        category = _category_meant(task, metric, judge, baseline)
        if category is not None:
            if limits.categories:
                raise SafemergeError(
                    f"{task}: {metric} is a category's, which has no categories; remove them."
                )
            _refuse_contradictions(task, judge, MAIN, limits, (baseline, candidate))
            yield Check(task, judge, MAIN, limits.over(policy.criteria), category)
            continue
        for evaluation in (baseline, candidate):
            has = evaluation.tasks[task].metrics(judge)
            known = same_row(metric, has) is not None
            if not known and not _all_unscored(evaluation.tasks[task], judge):
                raise SafemergeError(
                    f"{evaluation.source} has no {metric} of {task} by {judge}; it has "
                    f"{', '.join(has)}."
                )
        full = limits.over(policy.criteria)
        for one in (limits, *limits.categories.values()):
            _refuse_contradictions(task, judge, metric, one, (baseline, candidate))
        if limits.limited:
            yield Check(task, judge, metric, full)
        for category, own in limits.categories.items():
            names = _categories(task, baseline.tasks[task], judge)
            if category != EVERY and category not in names:
                raise SafemergeError(
                    f"{task} in {baseline.source} has no category {category!r}; it has "
                    f"{', '.join(map(repr, names)) or 'none'}."
                )
            for name in names if category == EVERY else [category]:
                if category != EVERY or name not in limits.categories:
                    yield Check(task, judge, metric, own.over(full), name)


def _category_meant(task: str, metric: str, judge: str, baseline: Evaluation) -> str | None:
    """Return the category whose ASR a metric is, where its questions are known.

    Raises:
        SafemergeError: it is a sub-category's, or its older name is several categories'.
    """
    scores = baseline.tasks[task].scores.get(judge)
    if scores is None or metric in scores.metrics or not is_category_row(metric):
        return None
    names = _categories(task, baseline.tasks[task], judge)
    rows = {name: category_rows({"category": name})[0] for name in names}
    found = [name for name, row in rows.items() if row == metric]
    found = found or [name for name, row in rows.items() if old_name(row) == metric]
    if len(found) != 1:
        kind = "is a sub-category" if is_subcategory_row(metric) else "names no one category"
        raise SafemergeError(
            f"{task}: {metric} {kind}, and its questions' categories are "
            f"{', '.join(map(repr, names)) or 'none'}; name one as "
            f"`{MAIN}: {{categories: {{NAME: …}}}}`."
        )
    return found[0]


def _all_unscored(result: TaskResult, judge: str) -> bool:
    """Return whether a metric may be missing because not one question has a verdict."""
    scores = result.scores.get(judge)
    return scores is not None and all(one.unscored == 1 for one in scores.questions)


def _refuse_contradictions(
    task: str,
    judge: str,
    metric: str,
    limits: Criteria,
    evaluations: Sequence[Evaluation],
) -> None:
    """Refuse limits that would not do what they say.

    Raises:
        SafemergeError: a limit is about the wrong direction, or beyond what the metric can be.
    """
    for evaluation in evaluations:
        better = evaluation.tasks[task].higher_is_better.get(metric)
        wrong = {True: ("max", "max_increase"), False: ("max_drop",), None: ()}[better]
        for name in wrong:
            if getattr(limits, name) is not None:
                direction, instead = ("higher", "max_drop") if better else ("lower", "max_increase")
                raise SafemergeError(
                    f"{task}: {metric} is better where it is {direction}, as {evaluation.source} "
                    f"says, so {name} cannot limit it; use {instead}."
                )
    if any(_is_rate(metric, one.tasks[task].scores.get(judge)) for one in evaluations):
        for name in LIMITS:
            limit = getattr(limits, name)
            if limit is not None and limit >= 1:
                raise SafemergeError(
                    f"{task}: {metric} is a rate between 0 and 1, so {name}: {limit:g} allows "
                    f"everything; write {percent(limit)} for {limit:g} %, or remove it."
                )


def percent(limit: float) -> str:
    """Return the share that a number of per cent is, as one would write it."""
    text = f"{limit / 100:.2f}"
    return text if float(text) == limit / 100 else f"{limit / 100:g}"


def _is_rate(metric: str, scores: Scores | None) -> bool:
    """Return whether a metric is known never to exceed 1, by its name or as yes or no."""
    if metric in RATES or metric.endswith("_rate") or is_category_row(metric):
        return True
    if scores is None or metric not in scores.metrics:
        return False
    place = scores.metrics.index(metric)
    return all(one.value(place) in (0.0, 1.0, None) for one in scores.questions)


def _categories(task: str, result: TaskResult, judge: str) -> list[str]:
    scores = result.scores.get(judge)
    if not scores:
        raise SafemergeError(
            f"{task} has no samples, so no categories; run lm_eval again with --log_samples."
        )
    return sorted({one.category for one in scores.questions} - {""})


def _judge(task: str, wanted: str | None, baseline: Evaluation, candidate: Evaluation) -> str:
    for evaluation in (baseline, candidate):
        if task not in evaluation.tasks:
            raise SafemergeError(
                f"{evaluation.source} has no results of {task}; it has "
                f"{', '.join(sorted(evaluation.tasks))}."
            )
        judges = evaluation.tasks[task].judged_by()
        if wanted and wanted not in judges:
            near = get_close_matches(wanted, judges, 1)
            fix = (
                f"did you mean {near[0]}?"
                if near
                else f"run `safemerge judge DIR --judge {wanted}` on its folder."
            )
            raise SafemergeError(
                f"{task} in {evaluation.source} was not judged by {wanted} but by "
                f"{', '.join(judges) or 'nobody'}; {fix}"
            )
    if wanted:
        return wanted
    common = common_judges(task, baseline, candidate)
    if len(common) != 1:
        raise SafemergeError(
            f"{task} was judged by {', '.join(common) or 'no judge in common'} in "
            f"{baseline.source} and {candidate.source}; name one in the policy as `judge:`."
        )
    return common[0]


def common_judges(task: str, baseline: Evaluation, candidate: Evaluation) -> list[str]:
    """Return whose verdicts on a task both evaluations have."""
    new = candidate.tasks[task].judged_by()
    return [name for name in baseline.tasks[task].judged_by() if name in new and name != PENDING]


def _default(policy: Policy, baseline: Evaluation, candidate: Evaluation) -> Iterator[Check]:
    safety = [task for task, result in baseline.tasks.items() if not result.is_utility]
    for task in safety or list(baseline.tasks):
        if task not in candidate.tasks:
            raise SafemergeError(
                f"{candidate.source} has no results of {task}, which {baseline.source} has; run "
                "it, or name the tasks that count in a policy (`safemerge check init`)."
            )
        judges = [policy.judge] if policy.judge else common_judges(task, baseline, candidate)
        checks = [
            check
            for judge in judges
            if (check := default_check(task, judge, policy, baseline.tasks[task]))
        ]
        if safety and not checks:
            raise SafemergeError(
                f"{task} has no rate by a judge that {baseline.source} and {candidate.source} "
                "have in common; run `safemerge judge` on both."
            )
        yield from checks


def alone(policy: Policy, baseline: Evaluation, candidate: Evaluation) -> list[Alone]:
    """Return the verdicts of one evaluation that the other lacks, where no policy says what counts.

    A task that only the baseline has is no such thing: without it there is no comparison.
    """
    if policy.tasks or policy.judge:
        return []
    sides = ("baseline", baseline), ("candidate", candidate)
    return [
        Alone(task, judge, side)
        for side, one in sides
        for task, result in one.tasks.items()
        if result.asks_questions
        for judge in result.judged_by()
        if judge != PENDING
        and not all(
            task in each.tasks and judge in each.tasks[task].judged_by() for _, each in sides
        )
    ]


def default_check(task: str, judge: str, policy: Policy, result: TaskResult) -> Check | None:
    """Return the check of a task's main metric by a judge, where its direction is known."""
    metrics = result.metrics(judge)
    if result.kind == HARMLESS_QUESTIONS:
        metrics = [metric for metric in metrics if metric == "compliance_rate"]
    elif result.kind == HARMFUL_QUESTIONS:
        ours = (MAIN, "harm_score", "refusal_rate", "compliance_rate")
        metrics = [metric for metric in ours if metric in metrics]
    elif MAIN in metrics:
        metrics = [MAIN]
    for metric in metrics:
        direction = result.higher_is_better.get(metric, False if metric == MAIN else None)
        if direction is not None:
            limit = {"max_drop": MARGIN} if direction else {"max_increase": MARGIN}
            return Check(task, judge, metric, Criteria(**limit).over(policy.criteria))
    return None
