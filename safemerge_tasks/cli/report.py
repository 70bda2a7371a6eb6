"""The `safemerge report` command."""

import os
from pathlib import Path
from typing import Annotated

import typer

from safemerge_tasks.cli._outputs import refuse_overwriting
from safemerge_tasks.common.atomic_write import write_file
from safemerge_tasks.common.errors import SafemergeError

app = typer.Typer(add_completion=False)

ALT = "Attack success rates and trade-offs; the tables hold the numbers."

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
    policy: Annotated[
        Path | None, typer.Option(help="The YAML file that decides; see `check init`.")
    ] = None,
    tracking: Annotated[
        str | None,
        typer.Option(help="Send the figures to wandb, mlflow or trackio."),
    ] = None,
    accept: Annotated[
        list[str] | None, typer.Option(help="What may differ; see `safemerge check --help`.")
    ] = None,
) -> None:
    """Show results of one or several models on one page: rates, intervals, categories, trade-offs.

    The first model is the baseline of the others: the page begins with what `safemerge check` makes
    of each. It needs no network and no script, and holds no text without --no-redact.
    Sweeps, whose folders have a sweep.json, are shown with what was chosen, side by side.

    Example: safemerge report results/base results/tuned --out report.html
    """
    from safemerge_tasks.sweep.report.findings import any_sweeps

    outputs = {"--out": out, "--markdown": markdown, "--plot": plot, "--csv": csv}
    refuse_overwriting(outputs, (*folders, policy))
    if any_sweeps(folders):
        if not redact:
            raise SafemergeError(
                f"{folders[0]} is a sweep, whose report holds no text of responses; leave "
                "--no-redact out, or give the folder of one of its variants."
            )
        for option, given in (
            ("--policy", policy),
            ("--accept", accept),
            ("--tracking", tracking),
        ):
            if given:
                raise SafemergeError(
                    f"{folders[0]} is a sweep, whose file says what decides; leave {option} out."
                )
        _report_sweeps(folders, out, markdown, plot, csv)
        return
    if csv:
        raise SafemergeError(f"{folders[0]} is no sweep's output, so leave --csv {csv} out.")
    from safemerge_tasks.gate.pairing import accepted_words
    from safemerge_tasks.gate.policy import Policy, read_policy
    from safemerge_tasks.report.document import Figure, Name
    from safemerge_tasks.report.documents.models import models_document
    from safemerge_tasks.report.figures.rates import draw_rates
    from safemerge_tasks.report.reading import Evaluated, against_first, read_models
    from safemerge_tasks.report.release import DEFAULT_POLICY
    from safemerge_tasks.report.renderers.html import as_html
    from safemerge_tasks.report.renderers.markdown import as_markdown
    from safemerge_tasks.report.tracking import of_model, tracker

    send = tracker(tracking) if tracking else None
    asked = read_policy(policy) if policy else Policy()
    models = read_models(folders, asked.cluster_by)
    for option, given in (("--policy", policy), ("--accept", accept)):
        if given and len(models) < 2:
            raise SafemergeError(
                f"{option} is about a comparison, and {folders[0]} has one model; give another's "
                "folder, or leave it out."
            )
    picture = draw_rates(models)
    if plot and picture is None:
        raise SafemergeError(
            f"no model has an attack success rate to draw into {plot}; evaluate a safety task or "
            "leave --plot out."
        )
    figure = Figure(ALT, picture, (), _seen_from(markdown, plot)) if picture else None
    releases = against_first(models, asked, accepted_words(accept or []))
    named = Name(str(policy)) if policy else DEFAULT_POLICY
    document = models_document(Evaluated(models, redact, figure, releases, named))
    write_file(out, as_html(document))
    if plot and picture:
        write_file(plot, picture)
    if markdown:
        write_file(markdown, as_markdown(document))
    if send:
        send([of_model(one) for one in models])


def _report_sweeps(
    folders: list[Path], out: Path, markdown: Path | None, plot: Path | None, csv: Path | None
) -> None:
    from safemerge_tasks.report.document import Figure
    from safemerge_tasks.report.figures.canvas import format_of
    from safemerge_tasks.report.renderers.html import as_html
    from safemerge_tasks.report.renderers.markdown import as_markdown
    from safemerge_tasks.sweep.report.curves import all_curves
    from safemerge_tasks.sweep.report.document import sweeps_document
    from safemerge_tasks.sweep.report.figure import ALT, draw
    from safemerge_tasks.sweep.report.files import figures_of
    from safemerge_tasks.sweep.report.findings import find_all
    from safemerge_tasks.sweep.report.records import as_csv

    suffix = format_of(plot) if plot else ""
    sweeps = find_all(folders)
    rows = all_curves(sweeps)
    if plot and not rows:
        raise SafemergeError(
            f"{folders[0]} has no result of a merge to draw into {plot}; leave --plot out."
        )
    # The page has a figure of each fine-tuning; Markdown shows the one file that has all.
    figures = figures_of(rows)
    if plot:
        write_file(plot, draw(rows, (suffix,))[suffix])
        figures.append(Figure(ALT, file=_seen_from(markdown, plot)))
    document = sweeps_document(sweeps, figures)
    write_file(out, as_html(document))
    if markdown:
        write_file(markdown, as_markdown(document))
    if csv:
        write_file(csv / "results.csv" if csv.is_dir() else csv, as_csv(sweeps))


def _seen_from(markdown: Path | None, plot: Path | None) -> str | None:
    """Return where a plot is as seen from a Markdown file, if both are to be written."""
    if not markdown or not plot:
        return None
    return Path(os.path.relpath(plot.resolve(), markdown.resolve().parent)).as_posix()
