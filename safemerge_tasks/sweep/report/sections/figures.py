"""Every fine-tuning's figures."""

from safemerge_tasks.report.document import Section
from safemerge_tasks.sweep.report.findings import Sweeps
from safemerge_tasks.sweep.report.sections import section


@section(20)
def figures(sweeps: Sweeps) -> Section:
    """Return what was drawn."""
    note = (
        "The line of a method is its mean over seeds, the band one sample standard deviation; "
        "where there is one model, its 95 % interval. Dashed: the base; dotted: fine-tuned."
    )
    return Section("Figures", (note,), figures=sweeps.figures)
