"""Merging from Python: `merge` from arguments, `merge_recipe` and `merge_recipes` from recipes.

`merge_tensors` writes nothing: it gives one tensor after the other to whoever loads them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from merge.engine.collector import collector_paused
from merge.engine.fp8_output import FP8
from merge.engine.open_inputs import open_inputs
from merge.engine.options import Options
from merge.engine.plan import Plan, make_plan
from merge.engine.plan_work import Result
from merge.engine.run import measure, run, run_by_tensor
from merge.errors import MergeError
from merge.models.checkpoint import CONFIG
from merge.models.saved_vector import MANIFEST
from merge.output.companion_files import CARD, copy_companions, write_config
from merge.output.manifest import build_manifest, describe_inputs, tensor_entries, write_manifest
from merge.output.merged_adapter import check_adapters, write_adapter
from merge.output.model_card import model_card
from merge.output.shard_files import Shard, ShardWriter, plan_shards
from merge.output.staging import check_target, free_bytes, staged
from merge.output.tensor_buffers import TensorBuffers
from merge.recipe.recipe import Recipe, TunedModel, build_recipe, lambda_name
from merge.recipe.tensor_settings import Setting

if TYPE_CHECKING:
    import torch

# Files that libraries open in between.
_SPARE_FILES = 16
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
    lambdas: Sequence[float | dict[str, float]] = (),
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
        lambdas: weights of the fine-tuned side; see `Recipe`.
        parameters: the method's own, such as ``{"drop_rate": 0.3}``.
        options: threads, device, what to allow.
        progress: called with the bytes written so far and in all.
        recipe: further fields of `Recipe`, such as seed, dtype, output and vocabulary, and the
            models of the roles that the method declares, such as unaligned.

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
    options = options or Options()
    options.check()
    if recipe.output == "adapter":
        return _merge_adapters(recipe, Path(out), options)
    return _merge_checkpoints({"": recipe}, Path(out), options, progress)[""]


def merge_recipes(
    recipes: Mapping[str, Recipe],
    out: str | Path,
    *,
    options: Options | None = None,
    progress: Progress | None = None,
) -> dict[str, Merged]:
    """Carry out several recipes on one base in a single pass: what they share is read once.

    Args:
        recipes: by the name of the folder below ``out`` that each comes out in.
        out: folder to make; it must not exist, or be empty.
        options: threads, device, what to allow.
        progress: called with the bytes written so far and in all.

    Returns:
        What each recipe left behind, with the same bits as when it is merged alone.

    Raises:
        MergeError: one of them cannot be done; then none is.
    """
    for name, recipe in recipes.items():
        if Path(name).name != name or name in {"", ".", ".."}:
            raise MergeError(f"{name!r} is no name for a folder below {out}; give a plain name.")
        if recipe.output == "adapter":
            raise MergeError(f"{name} is to be an adapter, which reads no base; merge it alone.")
    if not recipes:
        return {}
    options = options or Options()
    options.check()
    return _merge_checkpoints(recipes, Path(out), options, progress)


def merge_tensors(
    recipe: Recipe, *, options: Options | None = None
) -> "Iterator[tuple[str, torch.Tensor]]":
    """Carry out a recipe of one output and yield its tensors, by the names that files have.

    One tensor is in memory at a time, besides those the caller keeps. vLLM takes them into a
    running engine as `reload_weights(weights_iterator=…)`. Configuration, tokenizer and notes are
    what `check` says of the recipe.

    Raises:
        MergeError: the recipe has several outputs, an adapter or codes as its output; and, once
            tensors are asked for, the merge cannot be done.
    """
    if recipe.output == "adapter":
        raise MergeError("Tensors are those of a whole model; remove output: adapter.")
    if len(recipe.lambdas) > 1:
        names = ", ".join(map(lambda_name, recipe.lambdas))
        raise MergeError(f"Tensors are those of one model, and the recipe has {names}; give one λ.")
    if recipe.dtype == FP8:
        raise MergeError("Codes of 8 bits and their scales go into files; take another dtype.")
    options = options or Options()
    options.check()
    return _tensors(recipe, options)


def _tensors(recipe: Recipe, options: Options) -> "Iterator[tuple[str, torch.Tensor]]":
    with ExitStack() as stack:
        with collector_paused():
            [inputs] = stack.enter_context(open_inputs(recipe))
            plan = make_plan(recipe, inputs)
        buffers = TensorBuffers(plan.tensors)
        for tensor in run_by_tensor(plan, buffers, options):
            yield tensor.name, buffers.take(tensor.name)


def merge_state_dict(
    recipe: Recipe, *, options: Options | None = None
) -> "dict[str, torch.Tensor]":
    """Carry out a recipe of one output in memory. See `merge_tensors`."""
    return dict(merge_tensors(recipe, options=options))


@dataclass(frozen=True)
class _Order:
    """What is to be written: a plan, how its tensors are spread over files, a folder for each λ."""

    plan: Plan
    shards: Sequence[Shard]
    folders: Sequence[Path]

    def merged(self, result: Result, staging: Path, out: Path) -> Merged:
        """Return what it left behind, once its folders are no longer staged."""
        places = tuple(out / folder.relative_to(staging) for folder in self.folders)
        return Merged(places, tuple(self.plan.notes), dict(result.report))


def _merge_checkpoints(
    recipes: Mapping[str, Recipe], out: Path, options: Options, progress: Progress | None
) -> dict[str, Merged]:
    with ExitStack() as stack:
        with collector_paused():
            inputs = stack.enter_context(open_inputs(*recipes.values()))
            plans = {
                name: make_plan(recipe, models)
                for (name, recipe), models in zip(recipes.items(), inputs, strict=True)
            }
        _check_alike(plans)
        check_target(out)
        _check_space(plans.values(), out)
        _check_open_files(plans.values())
        with staged(out, MANIFEST) as staging:
            orders = [
                _Order(
                    plan,
                    plan_shards(plan.arrays, plan.recipe.max_shard_size),
                    _make_outputs(plan.recipe, staging / name),
                )
                for name, plan in plans.items()
            ]
            results = _compute(orders, options, progress)
            for order, result in zip(orders, results, strict=True):
                _complete(order, result, options)
    return {
        name: order.merged(result, staging, out)
        for name, order, result in zip(plans, orders, results, strict=True)
    }


def _complete(order: _Order, result: Result, options: Options) -> None:
    """Write what belongs to the weights of every λ."""
    plan = order.plan
    plan.notes.extend(
        f"{name} holds integers that differ between the inputs; the base's were kept"
        for name in sorted(result.different_copies)
    )
    plan.notes.extend(result.notes)
    described = describe_inputs(plan, result)
    if note := _unchanged_inputs(described):
        plan.notes.append(note)
    for number, folder in enumerate(order.folders):
        copy_companions(plan, folder)
        write_config(plan.config, folder / CONFIG)
        tensors = tensor_entries(result.checksums[number], order.shards)
        _close(plan, folder, number, tensors, result, described, options)


def _unchanged_inputs(described: Sequence[Mapping[str, Any]]) -> str | None:
    """Return a note if the fine-tuned models are the base, by another name or by the same."""
    base, *others = described
    tuned = [each for each in others if each["role"] == "tuned"]
    if not tuned or any(
        each["kind"] != "checkpoint" or each["checksum"] != base["checksum"] for each in tuned
    ):
        return None
    names = " and ".join(str(each["folder"]) for each in tuned)
    return f"{names} has the base's own weights, so there was nothing to merge"


def _merge_adapters(recipe: Recipe, out: Path, options: Options) -> Merged:
    with open_inputs(recipe) as [inputs]:
        plan = make_plan(recipe, inputs)
        check_adapters(plan)
        with staged(out, MANIFEST) as staging:
            order = _Order(plan, (), _make_outputs(recipe, staging))
            totals, result = measure(plan, options)
            described = describe_inputs(plan, result)
            for number, folder in enumerate(order.folders):
                tensors = write_adapter(plan, number, totals, folder, options.block_elements)
                _close(plan, folder, number, tensors, result, described, options)
    return order.merged(result, staging, out)


def check(recipe: Recipe, out: str | Path | None = None, options: Options | None = None) -> Plan:
    """Find everything that would make a merge fail, from headers and configurations only.

    Returns:
        What would be written; its inputs are closed.

    Raises:
        MergeError: the merge would fail.
    """
    (options or Options()).check()
    with collector_paused(), open_inputs(recipe, headers_only=True) as [inputs]:
        plan = make_plan(recipe, inputs)
        if recipe.output == "adapter":
            check_adapters(plan)
        if out is not None:
            check_target(Path(out))
            _check_space([plan], Path(out))
        _check_open_files([plan])
    return plan


def _make_outputs(recipe: Recipe, folder: Path) -> list[Path]:
    """Make the outputs' folders below the one that was asked for; one λ needs none."""
    folder.mkdir(exist_ok=True)
    if len(recipe.lambdas) <= 1:
        return [folder]
    folders = [folder / lambda_name(value) for value in recipe.lambdas]
    for each in folders:
        each.mkdir()
    return folders


