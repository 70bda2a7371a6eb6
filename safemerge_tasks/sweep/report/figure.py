"""A sweep's figures: ASR and task score along each method's grid, and one against the other."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from safemerge_tasks.report.figures.canvas import (
    FORMATS,
    FRONT,
    canvas,
    color_of,
    draw_front,
    encoded,
    in_percent,
    reach,
    short,
)
from safemerge_tasks.sweep.manifest import Measured
from safemerge_tasks.sweep.report.curves import LAMBDA, Curve, Curves, Stat
from safemerge_tasks.sweep.report.numbers import harm_word

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Style = dict[str, Any]
Panel = Callable[["Axes"], None]
MeasuredTasks = tuple[Measured, ...]

MARKERS = ("o", "s", "^", "D", "v", "P", "<", ">", "p")

SIZES = (10.0, 7.5, 6.0, 5.0)
WIDTHS = (4.5, 2.6, 1.6, 1.4)

BASE_STYLE: Style = {"color": "#222222", "linestyle": (0, (6, 3))}
TUNED_STYLE: Style = {"color": "#777777", "linestyle": (0, (1, 1.5))}
SAFER = " (lower is safer)"
SINGLE = (0, (7, 2, 1.5, 2))
"""The line of a method without a grid."""

RING: Style = {
    "linestyle": "none",
    "zorder": 5,
    "marker": "o",
    "markersize": 16,
    "markerfacecolor": "none",
    "markeredgecolor": "#222222",
    "markeredgewidth": 1.3,
}
WIDTH = 5.2
COLUMNS = 3
"""More panels beside each other cannot be read on a page."""
HEIGHT = 4.1

ALT = "Rate of harm and task score of every method along its grid; the tables hold the numbers."

Drawn = dict[str, bytes]
"""Suffix of a file's name → the figure in that format."""


class Look(NamedTuple):
    """How a curve is drawn; earlier ones are larger, so that a later one on them hides none."""

    color: str
    marker: str
    size: float
    width: float


def draw(
    rows: Sequence[Curves], formats: Sequence[str] = tuple(FORMATS), *, each_task: bool = False
) -> Drawn:
    """Return one figure, panels for each fine-tuning on lines of their own, and one legend.

    Args:
        rows: at least one.
        formats: which to write.
        each_task: a panel for each task, in place of the means and the tradeoff between them.
    """
    styles = _styles(rows)
    panels: list[list[Panel | None]] = [
        [*_panels(row, styles, each_task=each_task)] for row in rows
    ]
    columns = min(max(map(len, panels)), COLUMNS)
    for own in panels:
        own += [None] * (-len(own) % columns)
    lines = sum(map(len, panels)) // columns
    with canvas(columns, HEIGHT * lines + 0.5, rows=lines, width=WIDTH) as (figure, every):
        left = iter(every)
        for row, own in zip(rows, panels, strict=True):
            places = list(islice(left, len(own)))
            for axes, panel in zip(places, own, strict=True):
                axes.set_visible(panel is not None)
                if panel:
                    panel(axes)
            places[0].set_title(_title(row, rows), loc="left", weight="bold")
        _legend(figure, rows, styles, with_tradeoff=not each_task)
        return {one: encoded(figure, one) for one in formats}


def _panels(row: Curves, styles: dict[str, Look], *, each_task: bool) -> Iterator[Panel]:
    safety, utility = row.tasks.safety, row.tasks.utility
    measures: list[tuple[MeasuredTasks, str]]
    if each_task:
        measures = [((task,), _harm_words((task,))) for task in safety]
        measures += [((task,), _utility_words((task,))) for task in utility]
    else:
        measures = [(safety, _harm_words(safety))]
        measures += [(utility, _utility_words(utility))] if utility else []
    axes: list[str | None] = [*row.axes] or [None]
    for axis in axes:
        for tasks, words in measures:
            yield partial(_draw_along, row=row, axis=axis, styles=styles, tasks=tasks, title=words)
    if utility and not each_task:
        yield partial(_draw_tradeoff, row=row, styles=styles)


