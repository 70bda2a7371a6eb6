"""What any report says, before a renderer makes it HTML, Markdown or lines on a terminal.

A document is sections of notes, figures, tables and excerpts, all of it plain text; renderers make
it harmless, each in its own way.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from safemerge_tasks.report.printable import printable
from safemerge_tasks.results.labels import label

ROWS = 500
"""A table of more rows is nobody's reading."""


@dataclass(frozen=True)
class Name:
    """Words from a file that anybody may have written: a model, a task, a category, a judge."""

    text: str

    @property
    def shown(self) -> str:
        """The text without control characters and at most a label long."""
        return printable(label(self.text))


@dataclass(frozen=True)
class Mark:
    """A word that says whether something is well, shown with a sign or a colour."""

    text: str
    tone: Literal["good", "bad", "unsure"]

    @property
    def sign(self) -> str:
        """What stands for the colour where there is none."""
        return {"good": "✅", "bad": "❌", "unsure": "❔"}[self.tone]


Part = str | Name | Mark
"""Our words, numbers among them, or somebody else's name."""

Words = Part | tuple[Part, ...]
"""A cell of a table, or a sentence."""


def parts(words: Words) -> tuple[Part, ...]:
    """Return what words are made of."""
    return words if isinstance(words, tuple) else (words,)


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        head: the columns' headings.
        rows: as many cells each.
        title: in front of it, in parts; empty for none.
        folded: shown only on demand.
    """

    head: tuple[Words, ...]
    rows: tuple[tuple[Words, ...], ...]
    title: tuple[Part, ...] = ()
    folded: bool = False


@dataclass(frozen=True)
class Figure:
    """A picture.

    Attributes:
        alt: what it shows, ours.
        png: the picture itself; without it, a page leaves the figure out.
        title: in front of it, in parts.
        file: where it lies, as seen from the Markdown file; without it, Markdown leaves it out.
    """

    alt: str
    png: bytes | None = None
    title: tuple[Part, ...] = ()
    file: str | None = None


@dataclass(frozen=True)
class Excerpt:
    """A question with a response, only where the reader asked for text.

    Attributes:
        names: task, model, id and the like.
        question: its text, cut.
        response: its text, cut.
        before: the baseline's response, shown beside the candidate's; None where there is none.
        group: what it is among, the outermost first; those of a group stand beside each other.
    """

    names: tuple[Name, ...]
    question: str
    response: str
    before: str | None = None
    group: tuple[Part, ...] = ()

    @property
    def answers(self) -> tuple[tuple[str, str], ...]:
        """The responses, each with whose it is."""
        if self.before is None:
            return (("answered", self.response),)
        return ("baseline answered", self.before), ("candidate answered", self.response)


@dataclass(frozen=True)
class Section:
    """A part of a document.

    Attributes:
        title: ours; may be empty.
        notes: sentences before all else; a plain one is ours throughout.
        figures: before the tables.
        tables: one below the other.
        excerpts: at the end.
        limit: rows of a table, and excerpts, that a file shows.
    """

    title: str
    notes: tuple[Words, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    excerpts: tuple[Excerpt, ...] = ()
    limit: int | None = ROWS


@dataclass(frozen=True)
class Group:
    """Excerpts beside each other.

    Attributes:
        name: what they have in common; None for those that stand by themselves.
        total: how many there are, groups within included.
        groups: those within.
        excerpts: those of no group within.
    """

    name: Part | None
    total: int
    groups: "list[Group]"
    excerpts: list[Excerpt]


def _grouped(excerpts: Sequence[Excerpt], level: int) -> list[Group]:
    """Return excerpts grouped by the name of a level; neighbours with equal names are a group."""
    found = []
    for name, members in groupby(excerpts, lambda one: (one.group[level:] or (None,))[0]):
        some = list(members)
        inner = _grouped(some, level + 1) if name is not None else []
        found.append(Group(name, len(some), inner, some if name is None else []))
    return found


@dataclass(frozen=True)
class Case:
    """Something that passed or did not, as CI servers show it.

    Attributes:
        task: what it is about.
        name: what was looked at.
        mark: what came out.
        reason: why, in one sentence.
        log: numbers and particulars, a line each.
        warning: it is well, and yet has to be read.
    """

    task: str
    name: str
    mark: Mark
    reason: str
    log: tuple[str, ...]
    warning: bool = False


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes:
        title: ours; may be empty on the terminal.
        sections: its parts, in order.
        conclusion: what all of it comes to.
        cases: for CI servers.
        data: makes what programs read instead, of values that JSON has.
        rest: where the rows are that a table leaves out, as in `which --csv has`.
    """

    title: str
    sections: tuple[Section, ...]
    conclusion: Mark | None = None
    cases: tuple[Case, ...] = ()
    data: Callable[[], object] | None = None
    rest: str = ""

    def more(self, number: int) -> str:
        """Return what stands for rows or excerpts that are left out."""
        return f"and {number:,} more" + (f", {self.rest}" if self.rest else "")

    def groups(self, section: "Section") -> "list[Group]":
        """Return the excerpts that a file shows, in their groups within groups."""
        return _grouped(section.excerpts[: section.limit], 0)

    def rows(self, table: Table, limit: int | None) -> list[tuple[Words, ...]]:
        """Return a table's first rows, and one that counts the others."""
        kept = list(table.rows[:limit])
        if more := len(table.rows) - len(kept):
            kept.append((self.more(more), *("" for _ in table.head[1:])))
        return kept
