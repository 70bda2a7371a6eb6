"""The cells of the grid: every model that a sweep evaluates."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from merge.recipe.recipe import Lambda
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.statistics.search import line_ahead
from safemerge_tasks.sweep.manifest import Rule, Variant
from safemerge_tasks.sweep.merge_words import in_sweep_words, merge_errors
from safemerge_tasks.sweep.searching import grows
from safemerge_tasks.sweep.spec import LAMBDA, MethodSpec, SweepSpec

if TYPE_CHECKING:
    from merge.methods import Method


@dataclass(frozen=True)
class Merging:
    """How a cell is merged.

    Attributes:
        method: its name in `merge`, or the place of a user's own.
        weight: λ, for methods that have one; or one for each group of layers.
        parameters: the method's own.
        seed: of random methods.
        roles: what it takes of the sweep's further models.
    """

    method: str
    weight: Lambda | None
    parameters: Mapping[str, float]
    seed: int
    roles: tuple[str, ...] = ()

    def recipe(
        self,
        base: str,
        tuned: Sequence[str],
        models: Mapping[str, str],
        weights: Sequence[Lambda],
    ) -> dict[str, Any]:
        """Return the fields of `merge.build_recipe` for these models and all of these λ.

        Args:
            base: the aligned model.
            tuned: the fine-tuned ones.
            models: what plays further roles, by name.
            weights: λ, none for methods without.
        """
        return {
            "method": self.method,
            "base": base,
            "tuned": [{"model": model} for model in tuned],
            "lambdas": list(weights),
            "parameters": dict(self.parameters),
            "seed": self.seed,
            **{role: models[role] for role in self.roles},
        }


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
    played = {role for cell in cells if cell.merging for role in cell.merging.roles}
    for role in spec.roles:
        if role not in played:
            raise SafemergeError(
                f"{spec.name}: {role} plays a role that none of the methods has; remove it, or add "
                "a method that has it."
            )
    # Not every disk tells capitals apart.
    for name, count in Counter(cell.variant.id.lower() for cell in cells).items():
        if count > 1:
            raise SafemergeError(
                f"{spec.name}: two cells would both be called {name}; rename a tuning or a label, "
                "or leave out a value of the grid."
            )
    return cells


def _merged(
    spec: SweepSpec, method: MethodSpec, tuning: str, seeds: Sequence[int]
) -> Iterator[Cell]:
    found = _found(spec, method)
    label = method.label or found.name
    seeds = _own_seeds(spec, method, found.name, tuning, seeds)
    together = method.together if method.together is not None else found.tuned[0] > 1
    teams = [tuple(seeds)] if together else [(seed,) for seed in seeds]
    roles = tuple(role.name for role in found.roles if role.name in spec.roles)
    name = method.method if found.file else found.name
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
            merging = Merging(name, weight, parameters, method.seed, roles)
            _check(spec, merging, found.name, len(team))
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


def _found(spec: SweepSpec, method: MethodSpec) -> "Method":
    """Return a method that can make a fine-tuned model's variants, by its own declaration."""
    from merge.methods import describe_parameters, find_method

    with merge_errors(f"{spec.name}: "):
        found = find_method(method.method)
    if found.tuned[1] == 0:
        raise SafemergeError(
            f"{spec.name}: {found.name} merges no fine-tuned model, which a sweep's variants are; "
            f"run safemerge merge --method {found.name} by itself, and name what it writes in the "
            "sweep, such as its base."
        )
    for role in found.roles:
        if role.name in SweepSpec.model_fields:
            raise SafemergeError(
                f"{spec.name}: {found.name} declares a role {role.name}, which is another key of a "
                "sweep; rename it."
            )
    described = (
        *describe_parameters(found.parameters),
        *describe_parameters(found.model_parameters),
    )
    switches = {parameter.name for parameter in described if parameter.type == "bool"}
    for name, values in method.grid.items():
        if name not in switches and any(isinstance(value, bool) for value in values):
            raise SafemergeError(
                f"{spec.name}, {found.name}: {name} is true or false; give a number."
            )
    return found


def _own_seeds(
    spec: SweepSpec, method: MethodSpec, name: str, tuning: str, seeds: Sequence[int]
) -> Sequence[int]:
    """Return the seeds of the models that a method merges."""
    given = method.seeds or seeds
    for seed in given:
        if seed not in seeds or given.count(seed) > 1:
            raise SafemergeError(
                f"{spec.name}, {name}: `seeds` has {seed}, and {tuning} has "
                f"{', '.join(map(str, seeds))}, each to be named once; correct it."
            )
    return given


def _check(spec: SweepSpec, merging: Merging, name: str, count: int) -> None:
    """Find what is wrong with a method's parameters, whatever the models are."""
    from merge import build_recipe

    weights = [] if merging.weight is None else [merging.weight]
    tuned = [f"tuned-{number}" for number in range(count)]
    models = {role: role for role in merging.roles}
    with merge_errors(f"{spec.name}, {name}: ", in_sweep_words):
        build_recipe(**merging.recipe("base", tuned, models, weights))
