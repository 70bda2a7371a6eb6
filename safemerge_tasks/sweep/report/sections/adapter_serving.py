"""How often adapters answered as their merged checkpoints do."""

from safemerge_tasks.report.document import Name, Section, Table
from safemerge_tasks.sweep.report.findings import Sweeps
from safemerge_tasks.sweep.report.sections import section


@section(80)
def adapter_serving(sweeps: Sweeps) -> Section:
    """Return a table a sweep."""
    tables = []
    for findings in sweeps.findings:
        rows = tuple(
            (
                Name(one.variant),
                one.split,
                f"{one.equal:,} of {one.total:,}",
                f"{one.equal / one.total:.1%}" if one.total else "",
            )
            for one in findings.survey.manifest.agreement
        )
        head = ("variant", "split", "equal answers", "share")
        tables.append(Table(head, rows, sweeps.title(findings)))
    note = "Greedy answers of variants served as adapters that equal their merged checkpoint's."
    return Section("Adapter serving against merged checkpoints", (note,), tuple(tables))
