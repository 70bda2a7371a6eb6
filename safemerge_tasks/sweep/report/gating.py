"""The gate's decisions on a sweep's models, against the base on test data.

The seeds of one training are judged together: every question pairs the base's answer with each
seed's, and the pairs of a question are one cluster, since the base answered it once and the seeds
answered the same text. So the bounds speak of the method with these seeds on questions like these;
a question counts once where the seeds agree on it, and seeds that fail on different questions tell
more. The rules are those of `safemerge check` without a policy: its margin, its confidence, Holm's
adjustment over a candidate's tasks, undecided with too many unscored. Each seed by itself, the
model that one would release, is compared beside that.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.gate.comparison import Comparison
from safemerge_tasks.gate.decision import compare
from safemerge_tasks.gate.policy import MARGIN, MetricPolicy, Policy, TaskPolicy
from safemerge_tasks.results.evaluation import Evaluation, Rate, Scores
from safemerge_tasks.sweep.manifest import Measured, Tuning
from safemerge_tasks.sweep.outcomes import Cell, Group, Leaf, Survey

Leaves = dict[str, Leaf]
"""Task of lm-eval's → what was read of it."""


@dataclass(frozen=True)
class GatedCandidate:
    """What the gate says of one candidate.

    Attributes:
        tuning: the fine-tuning's name.
        label: `fine-tuned`, or the method's.
        seeds: whose models were compared together.
        pooled: whether those are all there are.
        comparisons: one a task; none where they cannot be compared.
        obstacle: why not.
    """

    tuning: str
    label: str
    seeds: tuple[int, ...]
    pooled: bool
    comparisons: tuple[Comparison, ...] = ()
    obstacle: str = ""


def gate_candidates(
    survey: Survey, tuning: Tuning, models: Sequence[tuple[str, Group]]
) -> Iterator[GatedCandidate]:
    """Yield the decisions on a fine-tuning's models, each with its label; the base is none."""
    base, tasks = survey.base(), tuning.test.safety
    if tasks:
        baseline = _baseline(survey, base, tasks)
        for label, group in models:
            if group is not base:
                asked = GatedCandidate(tuning.name, label, group.seeds, True)
                yield from _of_group(asked, survey, group, tasks, baseline)


def _of_group(
    asked: GatedCandidate,
    survey: Survey,
    group: Group,
    tasks: Sequence[Measured],
    baseline: Leaves | str,
) -> Iterator[GatedCandidate]:
    cells = group.complete("test", tasks)
    if not cells:
        reasons = (reason for cell in group.cells["test"] for reason in cell.missing.values())
        yield replace(asked, obstacle="; ".join(dict.fromkeys(reasons)))
        return
    asked = replace(asked, seeds=group.measured_seeds("test", tasks))
    if isinstance(baseline, str):
        yield replace(asked, obstacle=baseline)
        return
    models = [_read(survey, cell, tasks) for cell in cells]
    yield _compare(asked, baseline, models)
    for cell, model in zip(cells, models, strict=True) if len(models) > 1 else ():
        alone = replace(asked, seeds=cell.variant.seeds, pooled=False)
        yield _compare(alone, baseline, [model])


def _baseline(survey: Survey, base: Group | None, tasks: Sequence[Measured]) -> Leaves | str:
    """Return what was read of the base, or why it has nothing to compare with."""
    if base is None:
        return "there is no base in the sweep"
    cell = base.cells["test"][0]
    reasons = [cell.missing[task] for task in tasks if task in cell.missing]
    return f"{cell.variant.id}: {reasons[0]}" if reasons else _read(survey, cell, tasks)


def _read(survey: Survey, cell: Cell, tasks: Sequence[Measured]) -> Leaves:
    found = survey.leaves(cell.variant, "test", tasks, safety=True)
    return {leaf.data.name: leaf for leaves in found for leaf in leaves}


def _compare(asked: GatedCandidate, baseline: Leaves, models: Sequence[Leaves]) -> GatedCandidate:
    policy = Policy(tasks={name: _margin(leaf) for name, leaf in baseline.items()})
    base = _evaluation("the base", [baseline] * len(models))
    try:
        report = compare(base, _evaluation(asked.label, models), policy)
    except SafemergeError as error:
        return replace(asked, obstacle=str(error))
    untold = "; ".join(one.reason for one in report.untold)
    return replace(asked, comparisons=report.comparisons, obstacle=untold)


def _margin(leaf: Leaf) -> TaskPolicy:
    limit = MetricPolicy(**{"max_drop" if leaf.reverse else "max_increase": MARGIN})
    return TaskPolicy(judge=leaf.filter, metrics={leaf.metric: limit})


def _evaluation(name: str, models: Sequence[Leaves]) -> Evaluation:
    """Return several models' answers as one evaluation, those to a question in one cluster."""
    tasks = {}
    for task, leaf in models[0].items():
        same = [one[task] for one in models if task in one]
        rates = [one.data.result.rates.get(one.filter, {}).get(one.metric) for one in same]
        known = [rate for rate in rates if rate is not None]
        answers = [one.answers for one in same]
        tasks[task] = replace(leaf.data.result, rates={}, scores={})
        if known:
            mean = sum(rate.value for rate in known) / len(known)
            # Without samples the questions count once, however many models answered them.
            rate = Rate(mean, min(rate.questions for rate in known))
            tasks[task].rates = {leaf.filter: {leaf.metric: rate}}
        if all(answers):
            questions = sorted((one for some in answers for one in some), key=lambda one: one.key)
            tasks[task].scores = {leaf.filter: Scores([leaf.metric], questions)}
    return Evaluation(name, name, tasks, answers_each=len(models))
