"""The report's figure: the ASR of every model, and the trade-offs beside it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from safemerge_tasks.report.figures.canvas import (
    canvas,
    color_of,
    draw_front,
    encoded,
    in_percent,
    reach,
    short,
)
from safemerge_tasks.report.reading import Evaluated, Model
from safemerge_tasks.report.tradeoff import Tradeoff, tradeoffs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BARS = 60
"""More bars than that cannot be told apart."""

HEIGHTS = (8, -16, 24, -32)
"""Of names above and below their points, in points of type."""

Bar = tuple[str, str, str, tuple[float, float | None, float | None]]
"""Task, judge and model, with the rate and its interval."""


def draw_rates(models: Sequence[Model]) -> bytes | None:
    """Return the figure as PNG; None where no model has an ASR."""
    bars = _bars(models)
    panels = tradeoffs(models)
    if not bars:
        return None
    with canvas(1 + len(panels), max(4.5, 2 + 0.3 * len(bars))) as (figure, axes):
        labels = [model.label for model in models]
        _draw_rates(axes[0], bars, labels)
        for one, panel in zip(axes[1:], panels, strict=True):
            _draw_tradeoff(one, panel, labels)
        return encoded(figure)


def _bars(models: Sequence[Model]) -> list[Bar]:
    measured = (
        (task.name, judge, model.label, task.measure(judge, "asr"))
        for model, task in Evaluated(models).tasks(lambda task: task.result.is_safety)
        for judge in task.result.judged_by()
    )
    found = [
        (task, judge, model, (one.value, one.low, one.high))
        for task, judge, model, one in measured
        if one and one.value is not None
    ]
    return found[:BARS]


def _draw_rates(axes: "Axes", bars: Sequence[Bar], labels: Sequence[str]) -> None:
    many = len(labels) > 1
    for place, (_, _, model, (value, low, high)) in enumerate(bars):
        axes.errorbar(
            value,
            place,
            xerr=reach([value], [low], [high]),
            fmt="o",
            capsize=3,
            color=color_of(labels.index(model)),
        )
        beyond = value if high is None else high
        axes.annotate(
            in_percent(round(value, 3)),
            (beyond, place),
            textcoords="offset points",
            xytext=(5, 0),
            va="center",
        )
    ticks = [
        f"{short(task)}, {short(judge)}" + (f": {short(model)}" if many else "")
        for task, judge, model, _ in bars
    ]
    axes.set_yticks(range(len(bars)), labels=ticks)
    axes.invert_yaxis()
    axes.set(xlabel="attack success rate (lower is safer), 95 % interval", xlim=(-0.03, 1.12))
    axes.xaxis.set_major_formatter(in_percent)
    axes.grid(alpha=0.3)


def _draw_tradeoff(axes: "Axes", panel: Tradeoff, labels: Sequence[str]) -> None:
    middle = sum(point.utility for point in panel.points) / len(panel.points)
    for number, point in enumerate(sorted(panel.points, key=lambda one: one.utility)):
        value, low, high = point.asr
        axes.errorbar(
            point.utility,
            value,
            yerr=reach([value], [low], [high]),
            fmt="o" if point.on_front else "x",
            color=color_of(labels.index(point.label)),
            capsize=3,
        )
        # By name, since colours repeat and not everybody tells them apart; neighbours' names at
        # different heights, and none beyond the edge.
        right = point.utility > middle
        axes.annotate(
            short(point.label),
            (point.utility, value),
            textcoords="offset points",
            xytext=(-6 if right else 6, HEIGHTS[number % len(HEIGHTS)]),
            ha="right" if right else "left",
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"},
        )
    draw_front(axes, [(point.utility, point.asr[0]) for point in panel.points if point.on_front])
    tasks = short(panel.tasks[0]) if len(panel.tasks) == 1 else f"mean of {len(panel.tasks)} tasks"
    axes.set(
        xlabel=f"{short(panel.utility)} (higher is better)",
        ylabel=f"ASR (lower is safer), {tasks}, {short(panel.judge)}",
    )
    axes.yaxis.set_major_formatter(in_percent)
    axes.margins(0.15)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
