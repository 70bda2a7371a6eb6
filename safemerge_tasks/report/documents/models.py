"""The report on the results of some models."""

from collections.abc import Sequence

from safemerge_tasks.report.document import Document, Figure
from safemerge_tasks.report.reading import Evaluated, Model
from safemerge_tasks.report.sections import section


def models_document(
    models: Sequence[Model], *, redact: bool = True, plot: Figure | None = None
) -> Document:
    """Return the report.

    Args:
        models: what was read.
        redact: leave the text of questions and responses out.
        plot: the figure of all of them.
    """
    return Document("Safety report", section.of(Evaluated(models, redact, plot)))
