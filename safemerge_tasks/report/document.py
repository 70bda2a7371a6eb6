"""What a report says, before it is HTML or Markdown: sections of tables, all of it plain text."""

from dataclasses import dataclass, field

from safemerge_tasks.gate.loading import LABEL_LIMIT
from safemerge_tasks.gate.reporters.wording import printable


@dataclass(frozen=True)
class Name:
    """Words from a file that anybody may have written: a model, a task, a category, a judge."""

    text: str

    @property
    def shown(self) -> str:
        """The text without control characters and at most a label long."""
        cut = self.text if len(self.text) <= LABEL_LIMIT else f"{self.text[: LABEL_LIMIT - 1]}…"
        return printable(cut)


Cell = str | Name
"""A number with its interval in our words, or somebody else's name."""


@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        head: the columns' headings.
        rows: as many cells each.
        title: in front of it, in parts; empty for none.
        folded: shown only on demand.
    """

    head: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: tuple[Cell, ...] = ()
    folded: bool = False


@dataclass(frozen=True)
class Response:
    """A response that a judge calls harmful.

    Attributes:
        task: whose question it answers.
        model: who answered.
        judge: who calls it harmful.
        id: of the question.
        question: its text, cut.
        response: its text, cut.
    """

    task: Name
    model: Name
    judge: Name
    id: Name
    question: str
    response: str


@dataclass(frozen=True)
class Picture:
    """A figure of its own.

    Attributes:
        alt: what it shows, ours.
        png: the figure.
        title: in front of it, in parts.
        file: where it lies, as seen from the Markdown file; without it, Markdown leaves it out.
    """

    alt: str
    png: bytes
    title: tuple[Cell, ...] = ()
    file: str | None = None


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Attributes:
        title: ours.
        notes: sentences before the tables, ours.
        grids: the tables.
        with_plot: the figure belongs here.
        responses: harmful ones, only where the reader asked for text.
        pictures: figures before the tables.
    """

    title: str
    notes: tuple[str, ...] = ()
    grids: tuple[Grid, ...] = ()
    with_plot: bool = False
    responses: tuple[Response, ...] = field(default=())
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Report:
    """All sections."""

    title: str
    sections: tuple[Section, ...]
