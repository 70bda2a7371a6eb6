"""The `safemerge finetune` command."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import safemerge_tasks.toy.references  # noqa: F401 - the names `toy:…`

if TYPE_CHECKING:
    from safemerge_tasks.finetune.config import FinetuneConfig

app = typer.Typer(add_completion=False)


@app.command()
def finetune(
    config: Annotated[Path, typer.Argument(help="A YAML file; see examples/.")],
    seed: Annotated[
        list[int] | None, typer.Option(help="Only this seed; may be given several times.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="One seed: the adapter's folder. Several: each in a folder seed-N below. The "
            "configuration's name unless given."
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option(help="Only check all that can be checked before training.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fine-tune a chat model on responses with LoRA, in the papers' settings or your own.

    Example: safemerge finetune examples/finetune-toy.yaml --out tuned
    """
    from safemerge_tasks.common.errors import SafemergeError
    from safemerge_tasks.finetune.config import load_config

    settings = load_config(config)
    seeds = seed or list(settings.seeds)
    if any(not 0 <= one < 2**32 for one in seeds):
        raise SafemergeError(f"--seed {min(seeds)}: give whole numbers from 0 to 4294967295.")
    folder = out or Path(config.stem)
    places = {
        one: folder if len(seeds) == 1 else folder / f"seed-{one}" for one in dict.fromkeys(seeds)
    }
    if check:
        _check(settings, places, as_json=as_json)
    else:
        _train(settings, places, as_json=as_json)


def _check(settings: "FinetuneConfig", places: dict[int, Path], *, as_json: bool) -> None:
    from safemerge_tasks.finetune.outlook import check

    outlooks = {seed: check(settings, seed, place) for seed, place in places.items()}
    if as_json:
        found = [{"seed": seed, **asdict(outlook)} for seed, outlook in outlooks.items()]
        print(json.dumps(found, indent=2))
        return
    for seed, outlook in outlooks.items():
        stops = (
            f"{outlook.steps:,} steps of a schedule of {outlook.schedule_steps:,}"
            if outlook.steps < outlook.schedule_steps
            else f"{outlook.steps:,} steps"
        )
        print(
            f"seed {seed}: {outlook.rows:,} training and {outlook.validation_rows:,} validation "
            f"rows, {stops}, about {outlook.tokens:,} tokens; the result has "
            f"{outlook.adapter_bytes / 1e6:,.1f} MB, the disk needs "
            f"{outlook.working_bytes / 1e6:,.1f} MB meanwhile."
        )
        for note in outlook.notes:
            print(f"  {note}")


def _train(settings: "FinetuneConfig", places: dict[int, Path], *, as_json: bool) -> None:
    from safemerge_tasks.cli._training_progress import TrainingProgress
    from safemerge_tasks.finetune.output import MANIFEST
    from safemerge_tasks.finetune.run import finetune

    # Under a launcher all processes train, and one of them talks.
    first = os.environ.get("RANK", "0") == "0"
    results = []
    for seed, place in places.items():
        with TrainingProgress(f"seed {seed}", quiet=as_json or not first) as progress:
            finetune(settings, seed, place, progress=progress)
        manifest = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        told = ("steps", "training_loss", "validation_loss", "seconds")
        results.append({"seed": seed, "out": str(place), **{key: manifest[key] for key in told}})
        if first and not as_json:
            print(_line(results[-1]))
    if first and as_json:
        print(json.dumps(results, indent=2))


def _line(result: dict[str, Any]) -> str:
    loss = result["validation_loss"]
    validation = "" if loss is None else f", validation loss {loss:.3f}"
    return (
        f"seed {result['seed']}: {result['out']}, {result['steps']} steps, last training loss "
        f"{result['training_loss']:.3f}{validation}, {result['seconds']:.0f} s."
    )
