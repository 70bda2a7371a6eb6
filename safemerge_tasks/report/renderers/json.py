"""A document for programs."""

import json

from safemerge_tasks.report.document import Document


def as_json(document: Document) -> str:
    """Return a document's data as JSON, in ASCII."""
    assert document.data is not None
    return json.dumps(document.data(), indent=2) + "\n"
