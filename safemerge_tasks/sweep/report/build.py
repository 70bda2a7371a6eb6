"""A sweep's report as a document, and all its files."""

import re
from collections.abc import Sequence
from pathlib import Path

from safemerge_tasks.common.atomic_write import replace_file
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.report.document import Cell, Name, Picture, Report, Section
from safemerge_tasks.report.markdown import as_markdown
from safemerge_tasks.report.page import as_html
from safemerge_tasks.sweep.manifest import MANIFEST
from safemerge_tasks.sweep.report import checks, tables
from safemerge_tasks.sweep.report.curves import Curves, curves
from safemerge_tasks.sweep.report.figure import PNG, Drawn, draw, draw_tasks
from safemerge_tasks.sweep.report.findings import Findings, find_all
from safemerge_tasks.sweep.report.records import as_csv

ALT = "ASR and task score of every method along its grid; the tables hold the numbers."

EACH = "each task by itself"


def is_sweep(folder: Path) -> bool:
    """Return whether a folder is a sweep's output."""
    return (folder / MANIFEST).is_file()


def any_sweeps(folders: Sequence[Path]) -> bool:
    """Return whether folders are sweeps' outputs, all of them.

    Raises:
        SafemergeError: some are and some are not.
    """
    others = [folder for folder in folders if not is_sweep(folder)]
    if others and len(others) < len(folders):
        raise SafemergeError(
            f"{others[0]} is no sweep's output as the other folders are, it has no {MANIFEST}; "
            "make a report of each kind."
        )
    return not others


def all_curves(sweeps: Sequence[Findings]) -> list[Curves]:
    """Return what the figures show, one a fine-tuning."""
    found = (curves(one, tuning) for one, tuning in tables.tunings_of(sweeps))
    return [one for one in found if one]


def build_report(sweeps: Sequence[Findings], pictures: Sequence[Picture] = ()) -> Report:
    """Return the report; sections with nothing to say are left out."""
    said = (
        "The line of a method is its mean over seeds, the band one sample standard deviation; "
        "where there is one model, its 95 % interval. Dashed: the base; dotted: fine-tuned."
    )
    sections = (
        tables.outcome(sweeps),
        Section("Figures", (said,), pictures=tuple(pictures)),
        tables.methods(sweeps),
        tables.models(sweeps),
        tables.choices(sweeps),
        checks.gate(sweeps),
        tables.points(sweeps),
        checks.agreement(sweeps),
        checks.failures(sweeps),
        checks.sources(sweeps),
    )
    kept = tuple(one for one in sections if one.grids or one.pictures)
    return Report("Sweep report", kept)


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
        pictures, written = [], []
        taken: set[str] = set()
        for row in all_curves(sweeps):
            name = file_name(row.tuning, taken)
            drawn: list[tuple[str, Drawn, tuple[Cell, ...]]] = [
                (name, draw([row]), (Name(row.tuning),))
            ]
            if row.has_means:
                drawn.append((f"{name}.tasks", draw_tasks(row), (Name(row.tuning), EACH)))
            for stem, figure, title in drawn:
                for suffix, content in figure.items():
                    path = out / "figures" / f"{stem}{suffix}"
                    path.write_bytes(content)
                    written.append(path)
                pictures.append(Picture(ALT, figure[PNG], title, f"figures/{stem}{PNG}"))
        report = build_report(sweeps, pictures)
        texts = {
            "report.html": as_html(report, None),
            "report.md": as_markdown(report),
            "results.csv": as_csv(sweeps),
        }
        for name, text in texts.items():
            replace_file(out / name, text)
    except OSError as error:
        raise SafemergeError(f"{out} cannot be written ({error.strerror}).") from error
    return [*(out / name for name in texts), *written]


def pictures_of(rows: Sequence[Curves]) -> list[Picture]:
    """Return the pictures of each fine-tuning."""
    several = len({row.model for row in rows}) > 1
    found = []
    for row in rows:
        title = (*((Name(row.model),) if several else ()), Name(row.tuning))
        found.append(Picture(ALT, draw([row], (PNG,))[PNG], title))
        if row.has_means:
            found.append(Picture(ALT, draw_tasks(row, (PNG,))[PNG], (*title, EACH)))
    return found


def file_name(text: str, taken: set[str]) -> str:
    """Return a name as a file's, not one that is taken, and take it."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[:60] or "tuning"
    found, number = plain, 2
    while found.casefold() in taken:
        found, number = f"{plain}-{number}", number + 1
    taken.add(found.casefold())
    return found
