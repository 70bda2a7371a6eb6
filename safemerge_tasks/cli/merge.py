"""The `safemerge merge` command."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from merge.errors import MergeError
from safemerge_tasks.cli._default_command import DEFAULT, app_with_default
from safemerge_tasks.cli._merging import Device, Json, Threads, say, write_merge
from safemerge_tasks.cli._role_options import ROLES, SETTINGS, CommandWithRoles

if TYPE_CHECKING:
    from merge.engine.options import Options
    from merge.recipe.recipe import Recipe

app = app_with_default("Merge models, or list the methods.")

Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        help="Merge method; `safemerge merge methods` lists them, with the further models that "
        "some take (--unaligned …) and their parameters. Or your own, as file.py:Class.",
    ),
]
Base = Annotated[str | None, typer.Option("--base", help="The aligned model: folder or Hub id.")]
Tuned = Annotated[
    list[str] | None,
    typer.Option("--tuned", help="A fine-tuned model or LoRA adapter; may be repeated."),
]
Lambda = Annotated[
    list[str] | None,
    typer.Option(
        "--lambda",
        help="Weight of the fine-tuned side; several, such as 0.2,0.4, or one for each part of the "
        "layers, early=0.2,late=0.8 (or early, middle, late; or attention, mlp). May be repeated.",
    ),
]
DropRate = Annotated[float | None, typer.Option(help="Share of delta entries DARE drops.")]
Density = Annotated[float | None, typer.Option(help="Share of delta entries that are kept.")]
Gamma = Annotated[float | None, typer.Option(help="Strength of the safety vector.")]
On = Annotated[str | None, typer.Option("--on", help="What slerp interpolates: weights or deltas.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Another parameter of the method, as NAME=VALUE; may be repeated."),
]
Seed = Annotated[int | None, typer.Option(help="Seed of the random methods.")]
Dtype = Annotated[
    str | None, typer.Option(help="float32, float16, bfloat16 or fp8; else the base's.")
]
Dequantize = Annotated[
    bool | None,
    typer.Option("--dequantize", help="Take quantised inputs as the numbers they stand for."),
]
Vocabulary = Annotated[
    str | None,
    typer.Option(help="If vocabularies differ in size: refuse (default), grow, or base's."),
]
Extra = Annotated[
    str | None,
    typer.Option(help="Tensors that not every model has: refuse (default), or the base's own."),
]
ChatTemplate = Annotated[
    str | None,
    typer.Option(help="Whose chat template: base or tuned; else the base's if it has one."),
]
Output = Annotated[
    str | None,
    typer.Option("--as", help="Write a checkpoint (default), or an adapter where that is exact."),
]
MaxShardSize = Annotated[str | None, typer.Option(help="Largest output file; 5GB if not given.")]
RecipeFile = Annotated[
    Path | None, typer.Option("--recipe", help="A YAML recipe, in place of the flags above.")
]


def _place(text: str) -> Path:
    if not text:
        raise MergeError("--out is empty; name a folder to make.")
    return Path(text)


Out = Annotated[Path | None, typer.Option("--out", help="Folder to make.", parser=_place)]
Check = Annotated[
    bool, typer.Option("--check", help="Only find what would fail, from headers and configs.")
]
PushTo = Annotated[
    str | None,
    typer.Option(help="Then upload it to the Hub as ORG/NAME, verified; private if that is new."),
]
AllowNonfinite = Annotated[bool, typer.Option(help="Merge even where NaN or infinity occurs.")]


@app.command(DEFAULT, hidden=True, cls=CommandWithRoles, context_settings=SETTINGS)
def merge(
    ctx: typer.Context,
    method: Method = None,
    base: Base = None,
    tuned: Tuned = None,
    lambdas: Lambda = None,
    drop_rate: DropRate = None,
    density: Density = None,
    gamma: Gamma = None,
    on: On = None,
    settings: Set = None,
    seed: Seed = None,
    dtype: Dtype = None,
    dequantize: Dequantize = None,
    max_shard_size: MaxShardSize = None,
    vocabulary: Vocabulary = None,
    extra: Extra = None,
    chat_template: ChatTemplate = None,
    output: Output = None,
    recipe: RecipeFile = None,
    out: Out = None,
    push_to: PushTo = None,
    check: Check = False,
    threads: Threads = 0,
    device: Device = "cpu",
    allow_nonfinite: AllowNonfinite = False,
    as_json: Json = False,
) -> None:
    """Merge a fine-tuned model back toward its aligned base.

    Example: safemerge merge --method linear --base BASE --tuned TUNED --lambda 0.4,0.6 --out merged
    """
    given = {
        "method": method,
        "base": base,
        "tuned": tuned,
        "lambdas": lambdas,
        "drop_rate": drop_rate,
        "density": density,
        "gamma": gamma,
        "on": on,
        "settings": settings,
    }
    fields = {
        "seed": seed,
        "dtype": dtype,
        "dequantize": dequantize,
        "vocabulary": vocabulary,
        "extra": extra,
        "chat_template": chat_template,
        "output": output,
        "max_shard_size": max_shard_size,
    }
    if base == "":
        raise MergeError("--base is empty; give a folder or a Hub id.")
    built = _recipe(recipe, given, ctx.meta[ROLES], fields)
    from merge.engine.options import Options

    options = Options(threads, device, allow_nonfinite)
    if push_to is not None:
        _check_push(built, push_to)
    if check:
        _check(built, out, options, as_json)
        return
    if out is None:
        raise MergeError("The output has no place; give --out.")
    write_merge(built, out, options, as_json, push_to)


@app.command("methods")
def methods(as_json: Json = False) -> None:
    """List the merge methods with their parameters.

    Example: safemerge merge methods
    """
    from merge.methods import describe_methods

    found = describe_methods()
    if as_json:
        print(json.dumps([asdict(method, dict_factory=_finite) for method in found], indent=1))
        return
    for method in found:
        print(f"{method.name}: {method.summary}")
        for role in method.roles:
            print(f"    {role.flag}{'' if role.required else ' (optional)'}: {role.help}")
        for one in method.parameters:
            given = "required" if one.required else f"default {one.default}"
            each = ", one for each model" if one.per_model else ""
            print(f"    {one.name} ({one.type}, {given}{each}): {one.help}")


def _finite(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return fields as JSON has them: no limit is null, which knows no infinity."""
    return {
        name: None if isinstance(value, float) and math.isinf(value) else value
        for name, value in fields
    }


