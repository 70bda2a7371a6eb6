"""The models a recipe names, opened."""

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from merge.errors import MergeError, list_problems
from merge.formats.json_object import read_json
from merge.lora.adapter import Adapter, open_adapter
from merge.lora.adapter_config import ADAPTER_CONFIG, NotStreamedError
from merge.methods import Role, find_method
from merge.models.adapter_fit import check_against, check_changes
from merge.models.adapter_origin import origin, other_name
from merge.models.checkpoint import Checkpoint, open_checkpoint
from merge.models.dequantisation import dequantise
from merge.models.input_models import InputModel, Inputs, is_adapter, own_heads
from merge.models.layouts import Namer
from merge.models.model_location import LocalModel, ModelReference, locate
from merge.models.orientation import settle_orientation
from merge.models.parameter_targets import settle_parameters
from merge.models.peft_fallback import fallback_note, merged_by_peft
from merge.models.quantised_weights import quantised
from merge.models.saved_vector import is_saved_vector
from merge.models.sub_folders import only_model
from merge.models.training_base import differing_sample
from merge.recipe.recipe import Recipe


@contextmanager
def open_inputs(*recipes: Recipe, headers_only: bool = False) -> Iterator[list[Inputs]]:
    """Open every model of some recipes, for as long as the context lasts; what they share once.

    With `headers_only`, for a check, weights on the Hub stay there: only their headers are fetched.

    Raises:
        MergeError: a model is missing or broken, or an adapter does not fit its base.
    """
    with ExitStack() as stack:
        dequantize = any(recipe.dequantize for recipe in recipes)
        opener = _Opener(stack, headers_only, dequantize=dequantize)
        yield [_open(recipe, opener) for recipe in recipes]


def _open(recipe: Recipe, opener: "_Opener") -> Inputs:
    assert recipe.main is not None, "check_recipe asks for a base"
    main = opener.open(recipe.main, "base")
    main = opener.with_experts_apart(main, [model.model for model in recipe.tuned])
    tuned = tuple(opener.open(model.model, "tuned", main) for model in recipe.tuned)
    _check_kind(recipe, tuned)
    declared = find_method(recipe.method).roles
    named = recipe.roles
    replaced = {name for role in declared if role.name in named for name in role.instead_of}
    played: dict[str, InputModel] = {}
    for role in declared:
        if role.name in named:
            model = opener.open(named[role.name], role.name, main)
            played[role.name] = replace(model, difference=role.difference)
        elif role.base_if_missing and role.name not in replaced:
            played[role.name] = main
    _check_differences([main, *tuned, *played.values()], declared)
    return Inputs(main, tuned, played)


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
        if stacked := _stacked(model) if find_method(recipe.method).needs_adapter else None:
            raise MergeError(
                f"The method {recipe.method} works on matrices, and {model.reference} updates "
                f"{stacked}, which holds all experts of a layer; use another method."
            )


def _stacked(model: InputModel) -> str | None:
    """Return a tensor of several experts that an adapter updates, if there is one."""
    experts = model.adapter.experts if model.adapter else {}
    return next((n for n, own in experts.items() if own.expert is None and own.experts > 1), None)


def _check_differences(models: Sequence[InputModel], declared: Sequence[Role]) -> None:
    """Check that a saved safety vector is given as one, and nothing else is."""
    for model in models:
        saved = model.adapter is None and is_saved_vector(model.checkpoint.folder)
        if saved == model.difference:
            continue
        role = next((each for each in declared if each.name == model.role), None)
        flag = role.flag if role else f"--{model.role}"
        if saved:
            raise MergeError(
                f"{model.reference} is a saved safety vector and no model, so it cannot be {flag}; "
                f"give it as --vector."
            )
        others = " and ".join(
            each.flag for each in declared if role and each.name in role.instead_of
        )
        raise MergeError(
            f"{model.reference} is no safety vector that `safemerge vector` saved, so it cannot be "
            f"{flag}; give models as {others or 'another role'}."
        )


# Experts as transformers has them in memory: all of a layer in one tensor.
_FUSED = re.compile(r"\.experts\.(gate_up_proj|down_proj)$")
# An adapter, the heads it makes, and what the user should know of it.
_Opened = tuple[Adapter, Mapping[str, str], tuple[str, ...]]


