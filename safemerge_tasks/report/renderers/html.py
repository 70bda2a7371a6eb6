"""A document as one HTML page: no script, nothing loaded from anywhere."""

import base64
import hashlib
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from safemerge_tasks.report.document import Document, parts
from safemerge_tasks.report.printable import printable

_HERE = Path(__file__).parent


def as_html(document: Document) -> str:
    """Return the page.

    Everything a file said is escaped by the template engine, and characters that control something
    are shown as their codes. Should something slip through all the same, the content policy lets
    no script, no other style and no request run.
    """
    style = (_HERE / "page.css").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_clean,
        trim_blocks=True,
        loader=jinja2.FileSystemLoader(_HERE),
    )
    return environment.get_template("page.html.j2").render(
        document=document,
        policy=content_policy(style),
        # Ours, and its hash in the policy is that of these very characters.
        style=Markup(style),  # noqa: S704
        embedded=_embedded,
        parts=parts,
    )


def content_policy(style: str) -> str:
    """Return a content security policy that allows one style sheet and pictures in the page."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def _embedded(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode('ascii')}"


def _clean(value: Any) -> Any:
    """Return a value of the template's without control characters, apart from line breaks."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return "\n".join(map(printable, value.split("\n")))
    return value