def _recipe(
    path: Path | None, given: dict[str, Any], roles: dict[str, str], fields: dict[str, Any]
) -> "Recipe":
    """Return the recipe that was asked for.

    Args:
        path: a file that says what to merge.
        given: the flags that say so instead; None where one was not given.
        roles: the models that the method takes besides, which say so too.
        fields: the flags that count beside a file, and then win.
    """
    from merge.recipe.recipe import build_recipe
    from merge.recipe.sizes import parse_size

    fields = {name: value for name, value in fields.items() if value is not None}
    if "max_shard_size" in fields:
        fields["max_shard_size"] = parse_size(fields["max_shard_size"])
    if path is not None:
        from merge.recipe.mergekit_yaml import load_recipe

        clashing = [*(name for name, value in given.items() if value not in (None, [])), *roles]
        if clashing:
            raise MergeError(
                f"--recipe says what to merge; remove {_flag(clashing[0])} or write it into {path}."
            )
        return load_recipe(path, **fields)
    if given["method"] is None:
        raise MergeError("There is nothing to do; give --method and the models, or --recipe.")
    return build_recipe(
        method=given["method"],
        base=given["base"],
        tuned=[{"model": model} for model in given["tuned"] or []],
        lambdas=[each for text in given["lambdas"] or [] for each in _lambdas(text)],
        parameters=_parameters(given),
        **roles,
        **fields,
    )


def _check_push(recipe: "Recipe", push_to: str) -> None:
    from merge.output.hub_upload import check_repository

    if len(recipe.lambdas) > 1:
        raise MergeError(
            f"--push-to {push_to} is for one model, and there are {len(recipe.lambdas)} λ; give "
            f"the one that was chosen."
        )
    check_repository(push_to)


def _flag(name: str) -> str:
    return {"lambdas": "--lambda", "settings": "--set"}.get(name, f"--{name.replace('_', '-')}")


def _parameters(given: dict[str, Any]) -> dict[str, float]:
    named = ("drop_rate", "density", "gamma")
    parameters = {name: given[name] for name in named if given[name] is not None}
    if {"density", "drop_rate"} <= parameters.keys():
        raise MergeError("--density and --drop-rate say the same twice; remove one.")
    if "density" in parameters and given["method"].replace("_", "-").startswith("dare-"):
        parameters["drop_rate"] = 1.0 - parameters.pop("density")
    if given["on"] is not None:
        if given["on"] not in ("weights", "deltas"):
            raise MergeError(f"--on is {given['on']!r}; write --on weights or --on deltas.")
        parameters["on_deltas"] = float(given["on"] == "deltas")
    for text in given["settings"] or []:
        name, _, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if name in parameters:
            raise MergeError(f"--set {text} gives {name} twice; remove one.")
        parameters[name] = _number(value, f"--set {text}")
    return parameters


def _lambdas(text: str) -> list[float | dict[str, float]]:
    """Return what one --lambda asks for: several numbers, or one for each group of layers."""
    where = f"--lambda {text}"
    parts = [part.partition("=") for part in text.split(",")]
    if not any(equals for _, equals, _ in parts):
        return [_number(number, where) for number, _, _ in parts]
    names = [name.strip() for name, _, _ in parts]
    if len(set(names)) < len(names) or not all(equals for _, equals, _ in parts):
        raise MergeError(
            f"{where} mixes numbers and groups of layers, or names one twice; write one λ as "
            f"early=0.2,late=0.8 and others as a --lambda each."
        )
    return [{name: _number(value, where) for name, (_, _, value) in zip(names, parts, strict=True)}]


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise MergeError(f"{where}: {text.strip()!r} is not a number; correct it.") from error


def _check(recipe: "Recipe", out: Path | None, options: "Options", as_json: bool) -> None:
    from merge.api import check as run_check

    plan = run_check(recipe, out, options)
    outcome = {
        "method": plan.method.name,
        "tensors": len(plan.tensors),
        "bytes": plan.written,
        "outputs": plan.outputs,
        "notes": plan.notes,
    }
    say(outcome, as_json)
