"""The models a recipe names, opened."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from merge.errors import MergeError, list_problems
from merge.lora.adapter import Adapter, open_adapter
from merge.methods import find_method
from merge.models.adapter_fit import check_against, check_changes
from merge.models.adapter_origin import origin
from merge.models.checkpoint import Checkpoint, open_checkpoint
from merge.models.input_models import InputModel, Inputs, is_adapter, own_heads
from merge.models.model_location import LocalModel, ModelReference, locate
from merge.models.saved_vector import is_saved_vector
from merge.recipe.recipe import Recipe


@contextmanager
def open_inputs(*recipes: Recipe, headers_only: bool = False) -> Iterator[list[Inputs]]:
    """Open every model of some recipes, for as long as the context lasts; what they share once.

    With `headers_only`, for a check, weights on the Hub stay there: only their headers are fetched.

    Raises:
        MergeError: a model is missing or broken, or an adapter does not fit its base.
    """
    with ExitStack() as stack:
        opener = _Opener(stack, headers_only)
        yield [_open(recipe, opener) for recipe in recipes]


def _open(recipe: Recipe, opener: "_Opener") -> Inputs:
    main_name = recipe.base or recipe.aligned
    assert main_name is not None, "check_recipe asks for a base"
    main = opener.open(main_name, "base")
    tuned = tuple(opener.open(model.model, "tuned", main) for model in recipe.tuned)
    _check_kind(recipe, tuned)
    _check_vectors((main, *tuned))
    ends: dict[str, InputModel | None] = {
        role: opener.open(name, role, main) if name else None
        for role, name in (
            ("aligned", recipe.aligned),
            ("unaligned", recipe.unaligned),
            ("vector", recipe.vector),
        )
    }
    _check_vectors([model for model in ends.values() if model is not None])
    if recipe.unaligned and ends["aligned"] is None:
        ends["aligned"] = main
    return Inputs(main, tuned, **ends)


def _check_kind(recipe: Recipe, tuned: tuple[InputModel, ...]) -> None:
    for model in tuned:
        if find_method(recipe.method).needs_adapter and model.adapter is None:
            raise MergeError(
                f"The method {recipe.method} works on a LoRA update, and {model.reference} is a "
                f"full model; give the adapter."
            )
        if find_method(recipe.method).needs_adapter and model.adapter and model.adapter.magnitudes:
            raise MergeError(
                f"The method {recipe.method} works on a plain LoRA update, and {model.reference} "
                f"is DoRA; train it without use_dora or use another method."
            )


def _check_vectors(models: Sequence[InputModel]) -> None:
    """Check that a saved safety vector is given as one, and nothing else is."""
    for model in models:
        saved = model.adapter is None and is_saved_vector(model.checkpoint.folder)
        if saved == (model.role == "vector"):
            continue
        if saved:
            raise MergeError(
                f"{model.reference} is a saved safety vector and no model, so it cannot be "
                f"--{model.role}; give it as --vector."
            )
        raise MergeError(
            f"{model.reference} is no safety vector that `safemerge vector` saved, so it cannot be "
            f"--vector; give models as --aligned and --unaligned."
        )


# An adapter, the heads it makes, and what the user should know of it.
_Opened = tuple[Adapter, Mapping[str, str], tuple[str, ...]]


class _Opener:
    """Opens each folder once, so that inputs that share a file share its tensors."""

    def __init__(self, stack: ExitStack, headers_only: bool) -> None:
        self._stack = stack
        self._headers_only = headers_only
        self._located: dict[ModelReference, LocalModel] = {}
        self._checkpoints: dict[Path, Checkpoint] = {}
        self._adapters: dict[tuple[Path, Path], _Opened] = {}

    def open(self, name: str, role: str, base: InputModel | None = None) -> InputModel:
        reference = ModelReference.parse(name)
        local = self._locate(reference)
        if reference.adapter is not None:
            own = InputModel(role, reference, local, self._checkpoint(local.folder))
            return self._adapted(reference, role, self._locate(reference.adapter), own)
        if not is_adapter(local.folder):
            return InputModel(role, reference, local, self._checkpoint(local.folder))
        if base is None:
            raise MergeError(
                f"{name} is a LoRA adapter; the base has to be a full model: give the model it was "
                f"trained on, or model+adapter."
            )
        return self._adapted(reference, role, local, base)

    def _locate(self, reference: ModelReference) -> LocalModel:
        if reference not in self._located:
            local = locate(reference, headers_only=self._headers_only)
            if local.temporary:
                self._stack.callback(shutil.rmtree, local.folder)
            self._located[reference] = local
        return self._located[reference]

    def _adapted(
        self, reference: ModelReference, role: str, local: LocalModel, base: InputModel
    ) -> InputModel:
        key = local.folder.resolve(), base.checkpoint.folder.resolve()
        if key not in self._adapters:
            self._adapters[key] = self._open_adapter(local, base)
        adapter, heads, notes = self._adapters[key]
        return InputModel(role, reference, local, base.checkpoint, adapter, heads, notes)

    def _open_adapter(self, local: LocalModel, base: InputModel) -> _Opened:
        checkpoint = base.checkpoint
        adapter = open_adapter(local.folder)
        self._stack.callback(adapter.close)
        heads = own_heads(adapter, checkpoint)
        problems = check_against(adapter, checkpoint, heads)
        # What came from the Hub for a check has no values.
        readable = not (local.temporary or base.local.temporary)
        problems += check_changes(adapter, checkpoint) if readable and not problems else []
        problem, note = origin(
            adapter, replace(base.reference, adapter=None), checkpoint, compare=readable
        )
        problems += [problem] if problem else []
        if problems:
            raise MergeError(list_problems("The adapter does not fit its base", problems))
        return adapter, heads, (note,) if note else ()

    def _checkpoint(self, folder: Path) -> Checkpoint:
        key = folder.resolve()
        if key not in self._checkpoints:
            self._checkpoints[key] = open_checkpoint(folder)
            self._stack.callback(self._checkpoints[key].close)
        return self._checkpoints[key]
