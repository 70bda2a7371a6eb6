"""A document as GitHub-flavoured Markdown."""

import re
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import quote

from safemerge_tasks.report.document import (
    Document,
    Excerpt,
    Group,
    Mark,
    Name,
    Part,
    Section,
    Table,
    Words,
    parts,
)
from safemerge_tasks.report.printable import printable

_WWW = re.compile(r"(www)\.", re.IGNORECASE)
_PLAIN = re.compile(r"[\w.,:;/+=()\[\]#%-]([\w .,:;/+=()\[\]#%-]*[\w.,:;/+=()\[\]#%-])?")
"""Text in which nothing means anything to Markdown between backticks."""
_CODE = re.compile("`([^`]*)`")
_INSIDE = re.compile(r"(?<=\w)_(?=\w)")
_READABLE = " .,%;()'\"?:+-/="
_AT_START = re.compile(r"[-+=](?!\w)")
"""Begins lists and headings."""
COLUMN = 36
"""Characters up to which a column's cells are padded, so that a table reads as one in a shell."""


def as_markdown(document: Document, level: int = 1) -> str:
    """Return a document as Markdown, without the figures that are no files.

    Args:
        document: what to show.
        level: of its heading; a page that it becomes part of has one of its own.
    """
    return "\n".join(_lines(document, level)) + "\n"


def code(text: str) -> str:
    """Return text as code: nothing in it is Markdown, HTML, a mention or a link."""
    if _PLAIN.fullmatch(text) and text.isprintable() and not _linked(text):
        return f"`{text}`"
    return f"<code>{escape(text, hide=_READABLE[6:])}</code>" if text else ""


def escape(text: str, hide: str = "") -> str:
    """Return text with what has a meaning in Markdown as character references, which have none.

    GitHub makes links of some things by itself, in code too: of a host that begins with www as it
    is written, of an address with a scheme, and of a mail address as it is read, so a comment
    divides that one.

    Args:
        text: what to show.
        hide: further characters.
    """
    shown = printable(text)
    kept = {place.start() for place in _INSIDE.finditer(shown)} if not hide else set()
    readable = set(_READABLE) - set(hide)
    escaped = "".join(
        char
        if char.isalnum()
        or ord(char) > 127
        or place in kept
        or (char in readable and (place or not _AT_START.match(shown)))
        else f"&#{ord(char)};"
        for place, char in enumerate(shown)
    )
    escaped = _WWW.sub(r"\1&#46;", escaped).replace("://", ":&#47;/")
    return escaped.replace("&#64;", "&#64;<!-- -->")


def _linked(text: str) -> bool:
    return bool(_WWW.search(text)) or "://" in text


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
        yield _summary(title)
        yield ""
    elif title:
        yield f"**{title}**"
        yield ""
    cells = [[_cell(one) for one in row] for row in (table.head, *rows)]
    widths = [min(max(3, *map(len, column)), COLUMN) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    for row in cells:
        padded = (one.ljust(width) for one, width in zip(row, widths, strict=True))
        yield f"| {' | '.join(padded)} |"
    if table.folded:
        yield ""
        yield "</details>"


def _excerpts(section: Section, document: Document) -> Iterator[str]:
    yield from _groups(document.groups(section))
    if more := len(section.excerpts[section.limit :] if section.limit is not None else ()):
        yield ""
        yield document.more(more)


def _groups(groups: Sequence[Group]) -> Iterator[str]:
    for group in groups:
        if group.name is not None:
            yield from _folded(f"{_part(group.name)} ({group.total})", _groups(group.groups))
        for one in group.excerpts:
            yield from _folded(", ".join(map(_part, one.names)), _excerpt(one))


def _folded(summary: str, lines: Iterable[str]) -> Iterator[str]:
    yield ""
    yield "<details>"
    yield _summary(summary)
    yield ""
    yield from lines
    yield ""
    yield "</details>"


def _summary(text: str) -> str:
    # Between tags Markdown is not read, so code is marked as HTML has it.
    inner = _CODE.sub(r"<code>\1</code>", text)
    return f"<summary>{inner}</summary>"


def _excerpt(one: Excerpt) -> Iterator[str]:
    yield code(one.question)
    for whose, answer in one.answers:
        yield ""
        yield f"{whose}: {code(answer)}"


def _title(title: tuple[Part, ...]) -> str:
    return ": ".join(map(_part, title))


def _cell(cell: Words) -> str:
    return "".join(map(_part, parts(cell)))


def _part(part: Part) -> str:
    if isinstance(part, Name):
        return code(part.shown)
    return f"{part.sign} {escape(part.text)}" if isinstance(part, Mark) else escape(part)
