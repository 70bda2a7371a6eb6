"""All files of a sweep's report in a folder of their own."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from safemerge_tasks.common.atomic_write import write_file
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.report.document import Figure, Name, Part
from safemerge_tasks.report.figures.canvas import FORMATS, PNG
from safemerge_tasks.report.renderers.html import as_html
from safemerge_tasks.report.renderers.markdown import as_markdown
from safemerge_tasks.sweep.report.curves import Curves, all_curves
from safemerge_tasks.sweep.report.document import sweeps_document
from safemerge_tasks.sweep.report.figure import ALT, Drawn, draw
from safemerge_tasks.sweep.report.findings import find_all
from safemerge_tasks.sweep.report.records import as_csv

EACH = "each task by itself"


def write_report(folder: Path, out: Path) -> list[Path]:
    """Write a sweep's report into a folder of its own: page, Markdown, CSV and figures.

    Args:
        folder: the sweep's output.
        out: is made if it is not there.

    Returns:
        What was written, `report.html` first.

    Raises:
        SafemergeError: there is no sweep, or the report cannot be written.
    """
    sweeps = find_all([folder])
    try:
        (out / "figures").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SafemergeError(f"{out} cannot be written ({error.strerror}).") from error
    figures = []
    drawn: dict[str, bytes] = {}
    taken: set[str] = set()
    for row in all_curves(sweeps):
        name = file_name(row.tuning, taken)
        for stem, title, files in _drawn(row, name, tuple(FORMATS)):
            drawn |= {f"figures/{stem}{suffix}": content for suffix, content in files.items()}
            figures.append(Figure(ALT, files[PNG], title, f"figures/{stem}{PNG}"))
    document = sweeps_document(sweeps, figures)
    contents: dict[str, str | bytes] = {
        "report.html": as_html(document),
        "report.md": as_markdown(document),
        "results.csv": as_csv(sweeps),
        **drawn,
    }
    for name, content in contents.items():
        write_file(out / name, content)
    return [out / name for name in contents]


def figures_of(rows: Sequence[Curves]) -> list[Figure]:
    """Return the figures of each fine-tuning, for a page."""
    several = len({row.model for row in rows}) > 1
    return [
        Figure(ALT, files[PNG], ((Name(row.model),) if several else ()) + title)
        for row in rows
        for _, title, files in _drawn(row, "", (PNG,))
    ]


def file_name(text: str, taken: set[str]) -> str:
    """Return a name as a file's, not one that is taken, and take it."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[:60] or "tuning"
    found, number = plain, 2
    while found.casefold() in taken:
        found, number = f"{plain}-{number}", number + 1
    taken.add(found.casefold())
    return found


def _drawn(
    row: Curves, name: str, formats: Sequence[str]
) -> Iterator[tuple[str, tuple[Part, ...], Drawn]]:
    """Yield a fine-tuning's figures: the file's name without suffix, the title, and the files."""
    yield name, (Name(row.tuning),), draw([row], formats)
    if row.has_means:
        yield f"{name}.tasks", (Name(row.tuning), EACH), draw([row], formats, each_task=True)