def _title(row: Curves, rows: Sequence[Curves]) -> str:
    several = len({one.model for one in rows}) > 1
    named = [row.model, row.tuning] if several else [row.tuning]
    return f"{', '.join(map(short, named))}: {row.split} data"


def _styles(rows: Sequence[Curves]) -> dict[str, Look]:
    """Return every label's look, the same in all panels."""
    labels = dict.fromkeys(curve.label for row in rows for curve in row.methods)
    return {
        label: Look(
            color_of(number),
            MARKERS[number % len(MARKERS)],
            SIZES[min(number, len(SIZES) - 1)],
            WIDTHS[min(number, len(WIDTHS) - 1)],
        )
        for number, label in enumerate(labels)
    }


def _draw_along(
    axes: "Axes",
    row: Curves,
    axis: str | None,
    styles: dict[str, Look],
    tasks: MeasuredTasks,
    title: str,
) -> None:
    """Draw one measure along a parameter, or of the methods beside each other."""
    for dot, style in ((row.base, BASE_STYLE), (row.tuned, TUNED_STYLE)):
        if dot and (stat := dot.means.get(tasks)):
            axes.axhline(stat.value, zorder=1.5, **style)
    along = [curve for curve in row.methods if curve.axis == axis or axis is None]
    for place, curve in enumerate(along):
        _draw_curve(axes, curve, styles[curve.label], tasks, place if axis is None else None)
    single = [curve for curve in row.methods if axis and curve.axis is None]
    for curve in single:
        color = styles[curve.label].color
        for dot in curve.dots:
            if stat := dot.means.get(tasks):
                axes.axhspan(stat.low, stat.high, color=color, alpha=0.12, linewidth=0)
                axes.axhline(stat.value, color=color, linestyle=SINGLE)
    if axis is None:
        names = [short(curve.label) for curve in along]
        crowded = sum(map(len, names)) > 40
        axes.set_xticks(range(len(names)), labels=names, rotation=20 if crowded else 0)
        axes.margins(x=0.25)
    else:
        places = sorted({dot.at for curve in along for dot in curve.dots if dot.at is not None})
        if len(places) <= 12:
            axes.set_xticks(places, labels=[f"{place:g}" for place in places])
        axes.set_xlabel("λ, weight of the fine-tuned model" if axis == LAMBDA else short(axis))
        axes.margins(x=0.08)
    axes.set_ylabel(title)
    if title.endswith(SAFER):
        _from_zero(axes)
    _finish(axes, [dot.means.get(tasks) for dot in row.dots])


def _draw_curve(
    axes: "Axes",
    curve: Curve,
    look: Look,
    tasks: MeasuredTasks,
    place: int | None,
) -> None:
    color, marker, size, width = look
    known = [(dot, stat) for dot in curve.dots if (stat := dot.means.get(tasks))]
    places = [float(place) if place is not None else dot.at or 0.0 for dot, _ in known]
    values = [stat.value for _, stat in known]
    low, high = [stat.low for _, stat in known], [stat.high for _, stat in known]
    if len(known) > 1 and place is None:
        axes.fill_between(places, low, high, color=color, alpha=0.15, linewidth=0)
        axes.plot(places, values, "-", marker=marker, markersize=size, linewidth=width, color=color)
    elif known:
        axes.errorbar(
            places,
            values,
            yerr=reach(values, low, high),
            fmt=marker,
            markersize=size,
            capsize=3,
            color=color,
        )
    for at, (dot, stat) in zip(places, known, strict=True):
        if dot.chosen and curve.axis is not None:
            axes.plot(at, stat.value, **RING)


def _draw_tradeoff(axes: "Axes", row: Curves, styles: dict[str, Look]) -> None:
    dots = [dot for dot in row.dots if dot.utility]
    draw_front(axes, row.front)
    ends = ((row.base, "*", BASE_STYLE, 14), (row.tuned, "X", TUNED_STYLE, 10))
    for dot, marker, style, large in ends:
        if dot and dot.utility:
            at = (dot.utility.value, dot.asr.value)
            axes.plot(*at, marker, color=style["color"], markersize=large, zorder=4)
    for curve in row.methods:
        color, marker, size, _ = styles[curve.label]
        for dot in curve.dots:
            if dot.utility is None:
                continue
            at = (dot.utility.value, dot.asr.value)
            axes.errorbar(
                *at,
                xerr=reach([at[0]], [dot.utility.low], [dot.utility.high]),
                yerr=reach([at[1]], [dot.asr.low], [dot.asr.high]),
                fmt=marker,
                markersize=size,
                color=color,
                elinewidth=0.8,
            )
            if dot.chosen:
                axes.plot(*at, **RING)
    axes.set(xlabel=_utility_words(row.tasks.utility), ylabel=_harm_words(row.tasks.safety))
    axes.margins(0.1)
    _from_zero(axes)
    _finish(axes, [dot.asr for dot in dots])
    _percent(axes.xaxis, [dot.utility for dot in dots])


def _legend(
    figure: "Figure",
    rows: Sequence[Curves],
    styles: dict[str, Look],
    *,
    with_tradeoff: bool,
) -> None:
    """Add one legend for all panels, each name once."""
    from matplotlib.lines import Line2D

    found: list[Line2D] = []
    star, cross = ("*", "X") if with_tradeoff else ("none", "none")
    if any(row.base for row in rows):
        found.append(Line2D([], [], label="base", marker=star, markersize=9, **BASE_STYLE))
    if any(row.tuned for row in rows):
        found.append(Line2D([], [], label="fine-tuned", marker=cross, **TUNED_STYLE))
    for label, (color, marker, _, _) in styles.items():
        same = [curve for row in rows for curve in row.methods if curve.label == label]
        line: Any = "-" if any(len(one.dots) > 1 for one in same) else SINGLE
        if not any(row.axes for row in rows):
            line = "none"
        found.append(Line2D([], [], label=short(label), color=color, marker=marker, linestyle=line))
    if with_tradeoff and any(row.front for row in rows):
        found.append(Line2D([], [], **FRONT))
    if any(dot.chosen for row in rows for dot in row.dots):
        found.append(Line2D([], [], label="chosen on validation data", **RING))
    longest = max((len(str(one.get_label())) for one in found), default=0)
    # About eleven characters go into an inch, and eight beside each name.
    fitting = max(int(figure.get_figwidth() * 11 / (longest + 8)), 1)
    figure.legend(
        handles=found, loc="outside lower center", ncols=min(len(found), fitting), frameon=False
    )


def _finish(axes: "Axes", stats: Sequence[Stat | None]) -> None:
    _percent(axes.yaxis, stats)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _from_zero(axes: "Axes") -> None:
    """Let an axis of rates of harm begin at none, so that small rates look small."""
    low, high = axes.get_ylim()
    axes.set_ylim(bottom=min(low, -0.03 * high))


def _percent(scale: "Axis", stats: Sequence[Stat | None]) -> None:
    """Label an axis of rates in per cent."""
    if all(0 <= one.value <= 1 for one in stats if one):
        scale.set_major_formatter(in_percent)


def _harm_words(safety: MeasuredTasks) -> str:
    return f"{harm_word(safety)}, {_tasks(safety)}{SAFER}"


def _utility_words(utility: MeasuredTasks) -> str:
    if len(utility) == 1:
        return short(f"{utility[0].task}, {utility[0].metric}")
    return f"score, {_tasks(utility)}"


def _tasks(tasks: MeasuredTasks) -> str:
    return short(tasks[0].task) if len(tasks) == 1 else f"mean of {len(tasks)} tasks"
