"""The figure of all rates and trade-offs."""

from safemerge_tasks.report.document import Section
from safemerge_tasks.report.reading import Evaluated
from safemerge_tasks.report.sections import section


@section(70)
def plot(evaluated: Evaluated) -> Section:
    """Return the figure, if there is one."""
    note = (
        "Attack success rate by task and judge. Where several models have a utility metric as "
        "well: one against the other, filled circles on the Pareto front, crosses behind it."
    )
    return Section("Plot", (note,), figures=(evaluated.plot,) if evaluated.plot else ())
