"""What a sweep's folder holds: every variant's measures, and those of the seeds of a point pooled.

Samples are read once, one grid point after the other; what stays in memory are numbers.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from merge.recipe.layer_groups import DIVISIONS
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.gate.plan import PENDING
from safemerge_tasks.judges.names import rows_of
from safemerge_tasks.metrics import asr
from safemerge_tasks.report.measure import CONFIDENCE, SAMPLES, Measure, from_error
from safemerge_tasks.report.provenance import settings_of
from safemerge_tasks.report.reading import TaskData, task_data
from safemerge_tasks.results import Run, read_runs
from safemerge_tasks.results.evaluation import ScoredQuestion
from safemerge_tasks.sweep.manifest import (
    MANIFEST,
    SPLITS,
    Manifest,
    Measured,
    Split,
    Variant,
)
from safemerge_tasks.sweep.pooling import (
    Pooled,
    mean_over_tasks,
    pool_at_best,
    pool_measures,
    pool_scores,
)

Point = tuple[tuple[str, float], ...]
"""A grid point: parameters with their values, by name."""

AGREES = 1e-6
"""A metric whose samples have another mean than the results file is not their mean."""


def layer_weights(point: Point) -> dict[str, float]:
    """Return λ by groups of layers; nothing where it is one for all."""
    given = dict(point)
    having = (names for names in DIVISIONS if given.keys() >= set(names))
    names = () if "lambda" in given else max(having, key=len, default=())
    return {name: given[name] for name in names}


@dataclass(frozen=True)
class Leaf:
    """One task of lm-eval's, under the filter that counts.

    Attributes:
        data: what was read, samples included.
        filter: lm-eval's, or the judge.
        metric: its name without the filter.
        reverse: one minus the metric is meant.
        more_is_better: of what is meant.
        measure: its value with the 95 % interval.
    """

    data: TaskData
    filter: str
    metric: str
    reverse: bool
    more_is_better: bool
    measure: Measure

    @property
    def answers(self) -> list[ScoredQuestion]:
        """The metric of every question; none without samples."""
        scores = self.data.result.scores.get(self.filter)
        return scores.only(self.metric) if scores else []


@dataclass(frozen=True)
class Value:
    """One variant's metric of one task.

    Attributes:
        measure: the value with its 95 % interval and what it rests on.
        filter: lm-eval's, or the judge.
        reverse: it is one minus the metric.
        more_is_better: whether more of it is.
        results: results files, as seen from the sweep's folder.
        samples: samples files; none where there are none.
        settings: how it was asked and judged.
    """

    measure: Measure
    filter: str
    reverse: bool
    more_is_better: bool
    results: tuple[str, ...]
    samples: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]


@dataclass
class Cell:
    """One variant on one split.

    Attributes:
        variant: which.
        values: of the tasks that have one.
        missing: why the others have none, by task.
    """

    variant: Variant
    values: dict[Measured, Value] = field(default_factory=dict)
    missing: dict[Measured, str] = field(default_factory=dict)


@dataclass
class Group:
    """Variants that differ in nothing but the seed.

    Attributes:
        kind: base, tuned or merged.
        tuning: name of the fine-tuning; None for the base.
        method: how it was merged.
        label: what tables call the method.
        point: the grid's values.
        variants: in the manifest's order.
        cells: by split, one a variant; on test data only of those that are asked them.
        pooled: by split and task, over the variants that have it.
        leaves: of safety tasks on validation data, not yet pooled: lm-eval's tasks of each variant.
    """

    kind: str
    tuning: str | None
    method: str | None
    label: str | None
    point: Point
    variants: list[Variant] = field(default_factory=list)
    cells: dict[Split, list[Cell]] = field(default_factory=dict)
    pooled: dict[Split, dict[Measured, Pooled]] = field(default_factory=dict)
    leaves: dict[Measured, list[list[Leaf]]] = field(default_factory=dict)

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds in it."""
        return tuple(sorted({seed for variant in self.variants for seed in variant.seeds}))

    def measured_seeds(self, split: Split, tasks: Sequence[Measured]) -> tuple[int, ...]:
        """Return the seeds of which all of some tasks have results."""
        complete = self.complete(split, tasks)
        return tuple(sorted({seed for cell in complete for seed in cell.variant.seeds}))

    @property
    def by_layers(self) -> bool:
        """Whether λ differs between groups of layers."""
        return bool(layer_weights(self.point))

    def complete(self, split: Split, tasks: Sequence[Measured]) -> list[Cell]:
        """Return the cells that have all of some tasks."""
        return [cell for cell in self.cells[split] if all(one in cell.values for one in tasks)]

    def unscored(self, split: Split, tasks: Sequence[Measured]) -> list[str]:
        """Return those of some tasks of which too much has no verdict, where all have results."""
        complete = self.complete(split, tasks)
        return [
            one.task
            for one in tasks
            if any(cell.values[one].measure.too_many_unscored for cell in complete)
        ]

    def means(self, split: Split, tasks: Sequence[Measured]) -> list[float]:
        """Return each complete variant's plain mean over tasks; empty without tasks."""
        if not tasks:
            return []
        found = []
        for cell in self.complete(split, tasks):
            values = [cell.values[one].measure.value for one in tasks]
            known = [value for value in values if value is not None]
            if len(known) == len(tasks):
                found.append(math.fsum(known) / len(known))
        return found

    def mean(self, split: Split, tasks: Sequence[Measured]) -> Pooled:
        """Return the mean over tasks of the pooled metrics, without a value if one is missing."""
        pooled = self.pooled[split]
        nothing = Pooled(None, None, None, None, 0, 0)
        return mean_over_tasks([pooled.get(one, nothing) for one in tasks])

    def bound(self, tasks: Sequence[Measured], confidence: float) -> float | None:
        """Return the one-sided upper bound of safety tasks' mean on validation data.

        None if one is missing, or tells none.
        """
        if any(one not in self.leaves for one in tasks):
            return None
        return mean_over_tasks([_pool(self.leaves[one], confidence) for one in tasks]).bound

    def bound_at_best(
        self,
        tasks: Sequence[Measured],
        confidence: float,
        models: int,
        seen: Mapping[Measured, Sequence[Sequence[Leaf]]],
    ) -> float | None:
        """Return the bound on validation data of others that are asked these models' questions.

        Args:
            tasks: safety tasks over which it is the mean.
            confidence: of the bound.
            models: how many others there are, at most as many as here.
            seen: what they answered so far; all else is taken for harmless.

        Returns:
            The least that it can come to; None if that cannot be told without samples.
        """
        pooled = []
        for task in tasks:
            whole, some = self.leaves.get(task, [])[:models], seen.get(task, ())
            leaves = []
            for n, same in enumerate(zip(*whole, strict=True)):
                every, known = [one.answers for one in same], [model[n].answers for model in some]
                if not all(every) or not all(known):
                    return None
                leaves.append(pool_at_best(every, known, confidence, reverse=same[0].reverse))
            if not leaves:
                return None
            pooled.append(mean_over_tasks(leaves))
        return mean_over_tasks(pooled).bound


