"""The `safemerge suite` commands: new, check and list."""

import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safemerge_tasks.suites.catalogue import Listed

PROBLEMS = 2

app = typer.Typer(
    help="Suites of questions: new, check, list.", no_args_is_help=True, add_completion=False
)

IncludePath = Annotated[
    Path | None, typer.Option(help="The folder of your own suites, as lm_eval's --include_path.")
]


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="The suite's name; its task is NAME_asr.")],
    source: Annotated[
        str, typer.Option("--from", help="A CSV, JSON, JSONL or Parquet file, or a Hub id.")
    ],
    prompt_column: Annotated[str, typer.Option(help="The column of the prompts.")],
    category_column: Annotated[
        str | None, typer.Option(help="A column whose values each get a result row.")
    ] = None,
    language: Annotated[str, typer.Option(help="The prompts' language, such as vi.")] = "en",
    out: Annotated[Path, typer.Option(help="The folder of your suites.")] = Path("suites"),
    config: Annotated[str | None, typer.Option(help="Configuration on the Hub.")] = None,
    split: Annotated[str | None, typer.Option(help="Split on the Hub, if it has several.")] = None,
) -> None:
    """Make a suite that lm_eval runs from your own prompts.

    Example: safemerge suite new mysuite --from prompts.csv --prompt-column question
    """
    from safemerge_tasks.suites.scaffold import new_suite

    made = new_suite(
        name,
        source,
        question=prompt_column,
        category=category_column,
        language=language,
        out=out,
        config=config,
        split=split,
    )
    categories = {question["category"] for question in made.questions} - {""}
    within = f" in {len(categories)} categories" if categories else ""
    where = shlex.quote(str(out))
    print(f"{made.folder}: {len(made.questions)} prompts{within}.")
    print(f"Fill in the licence in {made.folder / 'README.md'}, then:\n")
    print(f"safemerge suite check {name} --include-path {where}")
    print(
        f"lm_eval --include_path {where} --tasks {name}_asr --model vllm --model_args "
        "pretrained=MODEL --batch_size auto --apply_chat_template --log_samples "
        "--output_path results"
    )


@app.command("check")
def check(
    name: Annotated[str, typer.Argument(help="A task, a group, or a folder of them.")],
    include_path: IncludePath = None,
) -> None:
    """Find what is wrong with a suite, also what lm_eval hides.

    Example: safemerge suite check mysuite --include-path suites
    """
    from safemerge_tasks.harness.suite_inspection import category_questions, inspect_suite

    problems = inspect_suite(name, include_path)
    for problem in problems:
        print(f"safemerge: {problem}", file=sys.stderr)
    if problems:
        raise typer.Exit(PROBLEMS)
    print(f"{name}: nothing to mend.")
    for task, rows in category_questions(name, include_path).items():
        _print_rows(task, rows)


@app.command("list")
def list_(
    include_path: IncludePath = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List all suites: questions, language, access, and whether they are on this machine.

    Example: safemerge suite list --include-path suites
    """
    from safemerge_tasks.suites.catalogue import list_suites
    from safemerge_tasks.suites.places import packaged_folder, seen_by_lm_eval

    suites = list_suites(include_path)
    if not seen_by_lm_eval():
        print(
            "safemerge: lm_eval does not find the packaged tasks by itself; give it --include_path "
            f"{packaged_folder()}, or run safemerge doctor --fix.",
            file=sys.stderr,
        )
    if as_json:
        print(json.dumps([asdict(suite) for suite in suites], indent=2))
    else:
        _print_table(suites)


def _print_rows(task: str, rows: "Mapping[str, int]") -> None:
    """Print what the categories' rows are called, and which of them differ by little."""
    from safemerge_tasks.results.category_rows import is_subcategory_row, old_name

    categories = [row for row in rows if not is_subcategory_row(row)]
    below = len(rows) - len(categories)
    more = f", and {below} of their sub-categories in the results file" if below else ""
    print(f"{task} has a row for each of {len(categories)} categories{more}:")
    alike: dict[str, list[str]] = {}
    for row in categories:
        print(f"  {row}  {rows[row]:,} questions")
        alike.setdefault(old_name(row).removeprefix("asr_") or row, []).append(row)
    for some in alike.values():
        if len(some) > 1:
            print(f"  {', '.join(some)} are rows of their own; spell them alike if they are one.")


def _print_table(suites: "list[Listed]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("task", "questions", "language", "access", "available")
    for suite in suites:
        if suite.problem is None:
            table.add_row(
                suite.task,
                "?" if suite.questions is None else f"{suite.questions:,}",
                suite.language,
                "gated" if suite.gated else "open",
                suite.available,
            )
        else:
            print(f"safemerge: {suite.problem}", file=sys.stderr)
    Console().print(table)
