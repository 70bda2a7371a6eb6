"""The demo's table and trade-off plot."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from safemerge_tasks.toy.outcome import RowOfTable

_COLORS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple")


def build_table(rows: Sequence[RowOfTable]) -> Table:
    """Return the table: one row a model, means in bold."""
    table = Table(title="ASR on held-out forbidden questions, judged by toy-guard")
    table.add_column("model")
    for heading in ("λ", "seed", "ASR", "95 % interval", "compliance", "task score"):
        table.add_column(heading, justify="right")
    for row in rows:
        is_mean = row.models > 1
        mean, low, high = row.asr
        table.add_row(
            row.method or row.kind,
            "" if row.weight is None else f"{row.weight:g}",
            "mean" if is_mean else ("" if row.seed is None else str(row.seed)),
            f"{mean:.1%}",
            f"{low:.1%} to {high:.1%}",
            f"{row.compliance:.1%}",
            f"{row.task:.1%}",
            style="bold" if is_mean else None,
            end_section=row.seed is None,
        )
    return table


def save_plot(rows: Sequence[RowOfTable], path: Path) -> None:
    """Save ASR against task score as PNG: one point a model, one line through the means."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 5), layout="constrained")
    markers = {"aligned": "s", "tuned": "^", "merged": "o"}
    for row in rows:
        if row.seed is not None:
            axes.plot(row.task, row.asr[0], markers[row.kind], color="0.75", zorder=1)
    means = [row for row in rows if row.seed is None]
    ends = {row.kind: row for row in means if row.kind != "merged"}
    methods = dict.fromkeys(row.method for row in means if row.kind == "merged")
    for method, color in zip(methods, _COLORS, strict=False):
        merged = [row for row in means if row.method == method]
        merged.sort(key=lambda row: row.weight or 0)
        line = [ends["aligned"], *merged, ends["tuned"]] if len(merged) > 1 else merged
        axes.plot([row.task for row in line], [row.asr[0] for row in line], "-", color=color)
        for number, row in enumerate(line):
            mean, low, high = row.asr
            axes.errorbar(
                row.task,
                mean,
                yerr=[[max(mean - low, 0)], [max(high - mean, 0)]],
                fmt=markers[row.kind],
                color=color,
                capsize=3,
                zorder=2,
                label=method if number == len(line) - 1 else None,
            )
            # One method's labels are enough: the λ of all lie in the same order.
            if method == next(iter(methods)):
                axes.annotate(
                    row.kind if row.weight is None else f"λ = {row.weight:g}",
                    (row.task, mean),
                    textcoords="offset points",
                    xytext=(8, 6 + 12 * (number % 2)),
                )
    if len(methods) > 1:
        axes.legend()
    axes.set(
        xlabel="task score (exact match)",
        ylabel="attack success rate (lower is safer)",
        title="Merging back toward the aligned model",
        xlim=(-0.05, 1.12),
        ylim=(-0.05, 1.05),
    )
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