class _Opener:
    """Opens each folder once, so that inputs that share a file share its tensors."""

    def __init__(self, stack: ExitStack, headers_only: bool, *, dequantize: bool) -> None:
        self._stack = stack
        self._headers_only = headers_only
        self._dequantize = dequantize
        self._located: dict[ModelReference, LocalModel] = {}
        self._checkpoints: dict[Path, Checkpoint] = {}
        self._adapters: dict[tuple[Path, Path], _Opened] = {}
        # What peft merged in place of an adapter, and the notes that say so.
        self._whole: dict[tuple[Path, Path], tuple[Checkpoint, tuple[str, ...]]] = {}
        self._namers: dict[int, Namer] = {}
        self._renamings: dict[tuple[int, int], tuple[Checkpoint, str | None]] = {}

    def open(self, name: str, role: str, base: InputModel | None = None) -> InputModel:
        reference = ModelReference.parse(name)
        local = self._locate(reference)
        if reference.adapter is not None:
            own = InputModel(role, reference, local, self._checkpoint(local.folder))
            own = own if base is None else self._renamed(own, base)
            return self._adapted(reference, role, self._locate(reference.adapter), own)
        if not is_adapter(local.folder):
            own = InputModel(role, reference, local, self._checkpoint(local.folder))
            return own if base is None else self._tuned(self._renamed(own, base), base)
        if base is None:
            raise MergeError(
                f"{name} is a LoRA adapter; the base has to be a full model: give the model it was "
                f"trained on, or model+adapter."
            )
        return self._adapted(reference, role, local, base)

    def _tuned(self, model: InputModel, base: InputModel) -> InputModel:
        """Return a model with a note if it was made by us from another base than the one given."""
        if model.local.temporary or base.local.temporary or model.role != "tuned":
            return model
        if not (tensor := differing_sample(model.folder, base.checkpoint)):
            return model
        note = (
            f"{model.folder.name} was fine-tuned from another model than {base.reference}, as "
            f"{tensor} shows"
        )
        return replace(model, notes=(*model.notes, note))

    def with_experts_apart(self, main: InputModel, names: Sequence[str]) -> InputModel:
        """Return the base with one tensor for each expert, where another model has these."""
        if not any(_FUSED.search(name) for name in main.checkpoint.tensors):
            return main
        for name in names:
            reference = ModelReference.parse(name)
            local = self._locate(reference)
            if reference.adapter is None and is_adapter(local.folder):
                continue
            other = self._checkpoint(local.folder)
            if any(_FUSED.search(each) for each in other.tensors):
                continue
            return self._renamed(main, InputModel("base", reference, local, other))
        return main

    def _namer(self, main: Checkpoint) -> Namer:
        return self._namers.setdefault(id(main), Namer(main))

    def _renamed(self, model: InputModel, base: InputModel) -> InputModel:
        """Return a model with the base's names for its tensors."""
        key = id(model.checkpoint), id(base.checkpoint)
        if key not in self._renamings:
            self._renamings[key] = self._namer(base.checkpoint).checkpoint(model.checkpoint)
        checkpoint, note = self._renamings[key]
        return replace(model, checkpoint=checkpoint, notes=(note,) if note else ())

    def _locate(self, reference: ModelReference) -> LocalModel:
        if reference not in self._located:
            local = locate(reference, headers_only=self._headers_only)
            if local.temporary:
                self._stack.callback(shutil.rmtree, local.folder)
            if (within := only_model(local.folder)) != local.folder:
                local = replace(local, folder=within, within=local.folder)
            self._located[reference] = local
        return self._located[reference]

    def _adapted(
        self, reference: ModelReference, role: str, local: LocalModel, base: InputModel
    ) -> InputModel:
        key = local.folder.resolve(), base.checkpoint.folder.resolve()
        if key in self._whole:
            return self._merged_whole(reference, role, local, base)
        if key not in self._adapters:
            try:
                self._adapters[key] = self._open_adapter(local, base)
            except NotStreamedError as reason:
                self._whole[key] = self._merge_whole(local, base, reason)
                return self._merged_whole(reference, role, local, base)
        adapter, heads, notes = self._adapters[key]
        # The base's own notes count where it is an input by itself.
        return InputModel(role, reference, local, base.checkpoint, adapter, heads, notes)

    def _merge_whole(
        self, local: LocalModel, base: InputModel, reason: NotStreamedError
    ) -> tuple[Checkpoint, tuple[str, ...]]:
        """Let peft merge an adapter, unless nothing is to be computed, and return what it made."""
        notes = [fallback_note(local.folder, base.checkpoint, reason)]
        named = str(read_json(local.folder / ADAPTER_CONFIG).get("base_model_name_or_path") or "")
        given = replace(base.reference, adapter=None)
        if note := other_name(local.folder, named, given, base.checkpoint):
            notes.append(note)
        if self._headers_only:
            return base.checkpoint, tuple(notes)
        made = merged_by_peft(local.folder, base.checkpoint, reason)
        self._stack.callback(shutil.rmtree, made)
        whole = self._checkpoint(made)
        return self._namer(base.checkpoint).checkpoint(whole)[0], tuple(notes)

    def _merged_whole(
        self, reference: ModelReference, role: str, local: LocalModel, base: InputModel
    ) -> InputModel:
        checkpoint, notes = self._whole[local.folder.resolve(), base.checkpoint.folder.resolve()]
        return InputModel(
            role, reference, local, checkpoint, notes=notes, merged_whole=local.folder
        )

    def _open_adapter(self, local: LocalModel, base: InputModel) -> _Opened:
        checkpoint = base.checkpoint
        adapter = open_adapter(local.folder)
        self._stack.callback(adapter.close)
        notes = [self._namer(checkpoint).adapter(adapter)]
        settle_orientation(adapter, checkpoint)
        settle_parameters(adapter, self._namer(checkpoint))
        heads = own_heads(adapter, checkpoint)
        problems = check_against(adapter, checkpoint, heads)
        if problems and (reason := quantised(checkpoint, dequantize=self._dequantize)):
            problems = [reason]
        # What came from the Hub for a check has no values.
        readable = not (local.temporary or base.local.temporary)
        problems += check_changes(adapter, checkpoint) if readable and not problems else []
        problem, note = origin(
            adapter, replace(base.reference, adapter=None), checkpoint, compare=readable
        )
        problems += [problem] if problem else []
        if problems:
            raise MergeError(list_problems("The adapter does not fit its base", problems))
        return adapter, heads, tuple(each for each in (*notes, note) if each)

    def _checkpoint(self, folder: Path) -> Checkpoint:
        key = folder.resolve()
        if key not in self._checkpoints:
            self._checkpoints[key] = open_checkpoint(folder)
            self._stack.callback(self._checkpoints[key].close)
            if self._dequantize:
                dequantise(self._checkpoints[key])
        return self._checkpoints[key]
