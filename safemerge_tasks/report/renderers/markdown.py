"""A document as GitHub-flavoured Markdown."""

import re
from collections.abc import Iterator, Sequence
from urllib.parse import quote

from safemerge_tasks.report.document import Document, Mark, Name, Part, Section, Table, Words, parts
from safemerge_tasks.report.printable import printable

_WWW = re.compile(r"(www)\.", re.IGNORECASE)


def as_markdown(document: Document, level: int = 1) -> str:
    """Return a document as Markdown, without the figures that are no files.

    Args:
        document: what to show.
        level: of its heading; a page that it becomes part of has one of its own.
    """
    return "\n".join(_lines(document, level)) + "\n"


def code(text: str) -> str:
    """Return text as code: nothing in it is Markdown, HTML, a mention or a link."""
    return f"<code>{escape(text)}</code>" if text else ""


def escape(text: str) -> str:
    """Return text with all punctuation as character references, which have no meaning of their own.

    Full stops, commas and the like stay readable in the source, but not in what GitHub makes links
    of by itself, in code too: a host that begins with www as it is written, and a mail address as
    it is read, so a comment divides that one.
    """
    escaped = "".join(
        char if char.isalnum() or char in " .,%;()" or ord(char) > 127 else f"&#{ord(char)};"
        for char in printable(text)
    )
    return _WWW.sub(r"\1&#46;", escaped).replace("&#64;", "&#64;<!-- -->")


def _lines(document: Document, level: int) -> Iterator[str]:
    conclusion = f" {_part(document.conclusion)}" if document.conclusion else ""
    yield f"{'#' * level} {document.title}{conclusion}"
    for section in document.sections:
        figures = [one for one in section.figures if one.file is not None]
        if section.figures and not (figures or section.tables or section.excerpts):
            continue
        if section.title:
            yield ""
            yield f"{'#' * (level + 1)} {section.title}"
        yield from _notes(section)
        for figure in figures:
            yield ""
            if figure.title:
                yield f"**{_title(figure.title)}**"
                yield ""
            yield f"![{figure.alt}]({quote(figure.file or '')})"
        for table in section.tables:
            yield from _table(table, document.rows(table, section.limit))
        yield from _excerpts(section, document)


def _notes(section: Section) -> Iterator[str]:
    """Yield our sentences as paragraphs, and those with somebody's names as a list."""
    above: Words = ""
    for note in section.notes:
        is_ours = isinstance(note, str)
        if is_ours or not isinstance(above, tuple):
            yield ""
        yield note if isinstance(note, str) else f"- {_cell(note)}"
        above = note


def _table(table: Table, rows: Sequence[tuple[Words, ...]]) -> Iterator[str]:
    title = _title(table.title)
    yield ""
    if table.folded:
        yield "<details>"
        yield f"<summary>{title}</summary>"
        yield ""
    elif title:
        yield f"**{title}**"
        yield ""
    yield f"| {' | '.join(map(_cell, table.head))} |"
    yield "|" + "---|" * len(table.head)
    for row in rows:
        yield f"| {' | '.join(map(_cell, row))} |"
    if table.folded:
        yield ""
        yield "</details>"


def _excerpts(section: Section, document: Document) -> Iterator[str]:
    shown = section.excerpts[: section.limit]
    for one in shown:
        yield ""
        yield "<details>"
        yield f"<summary>{', '.join(map(_part, one.names))}</summary>"
        yield ""
        yield code(one.question)
        yield ""
        yield code(one.response)
        yield ""
        yield "</details>"
    if more := len(section.excerpts) - len(shown):
        yield ""
        yield document.more(more)


def _title(title: tuple[Part, ...]) -> str:
    return ": ".join(map(_part, title))


def _cell(cell: Words) -> str:
    return "".join(map(_part, parts(cell)))


def _part(part: Part) -> str:
    if isinstance(part, Name):
        return code(part.shown)
    return f"{part.sign} {escape(part.text)}" if isinstance(part, Mark) else escape(part)
