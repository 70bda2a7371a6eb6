"""What a row of a samples file asks, and what was answered."""

from safemerge_tasks.results.samples import Row

LIMIT = 1000
"""A response of thousands of characters would bury a report."""


def question_text(row: Row) -> str:
    """Return what a sample's document asks, cut at `LIMIT`."""
    document = row.get("doc")
    text = document.get("question") if isinstance(document, dict) else None
    return (text if isinstance(text, str) else str(document))[:LIMIT]


def response_text(row: Row) -> str:
    """Return what the model under test answered, the first of several responses, cut at `LIMIT`."""
    inner: object = row.get("resps")
    while isinstance(inner, list) and inner:
        inner = inner[0]
    return str(inner)[:LIMIT]