def _check_alike(plans: Mapping[str, Plan]) -> None:
    """Check that merges which share a pass compute the same tensors, in the same type."""
    alike = {
        name: [(t.name, t.elements, t.work_dtype, t.scaled) for t in plan.tensors]
        for name, plan in plans.items()
    }
    first, *others = plans
    for name in others:
        if alike[name] != alike[first]:
            raise MergeError(
                f"{name} and {first} write tensors of different names, sizes or precision; give "
                f"them the same base and vocabulary, or merge them one by one."
            )


def _check_space(plans: Iterable[Plan], out: Path) -> None:
    needed = sum(plan.written for plan in plans)
    free = free_bytes(out)
    if needed > free:
        raise MergeError(
            f"{out} needs {needed / 1e9:.1f} GB and its disk has {free / 1e9:.1f} GB left; free "
            f"space there or choose another --out."
        )


def _check_open_files(plans: Iterable[Plan]) -> None:
    """Check that all output files can be open at once, beside the inputs', which are already."""
    opened = Path("/proc/self/fd")
    if not opened.is_dir():
        return
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = limit - len(list(opened.iterdir())) - _SPARE_FILES
    writing = [plan for plan in plans if plan.recipe.output == "checkpoint"]
    # Two neighbouring shards hold more than one's limit: a bound that needs no division.
    if sum(p.outputs * (2 * p.nbytes // p.recipe.max_shard_size + 1) for p in writing) <= free:
        return
    needed = sum(
        plan.outputs * len(plan_shards(plan.arrays, plan.recipe.max_shard_size)) for plan in writing
    )
    if needed > free:
        raise MergeError(
            f"The merge writes {needed} files at once and {max(free, 0)} more may be open; raise "
            f"the limit (ulimit -n) or --max-shard-size."
        )


def _compute(orders: Sequence[_Order], options: Options, progress: Progress | None) -> list[Result]:
    total = sum(order.plan.written for order in orders)
    done = 0
    lock = Lock()

    def advance(count: int) -> None:
        nonlocal done
        if progress is not None:
            with lock:
                done += count
                progress(done, total)

    with ExitStack() as stack:

        def writer(folder: Path, shards: Sequence[Shard]) -> ShardWriter:
            made = ShardWriter(folder, shards)
            stack.callback(made.close)
            return made

        writers = [[writer(folder, order.shards) for folder in order.folders] for order in orders]
        return run([order.plan for order in orders], writers, options, advance)


def _close(
    plan: Plan,
    folder: Path,
    number: int,
    tensors: dict[str, dict[str, Any]],
    result: Result,
    inputs: list[dict[str, Any]],
    options: Options,
) -> None:
    """Write the card and, last, the manifest that makes a folder complete."""
    lambda_ = plan.recipe.lambdas[number] if plan.recipe.lambdas else None
    (folder / CARD).write_text(model_card(plan, lambda_), encoding="utf-8")
    manifest = build_manifest(
        plan,
        lambda_=lambda_,
        inputs=inputs,
        tensors=tensors,
        report=result.report,
        rounding=result.rounding[number] if result.rounding else None,
        folder=folder,
        block_elements=options.block_elements,
    )
    write_manifest(manifest, folder)
