"""Every number of a sweep as one long, tidy table."""

import csv
import io
from collections.abc import Iterator, Sequence

from safemerge_tasks.report.measure import Measure
from safemerge_tasks.report.printable import printable
from safemerge_tasks.sweep.manifest import SPLITS, Measured, Split
from safemerge_tasks.sweep.outcomes import Cell, Group, Value
from safemerge_tasks.sweep.pooling import Pooled, mean_and_spread
from safemerge_tasks.sweep.report.findings import Findings

COLUMNS = (
    *("sweep", "base", "kind", "tuning", "method", "label", "variant", "seeds", "point", "chosen"),
    *("served", "split", "task", "metric", "filter", "value", "spread", "low", "high", "n"),
    *("unscored", "results", "samples", "missing"),
)

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet may read as a formula at a cell's beginning."""

Record = dict[str, str | float | int | None]


def as_csv(sweeps: Sequence[Findings]) -> str:
    """Return all numbers: a row a variant, split and task, then one over the seeds of a point.

    Rows over seeds have no variant: `value` is the mean over them and `spread` their sample
    standard deviation; `low` and `high` are the 95 % interval of the answers pooled over seeds.
    Text from outside cannot become a formula.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for findings in sweeps:
        for record in _records(findings):
            writer.writerow({name: _safe(value) for name, value in record.items()})
    return buffer.getvalue()


def _records(findings: Findings) -> Iterator[Record]:
    manifest = findings.survey.manifest
    for group in findings.survey.groups:
        common: Record = {
            "sweep": manifest.name,
            "base": manifest.base,
            "kind": group.kind,
            "tuning": group.tuning,
            "method": group.method,
            "label": group.label,
            "point": ";".join(f"{name}={value:g}" for name, value in group.point),
            "chosen": int(any(choice.group is group for choice in findings.choices)),
        }
        for split in SPLITS:
            for cell in group.cells[split]:
                for record in _of_cell(cell):
                    yield {**common, "split": split, **record}
            for record in _over_seeds(group, split):
                yield {**common, "split": split, **record}


def _of_cell(cell: Cell) -> Iterator[Record]:
    variant = cell.variant
    common: Record = {
        "variant": variant.id,
        "seeds": ";".join(map(str, variant.seeds)),
        "served": variant.served,
    }
    for task, value in cell.values.items():
        yield {
            **common,
            **_numbers(task, value, value.measure, value.measure.value),
            "results": ";".join(value.results),
            "samples": ";".join(value.samples),
        }
    for task, reason in cell.missing.items():
        yield {**common, "task": task.task, "metric": task.metric, "missing": reason}


def _over_seeds(group: Group, split: Split) -> Iterator[Record]:
    for task, pooled in group.pooled[split].items() if len(group.variants) > 1 else ():
        if values := group.means(split, [task]):
            cells = group.complete(split, [task])
            mean, spread = mean_and_spread(values)
            yield {
                "seeds": ";".join(str(seed) for cell in cells for seed in cell.variant.seeds),
                **_numbers(task, cells[0].values[task], pooled, mean),
                "spread": spread,
            }


def _numbers(task: Measured, value: Value, found: Measure | Pooled, mean: float | None) -> Record:
    metric = task.metric.partition(",")[0]
    return {
        "task": task.task,
        "metric": f"1 - {metric}" if value.reverse else metric,
        "filter": value.filter,
        "value": mean,
        "low": found.low,
        "high": found.high,
        "n": found.scored,
        "unscored": found.total - found.scored,
    }


def _safe(value: str | float | int | None) -> str | float | int | None:
    if not isinstance(value, str):
        return value
    shown = printable(value)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown
