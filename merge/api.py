"""Merging from Python: `merge(...)` from arguments, `merge_recipe(...)` from a recipe."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from merge.adapter_output import check_adapters, write_adapter
from merge.card import model_card
from merge.companions import CARD, copy_companions, write_config
from merge.engine import Options, Result, measure, run
from merge.errors import MergeError
from merge.inputs import open_inputs
from merge.manifest import build_manifest, describe_inputs, tensor_entries, write_manifest
from merge.plan import Plan, make_plan
from merge.recipe import Recipe, TunedModel, build_recipe, lambda_name
from merge.settings import Setting
from merge.shards import Shard, ShardWriter, plan_shards
from merge.staging import check_target, free_bytes, staged

# Told the bytes written so far and in all.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Merged:
    """What a merge left behind.

    Attributes:
        folders: the checkpoints, one for each λ in the order they were given.
        notes: what the user should know about how the inputs were brought together.
        report: how often each thing worth counting happened, such as a fallback.
    """

    folders: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    report: Mapping[str, int] = field(default_factory=dict)


def merge(
    method: str,
    *,
    base: str | Path | None = None,
    tuned: Sequence[str | Path] = (),
    out: str | Path,
    lambdas: Sequence[float] = (),
    parameters: Mapping[str, Setting] | None = None,
    options: Options | None = None,
    progress: Progress | None = None,
    **recipe: Any,
) -> Merged:
    """Merge models into ``out``, or into ``out/lambda-…`` for several λ.

    Args:
        method: name of a method, such as ``linear``.
        base: folder or Hub id of the aligned model.
        tuned: folders or Hub ids of fine-tuned models or LoRA adapters.
        out: folder to make; it must not exist, or be empty.
        lambdas: weights of the fine-tuned side.
        parameters: the method's own, such as ``{"drop_rate": 0.3}``.
        options: threads, device, what to allow.
        progress: called with the bytes written so far and in all.
        recipe: further fields of `Recipe`: aligned, unaligned, vector, seed, dtype, output,
            vocabulary, max_shard_size.

    Raises:
        MergeError: the merge cannot be done.
    """
    built = build_recipe(
        method=method,
        base=None if base is None else str(base),
        tuned=[TunedModel(model=str(model)) for model in tuned],
        lambdas=tuple(lambdas),
        parameters=dict(parameters or {}),
        **recipe,
    )
    return merge_recipe(built, out, options=options, progress=progress)


def merge_recipe(
    recipe: Recipe,
    out: str | Path,
    *,
    options: Options | None = None,
    progress: Progress | None = None,
) -> Merged:
    """Carry out a recipe. See `merge`."""
    out = Path(out)
    options = options or Options()
    with open_inputs(recipe) as inputs:
        plan = make_plan(recipe, inputs)
        if recipe.output == "adapter":
            check_adapters(plan)
            return _merge_adapters(plan, out, options)
        return _merge_checkpoints(plan, out, options, progress)


def _merge_checkpoints(
    plan: Plan, out: Path, options: Options, progress: Progress | None
) -> Merged:
    shards = plan_shards(plan.tensors, plan.recipe.max_shard_size)
    _check_space(plan, out)
    with staged(out) as staging:
        names = _make_outputs(plan.recipe, staging)
        result = _compute(plan, shards, [staging / name for name in names], options, progress)
        plan.notes.extend(
            f"{name} holds integers that differ between the inputs; the base's were kept"
            for name in sorted(result.different_copies)
        )
        described = describe_inputs(plan, result)
        for number, name in enumerate(names):
            folder = staging / name
            copy_companions(plan.inputs.main.checkpoint.folder, plan.tokenizer, folder)
            write_config(plan.config, folder)
            tensors = tensor_entries(result.checksums[number], _places(shards))
            _close(plan, folder, number, tensors, result, described)
    folders = tuple(out / name for name in names)
    return Merged(folders, tuple(plan.notes), dict(result.report))


def _merge_adapters(plan: Plan, out: Path, options: Options) -> Merged:
    with staged(out) as staging:
        names = _make_outputs(plan.recipe, staging)
        totals, result = measure(plan, options)
        described = describe_inputs(plan, result)
        for number, name in enumerate(names):
            tensors = write_adapter(plan, number, totals, staging / name)
            _close(plan, staging / name, number, tensors, result, described)
    folders = tuple(out / name for name in names)
    return Merged(folders, tuple(plan.notes), dict(result.report))


def check(recipe: Recipe, out: str | Path | None = None) -> Plan:
    """Find everything that would make a merge fail, from headers and configurations only.

    Returns:
        What would be written; its inputs are closed.

    Raises:
        MergeError: the merge would fail.
    """
    with open_inputs(recipe, headers_only=True) as inputs:
        plan = make_plan(recipe, inputs)
        if recipe.output == "adapter":
            check_adapters(plan)
        if out is not None:
            check_target(Path(out))
            _check_space(plan, Path(out))
    return plan


def _make_outputs(recipe: Recipe, staging: Path) -> list[str]:
    """Make the outputs' folders below the one that was asked for; one λ needs none."""
    if len(recipe.lambdas) <= 1:
        return [""]
    names = [lambda_name(value) for value in recipe.lambdas]
    for name in names:
        (staging / name).mkdir()
    return names


def _places(shards: Sequence[Shard]) -> Iterator[tuple[str, str, str, tuple[int, ...]]]:
    for shard in shards:
        for name, entry in shard.entries.items():
            yield name, shard.file, entry.dtype, entry.shape


def _check_space(plan: Plan, out: Path) -> None:
    needed = plan.nbytes * plan.outputs
    free = free_bytes(out)
    if needed > free:
        raise MergeError(
            f"{out} needs {needed / 1e9:.1f} GB and its disk has {free / 1e9:.1f} GB left; free "
            f"space there or choose another --out."
        )


def _compute(
    plan: Plan,
    shards: Sequence[Shard],
    folders: Sequence[Path],
    options: Options,
    progress: Progress | None,
) -> Result:
    total = plan.nbytes * len(folders)
    done = 0
    lock = Lock()

    def advance(count: int) -> None:
        nonlocal done
        if progress is not None:
            with lock:
                done += count
                progress(done, total)

    with ExitStack() as stack:
        writers = []
        for folder in folders:
            writers.append(ShardWriter(folder, shards))
            stack.callback(writers[-1].close)
        return run(plan, writers, options, advance)


def _close(
    plan: Plan,
    folder: Path,
    number: int,
    tensors: dict[str, dict[str, Any]],
    result: Result,
    inputs: list[dict[str, Any]],
) -> None:
    """Write the card and, last, the manifest that makes a folder complete."""
    lambda_ = plan.recipe.lambdas[number] if plan.recipe.lambdas else None
    (folder / CARD).write_text(model_card(plan, lambda_), encoding="utf-8")
    manifest = build_manifest(
        plan, lambda_=lambda_, inputs=inputs, tensors=tensors, report=result.report, folder=folder
    )
    write_manifest(manifest, folder)