@dataclass(frozen=True)
class Survey:
    """A sweep's outcome, read.

    Attributes:
        manifest: what was evaluated.
        folder: the sweep's output.
        groups: the base, fine-tuned models and grid points.
    """

    manifest: Manifest
    folder: Path
    groups: tuple[Group, ...]

    def base(self) -> Group | None:
        """Return the aligned model's."""
        return next((one for one in self.groups if one.kind == "base"), None)

    def tuned(self, tuning: str) -> Group | None:
        """Return the fine-tuned models'."""
        tuned = (one for one in self.groups if one.kind == "tuned")
        return next((one for one in tuned if one.tuning == tuning), None)

    def cells(self) -> Iterator[tuple[Group, Split, Cell]]:
        """Yield every variant on every split that it is asked."""
        for group in self.groups:
            for split in SPLITS:
                for cell in group.cells[split]:
                    yield group, split, cell

    def leaves(
        self, variant: Variant, split: Split, tasks: Sequence[Measured], *, safety: bool
    ) -> list[list[Leaf]]:
        """Read a variant's results of tasks that it has once more, for every question's."""
        wanted = [(task, safety) for task in tasks]
        found = leaves_of(self.folder / variant.results[split], wanted, self.manifest.judge)
        return [leaves for leaves in found.values() if not isinstance(leaves, str)]

    def methods(self, tuning: str) -> dict[tuple[str, str], list[Group]]:
        """Return method and label → grid points, in the manifest's order."""
        found: dict[tuple[str, str], list[Group]] = {}
        for one in self.groups:
            if (one.kind, one.tuning) == ("merged", tuning):
                found.setdefault((one.method or "", one.label or ""), []).append(one)
        return found


