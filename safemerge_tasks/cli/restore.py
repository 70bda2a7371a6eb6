"""The `safemerge restore` command."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safemerge_tasks.common.errors import SafemergeError

if TYPE_CHECKING:
    from safemerge_tasks.sweep.restore import Request

app = typer.Typer(add_completion=False)

NOT_RESTORED = 1
INTERRUPTED = 130


@app.command()
def restore(
    base: Annotated[str, typer.Option(help="The aligned model; a folder or Hub id.")],
    tuned: Annotated[str, typer.Option(help="What was fine-tuned from it: a model or adapter.")],
    max_asr: Annotated[float, typer.Option(help="Limit of the attack success rate, as 0.05.")],
    utility: Annotated[str, typer.Option(help="The task that it has to keep.")],
    out: Annotated[Path, typer.Option(help="Folder for the restored model; a rerun goes on.")],
    safety: Annotated[str, typer.Option(help="Task of harmful questions.")] = "advbench_asr",
    utility_validation: Annotated[
        str | None, typer.Option(help="Task to choose by; else TASK_val, where there is one.")
    ] = None,
    safety_validation: Annotated[
        str | None, typer.Option(help="The same for --safety; else advbench_val_asr.")
    ] = None,
    methods: Annotated[str, typer.Option(help="Any of linear, slerp, dare-linear.")] = "linear",
    lambdas: Annotated[
        str | None, typer.Option("--lambda", help="Weights to search; else 0.05, 0.1, … 0.95.")
    ] = None,
    groups: Annotated[
        str | None,
        typer.Option(help="Then λ by groups of layers: early,late, or as in `safemerge merge`."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="lm-eval's engine, vllm or hf; else what is installed.")
    ] = None,
    model_args: Annotated[str, typer.Option(help="Its arguments, as lm_eval's.")] = "",
    url: Annotated[
        str | None, typer.Option(help="A server that answers instead, as http://localhost:8000/v1.")
    ] = None,
    judge: Annotated[str, typer.Option(help="The judge's name.")] = "wildguard",
    metadata: Annotated[
        list[str] | None, typer.Option(help="judge_key=value[,…] as in lm_eval's --metadata.")
    ] = None,
    include_path: Annotated[str | None, typer.Option(help="Folder of your own tasks.")] = None,
    data_dir: Annotated[str | None, typer.Option(help="SAFEMERGE_DATA_DIR of every step.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Questions of each task, for a try.")
    ] = None,
    vocabulary: Annotated[
        str, typer.Option(help="As of `safemerge merge`: refuse, grow or base.")
    ] = "refuse",
    store: Annotated[Path | None, typer.Option(help="Where finished steps are kept.")] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Check everything and print what would be done.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find the merge that keeps a task under a limit on harm, write it, test it and gate it.

    Exit status: 0 restored, 1 nothing meets the limit, or test data contradict, 2 bad input.

    Example: safemerge restore --base B --tuned T --max-asr 0.05 --utility TASK --out fixed
    """
    from importlib.util import find_spec

    from rich.console import Console

    from safemerge_tasks.cli._judge_options import log_to_stderr, parse_pairs
    from safemerge_tasks.cli._weights import read_weights
    from safemerge_tasks.sweep.prepare import default_store
    from safemerge_tasks.sweep.restore import LAMBDAS, Request, prepare_repair
    from safemerge_tasks.sweep.store import Store

    if url and model:
        raise SafemergeError("--url names a server that answers; remove --model.")
    judging = parse_pairs(metadata or [])
    if "judge" in judging:
        raise SafemergeError("--metadata judge=… names a judge; give it as --judge.")
    log_to_stderr()
    console = Console(stderr=as_json, width=None if sys.stdout.isatty() else 120)
    request = Request(
        base=base,
        tuned=tuned,
        max_asr=max_asr,
        utility=utility,
        out=out,
        safety=safety,
        utility_validation=utility_validation,
        safety_validation=safety_validation,
        methods=_names(methods),
        lambdas=LAMBDAS if lambdas is None else read_weights(lambdas),
        groups=_names(groups) if groups else (),
        judge={"judge": judge, **judging},
        engine=model or ("vllm" if find_spec("vllm") else "hf"),
        model_args=_arguments(model_args),
        url=url,
        include_path=include_path,
        data_dir=data_dir,
        limit=limit,
        vocabulary=vocabulary,
    )
    where = Store(store.resolve()) if store else default_store()
    if plan:
        from safemerge_tasks.sweep.plan import make_plan, print_plan

        made = make_plan(prepare_repair(request, where, read=False))
        if as_json:
            print(json.dumps(made, indent=1, default=str))
        else:
            print_plan(made, console)
        return
    _run(request, where, console, as_json)


def _run(request: "Request", store: Any, console: Any, as_json: bool) -> None:
    from safemerge_tasks.report.renderers.terminal import print_document
    from safemerge_tasks.sweep.repaired import as_json as outcome_of
    from safemerge_tasks.sweep.restore import repair
    from safemerge_tasks.sweep.restored_page import restored_document

    try:
        repaired = repair(request, store, console)
    except KeyboardInterrupt:
        console.print("Interrupted; run the same command again to go on.")
        sys.exit(INTERRUPTED)
    if as_json:
        print(json.dumps(outcome_of(repaired), indent=1))
    else:
        print_document(restored_document(repaired), console)
    if repaired.advice or not repaired.choice:
        sys.exit(NOT_RESTORED)


def _names(text: str) -> list[str]:
    return [one.strip() for one in text.split(",")]


def _arguments(text: str) -> dict[str, Any]:
    """Return `key=value,…` with values as YAML has them."""
    import yaml

    found = {}
    for part in text.split(",") if text else ():
        key, equals, value = part.partition("=")
        if not equals:
            raise SafemergeError(f"--model-args {part!r} is not key=value; write dtype=bfloat16.")
        if key.strip() in found:
            raise SafemergeError(f"--model-args has {key.strip()} twice; remove one.")
        try:
            found[key.strip()] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError) as error:
            raise SafemergeError(f"--model-args {part!r} is no value as YAML has them.") from error
    return found
