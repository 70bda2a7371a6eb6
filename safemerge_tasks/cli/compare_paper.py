"""The `safemerge compare-paper` command."""

from pathlib import Path
from typing import Annotated

import typer

from safemerge_tasks.common.atomic_write import write_file

app = typer.Typer(add_completion=False)


@app.command()
def compare_paper(
    results: Annotated[
        list[str],
        typer.Argument(
            help="ROW=DIR for each row of the paper's table, or a folder with folders called as "
            "rows.",
            metavar="RESULTS…",
        ),
    ],
    paper: Annotated[
        str, typer.Option(help="Whose numbers: a recorded paper, or a YAML file of your own.")
    ] = "resta2024",
    markdown: Annotated[Path | None, typer.Option(help="Write the table as Markdown.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Put results beside a paper's numbers: inside our interval, outside, or not comparable.

    Example: safemerge compare-paper lora-sft=results/tuned lora-resta-d=results/restad
    """
    from safemerge_tasks.report.against_paper import compare, models_of_rows
    from safemerge_tasks.report.documents.against_paper import against_paper_document
    from safemerge_tasks.report.published import read_paper
    from safemerge_tasks.report.renderers.json import as_json as json_of
    from safemerge_tasks.report.renderers.markdown import as_markdown
    from safemerge_tasks.report.renderers.terminal import print_document

    numbers = read_paper(paper)
    models = models_of_rows(numbers, results)
    document = against_paper_document(numbers, models, compare(numbers, models))
    if markdown:
        write_file(markdown, as_markdown(document))
    if as_json:
        print(json_of(document), end="")
    else:
        print_document(document)
