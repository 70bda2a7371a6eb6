"""What the figures draw: each method's ASR and task score along its grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from safemerge_tasks.report.tradeoff import pareto
from safemerge_tasks.sweep.choosing import point_words
from safemerge_tasks.sweep.manifest import Measured, Split, Tasks, Tuning
from safemerge_tasks.sweep.outcomes import Group, Point
from safemerge_tasks.sweep.pooling import mean_and_spread
from safemerge_tasks.sweep.report.findings import Findings

LAMBDA = "lambda"


@dataclass(frozen=True)
class Stat:
    """A mean over tasks and seeds.

    Attributes:
        value: the mean.
        low: one sample standard deviation over seeds below; of a single model, the lower end of
            the 95 % interval.
        high: likewise above.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Dot:
    """A grid point, or a model without a grid.

    Attributes:
        at: its place on the method's axis; None without one.
        asr: mean over the safety tasks.
        utility: mean over the utility tasks; None without them.
        means: over any of these tasks, each task by itself among them.
        chosen: on validation data, of several.
    """

    at: float | None
    asr: Stat
    utility: Stat | None
    means: Mapping[tuple[Measured, ...], Stat]
    chosen: bool


@dataclass(frozen=True)
class Curve:
    """A method along its grid.

    Attributes:
        label: the method's, with the parameters that stay the same beside others that do not.
        axis: the parameter along which it is drawn; None for a single point.
        dots: in the axis' order.
    """

    label: str
    axis: str | None
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class Curves:
    """What one fine-tuning's figure shows.

    Attributes:
        model: the base's name.
        tuning: the fine-tuning's.
        split: of the data.
        tasks: what ASR and task score are the means of.
        base: the aligned model.
        tuned: the fine-tuned one.
        methods: merges.
    """

    model: str
    tuning: str
    split: Split
    tasks: Tasks
    base: Dot | None
    tuned: Dot | None
    methods: tuple[Curve, ...]

    @property
    def has_means(self) -> bool:
        """Whether a mean is over several tasks."""
        return max(len(self.tasks.safety), len(self.tasks.utility)) > 1

    @property
    def dots(self) -> list[Dot]:
        """All of them, the base and the fine-tuned model first."""
        ends = [one for one in (self.base, self.tuned) if one]
        return [*ends, *(dot for curve in self.methods for dot in curve.dots)]

    @property
    def front(self) -> list[tuple[float, float]]:
        """Task score and ASR of the dots that no other is as good as in both and better in one."""
        points = [(dot.asr.value, dot.utility.value) for dot in self.dots if dot.utility]
        both = zip(points, pareto(points), strict=True)
        return [(utility, asr) for (asr, utility), is_best in both if is_best]

    @property
    def axes(self) -> list[str]:
        """The parameters along which a method is drawn, λ first."""
        found = dict.fromkeys(one.axis for one in self.methods if one.axis)
        return sorted(found, key=lambda name: name != LAMBDA)


def all_curves(sweeps: Sequence[Findings]) -> list[Curves]:
    """Return what the figures show, one a fine-tuning."""
    found = (curves(one, tuning) for one in sweeps for tuning in one.survey.manifest.tunings)
    return [one for one in found if one]


def curves(findings: Findings, tuning: Tuning) -> Curves | None:
    """Return a fine-tuning's curves; None where no merge has a result.

    They show test data if every grid point that has validation results was tested, else validation
    data, which are then those that all points have.
    """
    methods = findings.survey.methods(tuning.name)
    groups = [group for points in methods.values() for group in points]

    def having(split: Split) -> int:
        safety = tuning.of(split).safety
        return sum(bool(group.means(split, safety)) for group in groups)

    split: Split = "test" if having("test") >= having("validation") else "validation"
    if not having(split):
        return None
    tasks = tuning.of(split)

    def dot(group: Group | None, axis: str | None = None) -> Dot | None:
        if group is None:
            return None
        each = [(one,) for one in (*tasks.safety, *tasks.utility)]
        every = dict.fromkeys([tasks.safety, tasks.utility, *each])
        means = {some: stat for some in every if (stat := _stat(group, split, some))}
        if tasks.safety not in means:
            return None
        chosen = any(len(one.candidates) > 1 and one.group is group for one in findings.choices)
        at = dict(group.point).get(axis) if axis else None
        return Dot(at, means[tasks.safety], means.get(tasks.utility), means, chosen)

    found: list[Curve] = []
    for (_, label), points in methods.items():
        axis = _axis([group.point for group in points])
        lines: dict[tuple[Point, str | None], list[Dot]] = {}
        for group in points:
            rest = tuple(one for one in group.point if one[0] != axis)
            # What has a λ for each group of layers has no place along λ.
            own = None if group.by_layers else axis
            if one := dot(group, own):
                lines.setdefault((rest, own), []).append(one)
        for (rest, own), dots in lines.items():
            title = f"{label} ({point_words(rest)})" if len(lines) > 1 and rest else label
            found.append(Curve(title, own, tuple(sorted(dots, key=lambda one: one.at or 0.0))))
    ends = dot(findings.survey.base()), dot(findings.survey.tuned(tuning.name))
    return Curves(findings.model, tuning.name, split, tasks, *ends, tuple(found))


def _axis(points: Sequence[Point]) -> str | None:
    """Return the parameter to draw along: λ, else the first one that varies."""
    values: dict[str, set[float]] = {}
    for point in points:
        for name, value in point:
            values.setdefault(name, set()).add(value)
    if LAMBDA in values:
        return LAMBDA
    return next((name for name, found in values.items() if len(found) > 1), None)


def _stat(group: Group, split: Split, tasks: Sequence[Measured]) -> Stat | None:
    values = group.means(split, tasks)
    if not values:
        return None
    mean, spread = mean_and_spread(values)
    if spread is not None:
        return Stat(mean, mean - spread, mean + spread)
    pooled = group.mean(split, tasks)
    low, high = pooled.low, pooled.high
    return Stat(mean, mean if low is None else low, mean if high is None else high)
