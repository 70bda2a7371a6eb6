"""The `safemerge judge` and `safemerge eval` commands."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from safemerge_tasks.errors import SafemergeError

Metadata = Annotated[
    list[str] | None,
    typer.Option(help="judge_key=value[,…] as in lm_eval's --metadata; may be repeated."),
]


def judge(
    results_dir: Annotated[Path, typer.Argument(help="A folder that lm_eval wrote.")],
    judge: Annotated[str | None, typer.Option(help="The judge's name.")] = None,
    engine: Annotated[str | None, typer.Option(help="vllm, hf or openai.")] = None,
    model: Annotated[str | None, typer.Option(help="The judge's weights.")] = None,
    url: Annotated[str | None, typer.Option(help="An OpenAI-compatible endpoint.")] = None,
    revision: Annotated[str | None, typer.Option(help="Revision of the weights.")] = None,
    metadata: Metadata = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Judge saved responses; results are rewritten in place beside a backup."""
    from safemerge_tasks.judges.settings import JudgeSettings
    from safemerge_tasks.rejudge import judge_folder

    _log_to_stderr()
    given = parse_pairs(metadata or [])
    named = {
        "judge": judge,
        "judge_engine": engine,
        "judge_model": model,
        "judge_url": url,
        "judge_revision": revision,
    }
    given.update({key: value for key, value in named.items() if value is not None})
    settings = JudgeSettings.from_metadata(given)
    if settings.name == "deferred":
        raise SafemergeError("--judge deferred judges nothing; name the judge, such as wildguard.")
    console = Console(stderr=True)
    with console.status("judging") as status:
        judged = judge_folder(
            results_dir, settings, lambda task: status.update(f"judging {escape(task)}")
        )
    if as_json:
        print(json.dumps({"judge": judged.judge, "results": judged.tables}, indent=2))
    else:
        from safemerge_tasks.judged_table import print_tables

        print_tables(judged)
    if judged.pending:
        raise SafemergeError(
            f"the judge failed on {judged.pending} responses, which stay unscored; the reasons are "
            "above, and the same command judges again."
        )


def evaluate(context: typer.Context) -> None:
    """Run lm_eval, then the judge once the model is out of memory.

    Takes lm_eval's own arguments; lm_eval runs in a process of its own, which is gone before the
    judge starts.
    """
    from safemerge_tasks.judges import JudgeSettings, make_judge

    _log_to_stderr()
    arguments, settings_given, output = split_arguments(context.args)
    settings = JudgeSettings.from_metadata(settings_given)
    # Before anything slow: a judge that cannot work would be found out after the generation.
    make_judge(settings).check()
    ran = subprocess.run([sys.executable, "-m", "lm_eval", *arguments], check=False)
    if ran.returncode != 0:
        raise SafemergeError(f"lm_eval ended with status {ran.returncode}; see its output above.")
    if settings.name == "deferred":
        print(f"Judge later with: safemerge judge {output} --judge wildguard", file=sys.stderr)
        return
    pairs = [f"{key}={value}" for key, value in settings_given.items()]
    judge(output, metadata=pairs)


def split_arguments(arguments: list[str]) -> tuple[list[str], dict[str, str], Path]:
    """Return lm_eval's arguments with judging deferred, the judge's settings, the output folder.

    Raises:
        SafemergeError: no --output_path, without which there is nothing to judge.
    """
    rest: list[str] = []
    judging: dict[str, str] = {}
    output: str | None = None
    pending = list(arguments)
    while pending:
        word = pending.pop(0)
        name, equals, inline = word.partition("=")
        if name == "--metadata":
            values = [inline] if equals else []
            while not equals and pending and not pending[0].startswith("--"):
                values.append(pending.pop(0))
            others = _take_judging(values, judging)
            if others:
                rest += ["--metadata", ",".join(others)]
            continue
        if name in ("--output_path", "-o"):
            output = inline if equals else (pending[0] if pending else None)
        rest.append(word)
    if not output:
        raise SafemergeError("safemerge eval needs --output_path DIR, where responses are saved.")
    if "--log_samples" not in rest and "-s" not in rest:
        rest.append("--log_samples")
    return _with_metadata(rest, "judge=deferred"), judging, Path(output)


def _take_judging(values: list[str], judging: dict[str, str]) -> list[str]:
    others = []
    for pair in (pair for value in values for pair in value.split(",") if pair):
        key, _, text = pair.partition("=")
        if key == "judge" or key.startswith("judge_"):
            judging[key] = text
        else:
            others.append(pair)
    return others


def _with_metadata(arguments: list[str], pair: str) -> list[str]:
    if "--metadata" in arguments:
        place = arguments.index("--metadata") + 1
        return [*arguments[:place], f"{arguments[place]},{pair}", *arguments[place + 1 :]]
    return [*arguments, "--metadata", pair]


def parse_pairs(texts: list[str]) -> dict[str, str]:
    """Return `key=value[,key=value…]` strings as one mapping.

    Raises:
        SafemergeError: a part without `=`.
    """
    pairs: dict[str, str] = {}
    for part in (part for text in texts for part in text.split(",") if part):
        key, equals, value = part.partition("=")
        if not equals:
            raise SafemergeError(f"--metadata {part!r} is not key=value; write judge_model=DIR.")
        pairs[key] = value
    return pairs


def _log_to_stderr() -> None:
    import logging

    logging.basicConfig(level=logging.WARNING, format="safemerge: %(message)s", stream=sys.stderr)