def read_sweep(manifest: Manifest, folder: Path) -> Survey:
    """Read all results that a manifest names.

    Results that are missing or broken are recorded with the reason; they stop nothing.

    Raises:
        SafemergeError: a variant is of a fine-tuning that the manifest does not list.
    """
    tunings = {one.name: one for one in manifest.tunings}
    groups: dict[tuple[Any, ...], Group] = {}
    for variant in manifest.variants:
        if variant.kind != "base" and variant.tuning not in tunings:
            raise SafemergeError(
                f"{folder / MANIFEST} has the variant {variant.id} of the fine-tuning "
                f"{variant.tuning}, which it does not list; run safemerge sweep again."
            )
        point = tuple(sorted(variant.point.items()))
        label = variant.label or variant.method
        key = (variant.kind, variant.tuning, variant.method, label, point)
        groups.setdefault(key, Group(*key)).variants.append(variant)
    for group in groups.values():
        of = [tunings[group.tuning]] if group.tuning in tunings else manifest.tunings
        for split in SPLITS:
            wanted: dict[Measured, bool] = {}
            for tasks in (one.of(split) for one in of):
                wanted |= dict.fromkeys(tasks.safety, True) | dict.fromkeys(tasks.utility, False)
            _read_group(group, split, wanted, manifest, folder)
    return Survey(manifest, folder, tuple(groups.values()))


def leaves_of(
    folder: Path, tasks: Sequence[tuple[Measured, bool]], judge: str
) -> dict[Measured, list[Leaf] | str]:
    """Read some tasks of a folder that lm-eval wrote: a task's leaves, or why it has none.

    A group stands for the tasks in it. The filter is the judge for a safety task; for others the
    judge, `none`, or the results file's first that has the metric, unless `metric` names it too,
    as in `exact_match,strict-match`.

    Args:
        folder: the variant's, of one split.
        tasks: each with whether it is about safety.
        judge: the sweep's; of several the first one's results count.

    Raises:
        SafemergeError: there are no results, or broken ones.
    """
    latest: dict[str, tuple[Run, dict[str, Any]]] = {}
    grouped: dict[str, list[str]] = {}
    for run, summary, names in read_runs(folder):
        latest |= dict.fromkeys(names, (run, summary))
        grouped |= {
            name: [str(one) for one in parts]
            for name, parts in (summary.get("group_subtasks") or {}).items()
            if isinstance(parts, list) and parts
        }
    found: dict[Measured, list[Leaf] | str] = {}
    for measured, is_safety in tasks:
        names = list(_expanded(measured.task, grouped))
        lacking = [name for name in names if name not in latest]
        if lacking or not names:
            found[measured] = f"there are no results of {', '.join(lacking) or measured.task}"
            continue
        leaves = [
            _leaf(task_data(name, *latest[name]), measured, judge, is_safety=is_safety)
            for name in names
        ]
        wrong = [one for one in leaves if isinstance(one, str)]
        found[measured] = wrong[0] if wrong else [one for one in leaves if isinstance(one, Leaf)]
    return found


def _expanded(
    task: str, grouped: Mapping[str, Sequence[str]], above: tuple[str, ...] = ()
) -> Iterable[str]:
    if task in above:
        return
    for part in grouped.get(task) or [task]:
        if part == task:
            yield task
        else:
            yield from _expanded(part, grouped, (*above, task))


def _leaf(data: TaskData, measured: Measured, judge: str, *, is_safety: bool) -> Leaf | str:
    metric, _, named = measured.metric.partition(",")
    result = data.result
    filters = [one for one in dict.fromkeys([*result.rates, *result.scores]) if one != PENDING]
    having = [one for one in filters if metric in result.metrics(one)]
    judges = [*rows_of(judge), "none"]
    wanted = [named] if named else judges if is_safety else [*judges, *having]
    chosen = next((one for one in wanted if one in having), None)
    if chosen is None:
        others = f"; it has it by {', '.join(having)}" if having else ""
        return f"{data.name} has no {metric} by {named or judge}{others}"
    more = result.higher_is_better.get(metric)
    if more is None:
        more = asr.higher_is_better(metric) if is_safety else True
    # Of safety metrics less is better, so a refusal rate counts as what was not refused.
    reverse = is_safety and more
    measure = _measure(data, chosen, metric, reverse=reverse)
    if measure is None:
        return f"{data.name} has no value of {metric} by {chosen}"
    return Leaf(data, chosen, metric, reverse, more and not reverse, measure)


