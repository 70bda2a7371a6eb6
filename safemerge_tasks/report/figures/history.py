"""The history's figure: a line a series."""

from collections.abc import Sequence

from safemerge_tasks.report.figures.canvas import (
    canvas,
    color_of,
    encoded,
    in_percent,
    reach,
    short,
)
from safemerge_tasks.report.history import Series


def draw_history(history: Sequence[Series]) -> bytes:
    """Return the figure as PNG; runs are equally far apart."""
    dates = sorted({night.date for one in history for night in one.nights})
    models = {one.model for one in history}
    with canvas(1, 4.5) as (figure, (axes,)):
        for number, one in enumerate(history):
            nights = [night for night in one.nights if night.asr.value is not None]
            values = [night.asr.value or 0.0 for night in nights]
            ends = [night.asr.low for night in nights], [night.asr.high for night in nights]
            label = f"{short(one.task)}, {short(one.judge)}"
            label = f"{label}, {short(one.model)}" if len(models) > 1 else label
            axes.errorbar(
                [dates.index(night.date) for night in nights],
                values,
                yerr=reach(values, *ends),
                fmt="o-",
                capsize=3,
                color=color_of(number),
                label=label,
            )
            for change in one.changes:
                where = dates.index(one.nights[change.place].date) - 0.5
                axes.axvline(where, color=color_of(number), linestyle=":", alpha=0.7)
            # By name at the line's end as well, since colours repeat.
            top = nights[-1].asr.high
            axes.annotate(
                label,
                (dates.index(nights[-1].date), values[-1] if top is None else top),
                textcoords="offset points",
                xytext=(0, 4),
                ha="right" if len(dates) > 1 else "center",
                fontsize="small",
            )
        step = max(1, len(dates) // 12)
        shown = range(0, len(dates), step)
        axes.set_xticks(shown, labels=[short(dates[n][:10]) for n in shown], rotation=45)
        axes.set(ylabel="attack success rate (lower is safer)", ylim=(-0.03, 1.03))
        axes.yaxis.set_major_formatter(in_percent)
        axes.grid(alpha=0.3)
        axes.legend()
        return encoded(figure)
