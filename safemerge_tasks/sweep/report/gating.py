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
from safemerge_tasks.sweep.choosing import Choice
from safemerge_tasks.sweep.manifest import Measured, Variant
from safemerge_tasks.sweep.outcomes import Group, Leaf, Survey, leaves_of

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


def gate_candidates(survey: Survey, choices: Sequence[Choice]) -> list[GatedCandidate]:
    """Return the decisions on the fine-tuned models and on what was chosen of every method."""
    found: list[GatedCandidate] = []
    base = survey.base()
    for tuning in survey.manifest.tunings:
        tasks = tuning.test.safety
        candidates: list[tuple[str, Group]] = []
        if tuned := survey.tuned(tuning.name):
            candidates.append(("fine-tuned", tuned))
        for choice in choices:
            group = chosen_group(survey, choice)
            if group and choice.tuning == tuning.name:
                candidates.append((choice.label, group))
        baseline: Leaves | str = "there is no base in the sweep"
        if base and tasks:
            baseline = _read(survey, base.variants[0], tasks)
        for label, group in candidates if tasks else ():
            found += _of_group(survey, tuning.name, label, group, tasks, baseline)
    return found


def chosen_group(survey: Survey, choice: Choice) -> Group | None:
    """Return the grid point that was chosen."""
    return next((one for one in survey.groups if choice.takes(one)), None)


def _of_group(
    survey: Survey,
    tuning: str,
    label: str,
    group: Group,
    tasks: Sequence[Measured],
    baseline: Leaves | str,
) -> Iterator[GatedCandidate]:
    cells = group.complete("test", tasks)
    seeds = tuple(sorted({seed for cell in cells for seed in cell.variant.seeds}))
    if not cells:
        reasons = dict.fromkeys(
            reason for cell in group.cells["test"] for reason in cell.missing.values()
        )
        yield GatedCandidate(tuning, label, group.seeds, True, obstacle="; ".join(reasons))
        return
    if isinstance(baseline, str):
        yield GatedCandidate(tuning, label, seeds, True, obstacle=baseline)
        return
    read = [_read(survey, cell.variant, tasks) for cell in cells]
    models = [one for one in read if not isinstance(one, str)]
    yield _compare(GatedCandidate(tuning, label, seeds, True), baseline, models)
    if len(models) > 1:
        for cell, model in zip(cells, models, strict=True):
            alone = GatedCandidate(tuning, label, cell.variant.seeds, False)
            yield _compare(alone, baseline, [model])


def _read(survey: Survey, variant: Variant, tasks: Sequence[Measured]) -> Leaves | str:
    place = variant.results.get("test")
    if place is None:
        return f"{variant.id}: {variant.failure or 'it was not evaluated on test data'}"
    try:
        wanted = [(task, True) for task in tasks]
        found = leaves_of(survey.folder / place, wanted, survey.manifest.judge)
    except SafemergeError as error:
        return str(error).replace(f"{survey.folder}/", "")
    wrong = [one for one in found.values() if isinstance(one, str)]
    if wrong:
        return f"{variant.id}: {wrong[0]}"
    leaves = (leaf for some in found.values() if not isinstance(some, str) for leaf in some)
    return {leaf.data.name: leaf for leaf in leaves}


def _compare(asked: GatedCandidate, baseline: Leaves, models: Sequence[Leaves]) -> GatedCandidate:
    policy = Policy(
        tasks={
            name: TaskPolicy(
                judge=leaf.filter,
                metrics={
                    leaf.metric: MetricPolicy(
                        **{"max_drop" if leaf.reverse else "max_increase": MARGIN}
                    )
                },
            )
            for name, leaf in baseline.items()
        }
    )
    try:
        report = compare(
            _evaluation("the base", [baseline] * len(models)),
            _evaluation(asked.label, models),
            policy,
        )
    except SafemergeError as error:
        return replace(asked, obstacle=str(error))
    untold = "; ".join(one.reason for one in report.untold)
    return replace(asked, comparisons=report.comparisons, obstacle=untold)


def _evaluation(name: str, models: Sequence[Leaves]) -> Evaluation:
    """Return several models' answers as one evaluation, those to a question in one cluster."""
    tasks = {}
    for task, leaf in models[0].items():
        same = [one[task] for one in models if task in one]
        first = leaf.data.result
        rates = [one.data.result.rates.get(one.filter, {}).get(one.metric) for one in same]
        known = [rate for rate in rates if rate is not None]
        scores = [one.data.result.scores.get(one.filter) for one in same]
        tasks[task] = replace(first, rates={}, scores={})
        if known:
            mean = sum(rate.value for rate in known) / len(known)
            # Without samples the questions count once, however many models answered them.
            rate = Rate(mean, min(rate.questions for rate in known))
            tasks[task].rates = {leaf.filter: {leaf.metric: rate}}
        if all(scores):
            questions = [one for some in scores if some for one in some.only(leaf.metric)]
            questions.sort(key=lambda one: one.key)
            tasks[task].scores = {leaf.filter: Scores([leaf.metric], questions)}
    return Evaluation(name, name, tasks, answers_each=len(models))
