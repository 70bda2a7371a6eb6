"""The side bar of the site, made from the lists of links on the first page.

On GitHub the first page is the list that it says; here each list is a part of the table of contents
as well, so nothing has to be named twice. The page on all tasks has those of the suites below it.
"""

import re
from typing import Any

_PART = re.compile(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"^- \[([^\]]+)\]\(([\w./-]+)\.(?:md|rst)\)", re.MULTILINE)


def with_contents(text: str) -> str:
    """Return the first page with a hidden table of contents for each of its lists."""
    trees = []
    for caption, body in _PART.findall(text):
        pages = "\n".join(f"{name} <{page}>" for name, page in _LINK.findall(body))
        trees.append(f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{pages}\n```\n")
    return "\n".join([text, *trees])


SUITES = "task_configs/README"
_BELOW = "\n```{toctree}\n:hidden:\n:glob:\n\n*/README\n```\n"


def setup(app: Any) -> dict[str, bool]:
    """Register the change of these pages, as Sphinx asks."""

    def change(app: Any, page: str, source: list[str]) -> None:
        if page == app.config.root_doc:
            source[0] = with_contents(source[0])
        elif page == SUITES:
            source[0] += _BELOW

    app.connect("source-read", change)
    return {"parallel_read_safe": True}
