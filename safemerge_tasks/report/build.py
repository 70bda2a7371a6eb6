"""All sections of a report, in their order; those with nothing to say are left out."""

from collections.abc import Sequence

from safemerge_tasks.report import tables
from safemerge_tasks.report.document import Report, Section
from safemerge_tasks.report.provenance import provenance
from safemerge_tasks.report.reading import Model
from safemerge_tasks.report.responses import responses

TITLE = "Safety report"


def build_report(models: Sequence[Model], *, redact: bool = True, with_plot: bool = True) -> Report:
    """Return the report on some models.

    Args:
        models: what was read.
        redact: leave the text of questions and responses out.
        with_plot: there is a figure to show.
    """
    sections = [
        tables.safety(models),
        tables.unscored(models),
        tables.categories(models),
        tables.languages(models),
        tables.over_refusal(models),
        tables.utility(models),
    ]
    if with_plot:
        note = (
            "Attack success rate by task and judge. Where several models have a utility metric as "
            "well: one against the other, filled circles on the Pareto front, crosses behind it."
        )
        sections.append(Section("Plot", (note,), with_plot=True))
    sections += [tables.others(models), provenance(models)]
    if not redact:
        sections.append(responses(models))
    said = [one for one in sections if one.grids or one.with_plot or one.responses]
    return Report(TITLE, tuple(said))
