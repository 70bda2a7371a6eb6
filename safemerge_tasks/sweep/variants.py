"""The cells of the grid: every model that a sweep evaluates."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from merge.recipe.recipe import Lambda
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.statistics.search import line_ahead
from safemerge_tasks.sweep.manifest import Rule, Variant
from safemerge_tasks.sweep.merge_words import in_sweep_words
from safemerge_tasks.sweep.searching import grows
from safemerge_tasks.sweep.spec import LAMBDA, MethodSpec, SweepSpec


@dataclass(frozen=True)
class Merging:
    """How a cell is merged.

    Attributes:
        method: its name in `merge`.
        weight: λ, for methods that have one; or one for each group of layers.
        parameters: the method's own.
        seed: of random methods.
        safety_vector: whether the unaligned model is needed.
    """

    method: str
    weight: Lambda | None
    parameters: Mapping[str, float]
    seed: int
    safety_vector: bool

    def recipe(
        self, base: str, tuned: Sequence[str], unaligned: str | None, weights: Sequence[Lambda]
    ) -> dict[str, Any]:
        """Return the fields of `merge.build_recipe` for these models and all of these λ."""
        fields: dict[str, Any] = {
            "method": self.method,
            "base": base,
            "tuned": [{"model": model} for model in tuned],
            "lambdas": list(weights),
            "parameters": dict(self.parameters),
            "seed": self.seed,
        }
        if self.safety_vector:
            fields["unaligned"] = unaligned
        return fields


@dataclass(frozen=True)
class Cell:
    """A variant, and how it comes to be; base and fine-tuned models are not merged."""

    variant: Variant
    merging: Merging | None = None


def expand(spec: SweepSpec, seeds: Mapping[str, Sequence[int]]) -> list[Cell]:
    """Return every cell: the base, the fine-tuned models, and all merges.

    Args:
        spec: the sweep.
        seeds: fine-tuning → its seeds.

    Raises:
        SafemergeError: a method does not exist, lacks something, or two are called the same.
    """
    labels = [method.name for method in spec.methods]
    for label in labels:
        if labels.count(label) > 1:
            raise SafemergeError(
                f"{spec.name}: two methods are called {label}; give each a `label` of its own."
            )
    cells = [Cell(Variant(id="base", kind="base", served="adapter"))]
    for tuning in spec.tunings:
        for seed in seeds[tuning.name]:
            name = f"{tuning.name}-tuned-seed-{seed}"
            cells.append(Cell(Variant(id=name, kind="tuned", tuning=tuning.name, seeds=(seed,))))
        for label, method in zip(labels, spec.methods, strict=True):
            if tuning.methods is None or label in tuning.methods:
                cells += _merged(spec, method, tuning.name, seeds[tuning.name])
    ids = [cell.variant.id for cell in cells]
    for name, count in Counter(ids).items():
        if count > 1:
            raise SafemergeError(
                f"{spec.name}: two cells would both be called {name}; rename a tuning or a label, "
                "or leave out a value of the grid."
            )
    return cells


def _merged(
    spec: SweepSpec, method: MethodSpec, tuning: str, seeds: Sequence[int]
) -> Iterator[Cell]:
    from merge import MergeError
    from merge.methods import find_method

    try:
        found = find_method(method.method)
    except MergeError as error:
        raise SafemergeError(f"{spec.name}: {error}") from error
    label = method.label or found.name
    if found.safety_vector and spec.unaligned is None:
        raise SafemergeError(
            f"{spec.name}: {found.name} adds a safety vector; name its other end as `unaligned`."
        )
    together = method.together if method.together is not None else found.tuned[0] > 1
    teams = [tuple(seeds)] if together else [(seed,) for seed in seeds]
    grid = method.grid
    constant = [name for name, values in grid.items() if len(values) == 1 and name != LAMBDA]
    for team in teams:
        for point in (*_points(grid), *_points_ahead(found.name, grid, spec.choose)):
            who = "all-seeds" if together else f"seed-{team[0]}"
            varied = [f"{name}-{value:g}" for name, value in point.items() if name not in constant]
            parts = [tuning, label, who, *varied]
            variant = Variant(
                id=re.sub(r"[_ ]", "-", "-".join(parts)),
                kind="merged",
                tuning=tuning,
                method=found.name,
                label=label,
                seeds=team,
                point=point,
            )
            parameters = {name: point[name] for name in grid if name != LAMBDA}
            by_layers = {name: value for name, value in point.items() if name not in grid}
            weight = by_layers or point.get(LAMBDA)
            merging = Merging(found.name, weight, parameters, method.seed, found.safety_vector)
            _check(spec, merging, len(team))
            yield Cell(variant, merging)


def _points(grid: Mapping[str, Sequence[float]]) -> Iterator[dict[str, float]]:
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _points_ahead(
    method: str, grid: Mapping[str, Sequence[float]], rule: Rule
) -> Iterator[dict[str, float]]:
    """Return the points of a search's second stage: one group of layers is ahead of the others."""
    weights = sorted(grid.get(LAMBDA, ()))
    for point in _points({name: values for name, values in grid.items() if name != LAMBDA}):
        if not grows(method, point, rule):
            continue
        for group in rule.groups:
            for others, own in line_ahead(len(weights)):
                yield {**dict.fromkeys(rule.groups, weights[others]), group: weights[own], **point}


def _check(spec: SweepSpec, merging: Merging, count: int) -> None:
    """Find what is wrong with a method's parameters, whatever the models are."""
    from merge import MergeError, build_recipe

    weights = [] if merging.weight is None else [merging.weight]
    names = [f"tuned-{number}" for number in range(count)]
    try:
        build_recipe(**merging.recipe("base", names, "unaligned", weights))
    except MergeError as error:
        raise SafemergeError(f"{spec.name}, {merging.method}: {in_sweep_words(error)}") from error
