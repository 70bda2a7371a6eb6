"""What the tables of a sweep's report have in common."""

from collections.abc import Sequence

from safemerge_tasks.report.document import Name
from safemerge_tasks.sweep.manifest import Measured, Split, Tuning
from safemerge_tasks.sweep.report.findings import Findings, ShownModel, heading

CSV = "which --csv has"
"""Where the rows are that a table leaves out."""

Column = tuple[str | Name, Sequence[Measured]]
"""A heading and the tasks whose mean the column shows."""


def columns_of(findings: Findings, tuning: Tuning, split: Split) -> list[Column]:
    """Return the columns of a split: its safety tasks, their mean, utility tasks, their mean."""
    tasks = tuning.of(split)
    everything = (*tasks.safety, *tasks.utility)
    groups = [row.group for row in findings.rows(tuning.name) if row.group]
    having = next((one for one in groups if one.complete(split, everything)), None)
    found: list[Column] = []
    for some, word in ((tasks.safety, "mean ASR"), (tasks.utility, "mean utility")):
        found += [(Name(heading(one, everything, having, split)), (one,)) for one in some]
        if len(some) > 1:
            found.append((word, some))
    return found


def named(row: ShownModel) -> str | Name:
    """Return a row's name as a cell."""
    return row.name if row.ours else Name(row.name)


def long(text: str) -> str:
    """Return a reason at a length that a table bears."""
    return text if len(text) <= 400 else f"{text[:399]}…"
