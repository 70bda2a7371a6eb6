"""The report's figure: the ASR of every model, and the trade-offs beside it."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from safemerge_tasks.gate.reporters.wording import printable
from safemerge_tasks.report.reading import Model
from safemerge_tasks.report.tradeoff import Point, Tradeoff, tradeoffs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABEL = 32
BARS = 60
"""More bars than that cannot be told apart."""

COLORS = tuple(f"C{number}" for number in range(10))


def draw(models: Sequence[Model]) -> bytes | None:
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
        if len(labels) > 1:
            figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=4)
        return png(figure)


@contextmanager
def canvas(
    columns: int, height: float, *, rows: int = 1, width: float = 7.0
) -> "Iterator[tuple[Figure, list[Axes]]]":
    """Yield a figure with its panels, row by row, in which no text is read as a formula.

    Args:
        columns: panels beside each other.
        height: of the figure, in inches.
        rows: panels below each other.
        width: of a panel, in inches.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Names come from files: `$…$` in them is not TeX, whatever the reader's own settings say.
    plain = matplotlib.rc_context(
        # The salt makes ids in SVG the same every time.
        {"text.parse_math": False, "text.usetex": False, "svg.hashsalt": "safemerge"}
    )
    with plain, warnings.catch_warnings():
        # Scripts that the font lacks are drawn as boxes; the tables have them in full.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure(figsize=(width * columns, height), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(rows, columns, squeeze=False)
        yield figure, list(panels.flat)


def png(figure: "Figure") -> bytes:
    """Return a figure as PNG, the same bytes for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def svg(figure: "Figure") -> bytes:
    """Return a figure as SVG, the same bytes for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def short(text: str) -> str:
    """Return a name that fits beside an axis; matplotlib hides labels that start with `_`."""
    # The end of a path tells more than its beginning.
    shown = printable(text if len(text) <= LABEL else f"…{text[1 - LABEL :]}")
    return f" {shown}" if shown.startswith("_") else shown


def _bars(models: Sequence[Model]) -> list[tuple[str, str, str, tuple[float, float, float]]]:
    found = []
    for name in dict.fromkeys(name for model in models for name in model.tasks):
        for model in models:
            task = model.tasks.get(name)
            for judge in task.result.judged_by() if task and task.is_safety else ():
                measure = task.measure(judge, "asr") if task else None
                if measure and measure.value is not None:
                    value = measure.value
                    ends = (value, measure.low, measure.high)
                    low, high = (value if end is None else end for end in ends[1:])
                    found.append((name, judge, model.label, (value, low, high)))
    return found[:BARS]


def _draw_rates(
    axes: "Axes",
    bars: Sequence[tuple[str, str, str, tuple[float, float, float]]],
    labels: Sequence[str],
) -> None:
    many = len(labels) > 1
    drawn: set[str] = set()
    for place, (_, _, model, rate) in enumerate(bars):
        axes.errorbar(
            rate[0],
            place,
            xerr=[[max(rate[0] - rate[1], 0)], [max(rate[2] - rate[0], 0)]],
            fmt="o",
            capsize=3,
            color=COLORS[labels.index(model) % len(COLORS)],
            label=short(model) if many and model not in drawn else None,
        )
        drawn.add(model)
    ticks = [f"{short(task)}, {short(judge)}" for task, judge, _, _ in bars]
    axes.set_yticks(range(len(bars)), labels=ticks)
    axes.invert_yaxis()
    axes.set(xlabel="attack success rate (lower is safer), 95 % interval", xlim=(-0.03, 1.03))
    axes.grid(alpha=0.3)


def _draw_tradeoff(axes: "Axes", panel: Tradeoff, labels: Sequence[str]) -> None:
    for point in panel.points:
        value, low, high = point.asr
        axes.errorbar(
            point.utility,
            value,
            yerr=[[max(value - low, 0)], [max(high - value, 0)]],
            fmt="o" if point.on_front else "x",
            color=COLORS[labels.index(point.label) % len(COLORS)],
            capsize=3,
        )
        # Colours repeat; without need, names on points only cover each other.
        if len(labels) > len(COLORS):
            axes.annotate(
                short(point.label),
                (point.utility, value),
                textcoords="offset points",
                xytext=(6, 6),
            )
    front = sorted((point for point in panel.points if point.on_front), key=_by_utility)
    axes.plot(
        [point.utility for point in front],
        [point.asr[0] for point in front],
        "-",
        color="0.5",
        zorder=1,
        label="Pareto front",
    )
    tasks = short(panel.tasks[0]) if len(panel.tasks) == 1 else f"mean of {len(panel.tasks)} tasks"
    axes.set(
        xlabel=f"{short(panel.utility)} (higher is better)",
        ylabel=f"ASR, {tasks}, {short(panel.judge)}",
    )
    axes.margins(0.15)
    axes.grid(alpha=0.3)
    axes.legend()


def _by_utility(point: Point) -> float:
    return point.utility
