"""A document for programs."""

import json

from safemerge_tasks.report.document import Document


def as_json(document: Document) -> str:
    """Return a document's data as JSON, in ASCII; a bound that is nowhere is null."""
    assert document.data is not None
    # JSON has no infinity, whatever Python writes.
    data = json.loads(json.dumps(document.data()), parse_constant=lambda _: None)
    return json.dumps(data, indent=2) + "\n"