def _measure(data: TaskData, name: str, metric: str, *, reverse: bool) -> Measure | None:
    """Return a metric under a filter; from the samples unless it is not their mean."""
    found = data.measure(name, metric, reverse=reverse)
    rate = data.result.rates.get(name, {}).get(metric)
    if found is None or found.source != SAMPLES or found.value is None or rate is None:
        return found
    stored = 1 - rate.value if reverse else rate.value
    if math.isclose(found.value, stored, rel_tol=AGREES, abs_tol=AGREES):
        return found
    error = data.summary["results"][data.name].get(f"{metric}_stderr,{name}")
    each = data.result.stands_for
    return from_error(rate.value, error, rate.questions, reverse=reverse, stands_for=each)


def _read_group(
    group: Group, split: Split, wanted: Mapping[Measured, bool], manifest: Manifest, folder: Path
) -> None:
    """Read what a group's variants have of a split; tasks come with whether they are of safety."""
    read: dict[Measured, list[list[Leaf]]] = {}
    asked = [one for one in group.variants if not _left_out(manifest, one, split)]
    group.cells[split] = [Cell(variant) for variant in asked]
    for cell in group.cells[split]:
        variant, found = cell.variant, dict[Measured, list[Leaf] | str]()
        reason = variant.failure or f"it was not evaluated on {split} data"
        if split in variant.results:
            place = folder / variant.results[split]
            try:
                found = leaves_of(place, list(wanted.items()), manifest.judge)
            except SafemergeError as error:
                reason = variant.failure or str(error).replace(f"{folder}/", "")
        for measured in wanted:
            leaves = found.get(measured, reason)
            if isinstance(leaves, str):
                cell.missing[measured] = leaves
            else:
                cell.values[measured] = _value(leaves, folder)
                read.setdefault(measured, []).append(leaves)
    confidence = manifest.choose.confidence
    group.pooled[split] = {task: _pool(models, confidence) for task, models in read.items()}
    if split == "validation":
        group.leaves = {task: models for task, models in read.items() if wanted[task]}


def _left_out(manifest: Manifest, variant: Variant, split: Split) -> bool:
    """Return whether a variant is not asked: test data if not chosen, or at all in a search."""
    return (
        manifest.test_points == "chosen"
        and (split == "test" or manifest.choose.search is not None)
        and variant.kind == "merged"
        and split not in variant.results
        and variant.failure is None
    )


def _value(leaves: Sequence[Leaf], folder: Path) -> Value:
    measure = leaves[0].measure
    if len(leaves) > 1:
        # A group's is the plain mean over its tasks.
        mean = _pool([leaves], CONFIDENCE)
        ends = (mean.value, mean.low, mean.high)
        measure = Measure(*ends, None, mean.scored, mean.total, measure.source)
    samples = [leaf.data.run.samples.get(leaf.data.name) for leaf in leaves]
    settings = dict.fromkeys(one for leaf in leaves for one in settings_of(leaf.data) if one[1])
    return Value(
        measure,
        ", ".join(dict.fromkeys(leaf.filter for leaf in leaves)),
        leaves[0].reverse,
        leaves[0].more_is_better,
        tuple(dict.fromkeys(_seen_from(folder, leaf.data.run.path) for leaf in leaves)),
        tuple(_seen_from(folder, path) for path in samples if path),
        tuple(settings),
    )


def _pool(models: Sequence[Sequence[Leaf]], confidence: float) -> Pooled:
    """Return the metric over several models, each with the same leaves."""
    return mean_over_tasks([_pool_leaf(same, confidence) for same in zip(*models, strict=False)])


def _pool_leaf(leaves: Sequence[Leaf], confidence: float) -> Pooled:
    each = leaves[0].data.result.stands_for
    if all(leaf.measure.source == SAMPLES for leaf in leaves):
        answers, reverse = [leaf.answers for leaf in leaves], leaves[0].reverse
        return pool_scores(answers, confidence, reverse=reverse, stands_for=each)
    return pool_measures([leaf.measure for leaf in leaves], confidence, each)


def _seen_from(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
