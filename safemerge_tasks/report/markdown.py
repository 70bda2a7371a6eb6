"""The report as GitHub-flavoured Markdown."""

from collections.abc import Iterator
from urllib.parse import quote

from safemerge_tasks.gate.reporters.markdown import code, escape
from safemerge_tasks.report.document import Cell, Grid, Name, Report


def as_markdown(report: Report, plot: str | None = None) -> str:
    """Return the report as Markdown.

    Args:
        report: what to show.
        plot: where the figure lies, as seen from the Markdown file; None leaves it out.
    """
    return "\n".join(_lines(report, plot)) + "\n"


def _lines(report: Report, plot: str | None) -> Iterator[str]:
    yield f"# {report.title}"
    for section in report.sections:
        if section.with_plot and plot is None:
            continue
        yield ""
        yield f"## {section.title}"
        for note in section.notes:
            yield ""
            yield note
        if section.with_plot and plot is not None:
            yield ""
            yield f"![Attack success rates and trade-offs]({quote(plot)})"
        for picture in section.pictures:
            if picture.file is not None:
                yield ""
                if picture.title:
                    yield f"**{': '.join(map(_cell, picture.title))}**"
                    yield ""
                yield f"![{picture.alt}]({quote(picture.file)})"
        for grid in section.grids:
            yield from _table(grid)
        for one in section.responses:
            yield ""
            yield "<details>"
            names = ", ".join(map(_cell, (one.task, one.model, one.judge, one.id)))
            yield f"<summary>{names}</summary>"
            yield ""
            yield code(one.question)
            yield ""
            yield code(one.response)
            yield ""
            yield "</details>"


def _table(grid: Grid) -> Iterator[str]:
    title = ": ".join(map(_cell, grid.title))
    yield ""
    if grid.folded:
        yield "<details>"
        yield f"<summary>{title}</summary>"
        yield ""
    elif title:
        yield f"**{title}**"
        yield ""
    yield f"| {' | '.join(map(_cell, grid.head))} |"
    yield "|" + "---|" * len(grid.head)
    for row in grid.rows:
        yield f"| {' | '.join(map(_cell, row))} |"
    if grid.folded:
        yield ""
        yield "</details>"


def _cell(value: Cell) -> str:
    return code(value.shown) if isinstance(value, Name) else escape(value)
