"""The report on the results of some models."""

from safemerge_tasks.report.document import Document
from safemerge_tasks.report.reading import Evaluated
from safemerge_tasks.report.sections import section
from safemerge_tasks.report.sections.verdict import conclusion


def models_document(evaluated: Evaluated) -> Document:
    """Return the report."""
    return Document("Safety report", section.of(evaluated), conclusion(tuple(evaluated.releases)))
