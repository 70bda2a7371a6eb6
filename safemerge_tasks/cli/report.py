"""The `safemerge report` command."""

import os
from pathlib import Path
from typing import Annotated

import typer

from safemerge_tasks.cli._writing import write_file
from safemerge_tasks.common.errors import SafemergeError

app = typer.Typer(add_completion=False)

FoldersOrSweeps = Annotated[
    list[Path],
    typer.Argument(help="Folders that lm_eval wrote, or sweeps' outputs.", metavar="DIR…"),
]


@app.command()
def report(
    folders: FoldersOrSweeps,
    out: Annotated[Path, typer.Option(help="The HTML page to write.")],
    markdown: Annotated[Path | None, typer.Option(help="Write the same as Markdown.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write the plot as PNG; a sweep's as SVG, too.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="Of sweeps: write every number, to a file or a folder.")
    ] = None,
    redact: Annotated[
        bool, typer.Option(help="Leave the text of questions and responses out.")
    ] = True,
) -> None:
    """Show results of one or several models on one page: rates, intervals, categories, trade-offs.

    The page needs no network and no script. Without --no-redact it holds no question or response.
    Sweeps, whose folders have a sweep.json, are shown with what was chosen, side by side.

    Example: safemerge report results/base results/tuned --out report.html
    """
    from safemerge_tasks.sweep.report.build import any_sweeps

    if any_sweeps(folders):
        if not redact:
            raise SafemergeError(
                f"{folders[0]} is a sweep, whose report holds no text of responses; leave "
                "--no-redact out, or give the folder of one of its variants."
            )
        _report_sweeps(folders, out, markdown, plot, csv)
        return
    if csv:
        raise SafemergeError(f"{folders[0]} is no sweep's output, so leave --csv {csv} out.")
    from safemerge_tasks.report.build import build_report
    from safemerge_tasks.report.figure import draw
    from safemerge_tasks.report.markdown import as_markdown
    from safemerge_tasks.report.page import as_html
    from safemerge_tasks.report.reading import read_models

    models = read_models(folders)
    figure = draw(models)
    if plot and figure is None:
        raise SafemergeError(
            f"no model has an attack success rate to draw into {plot}; evaluate a safety task or "
            "leave --plot out."
        )
    made = build_report(models, redact=redact, with_plot=figure is not None)
    write_file(out, as_html(made, figure))
    if plot and figure:
        write_file(plot, figure)
    if markdown:
        beside = _seen_from(markdown, plot) if plot else None
        write_file(markdown, as_markdown(made, beside))


def _report_sweeps(
    folders: list[Path], out: Path, markdown: Path | None, plot: Path | None, csv: Path | None
) -> None:
    from safemerge_tasks.report.document import Picture
    from safemerge_tasks.report.markdown import as_markdown
    from safemerge_tasks.report.page import as_html
    from safemerge_tasks.sweep.report.build import ALT, all_curves, build_report, pictures_of
    from safemerge_tasks.sweep.report.figure import draw, format_of
    from safemerge_tasks.sweep.report.findings import find_all
    from safemerge_tasks.sweep.report.records import as_csv

    shape = format_of(plot) if plot else ""
    sweeps = find_all(folders)
    rows = all_curves(sweeps)
    if plot and not rows:
        raise SafemergeError(
            f"{folders[0]} has no result of a merge to draw into {plot}; leave --plot out."
        )
    write_file(out, as_html(build_report(sweeps, pictures_of(rows)), None))
    pictures = []
    if plot:
        write_file(plot, draw(rows, (shape,))[shape])
        seen = _seen_from(markdown, plot) if markdown else None
        pictures.append(Picture(ALT, b"", (), seen))
    if markdown:
        write_file(markdown, as_markdown(build_report(sweeps, pictures)))
    if csv:
        write_file(csv / "results.csv" if csv.is_dir() else csv, as_csv(sweeps))


def _seen_from(markdown: Path, plot: Path) -> str:
    return Path(os.path.relpath(plot.resolve(), markdown.resolve().parent)).as_posix()
