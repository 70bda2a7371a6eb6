"""What `safemerge merge`, `vector` and `verify` share: options, and telling what was done."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safemerge_tasks.report.printable import printable

if TYPE_CHECKING:
    from merge.engine.options import Options
    from merge.recipe.recipe import Recipe

ShardSize = Annotated[str, typer.Option(help="Largest output file, such as 5GB.")]
Threads = Annotated[int, typer.Option(help="Threads; 0 is one for each core.")]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, or cuda (experimental).")]
Json = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]


def write_merge(
    recipe: "Recipe", out: Path, options: "Options", as_json: bool, push_to: str | None = None
) -> None:
    """Merge with a bar, upload what came out if that is asked for, and tell."""
    from merge.api import merge_recipe
    from merge.progress import shown

    with shown("merging") as progress:
        merged = merge_recipe(recipe, out, options=options, progress=progress)
    outcome = {
        "written": [str(folder) for folder in merged.folders],
        "report": dict(merged.report),
        "notes": list(merged.notes),
    }
    if push_to is not None:
        from merge.output.hub_upload import push

        outcome["pushed"] = push(merged.folders[0], push_to)
    say(outcome, as_json)


def say(outcome: dict[str, Any], as_json: bool) -> None:
    """Print an outcome as lines or as JSON; notes go to standard error."""
    if as_json:
        print(json.dumps(outcome))
        return
    for note in outcome.pop("notes", []):
        print(printable(f"note: {note}"), file=sys.stderr)
    for key, value in outcome.items():
        if isinstance(value, dict):
            for what, count in value.items():
                print(printable(f"{what}: {count}"))
        elif isinstance(value, list):
            for entry in value:
                print(printable(f"{key} {entry}"))
        else:
            print(printable(f"{key}: {value}"))
