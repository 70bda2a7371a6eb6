"""What all figures share: a canvas on which no text is a formula, and files of it."""

import io
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.report.printable import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABEL = 32

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Told apart with any colour vision: Okabe and Ito 2008, less black, and yellow, which fades."""

FRONT: dict[str, Any] = {"color": "#bbbbbb", "linewidth": 3, "label": "Pareto front"}

PNG, SVG = ".png", ".svg"
FORMATS: dict[str, dict[str, Any]] = {
    PNG: {"dpi": 110, "metadata": {"Software": None}},
    SVG: {"metadata": {"Date": None, "Creator": None}},
}
"""Suffix of a file → how it is written, so that the same figure gives the same bytes."""


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


def format_of(path: Path) -> str:
    """Return the format that a file's name asks for.

    Raises:
        SafemergeError: neither PNG nor SVG.
    """
    found = path.suffix.lower()
    if found not in FORMATS:
        raise SafemergeError(f"{path} is neither .png nor .svg; name the figure with one of them.")
    return found


def encoded(figure: "Figure", suffix: str = PNG) -> bytes:
    """Return a figure as a file of that suffix."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=suffix[1:], **FORMATS[suffix])
    return buffer.getvalue()


def short(text: str) -> str:
    """Return a name that fits beside an axis; matplotlib hides labels that start with `_`."""
    # The end of a path tells more than its beginning.
    shown = printable(text if len(text) <= LABEL else f"…{text[1 - LABEL :]}")
    return f" {shown}" if shown.startswith("_") else shown


def color_of(number: int) -> str:
    """Return a line's colour; they repeat after `COLORS`."""
    return COLORS[number % len(COLORS)]


def draw_front(axes: "Axes", points: Iterable[tuple[float, float]]) -> None:
    """Join the points (utility, ASR) that no other beats."""
    front = sorted(set(points))
    if len(front) > 1:
        axes.plot(*zip(*front, strict=True), "-", zorder=1, **FRONT)


def in_percent(value: float, _: object = None) -> str:
    """Return a rate at an axis; matplotlib takes this as a formatter."""
    return f"{round(100 * value, 6):.4g}%"


def reach(
    values: Sequence[float], low: Sequence[float | None], high: Sequence[float | None]
) -> list[list[float]]:
    """Return how far error bars reach below and above values; not at all where an end is None."""

    def distances(ends: Sequence[float | None], sign: int) -> list[float]:
        both = zip(values, ends, strict=True)
        return [0.0 if end is None else max(sign * (end - value), 0.0) for value, end in both]

    return [distances(low, -1), distances(high, 1)]
