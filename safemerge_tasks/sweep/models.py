"""The models that a sweep starts from: given, or made by a step of fine-tuning."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep.identity import model_identity
from safemerge_tasks.sweep.merge_words import merge_errors
from safemerge_tasks.sweep.spec import RoleSpec, SweepSpec
from safemerge_tasks.sweep.steps import Step, make_key, place_of
from safemerge_tasks.toy.references import resolve

MODEL = "model"
"""Where, in the result of a step that makes a model, the model is."""


@dataclass(frozen=True)
class Source:
    """A model to merge or to serve.

    Attributes:
        place: folder, Hub id, or a place in a step's result.
        identity: stands for its content in keys.
        adapter: whether it is a LoRA adapter on the base.
        step: what makes it, if it is made here.
    """

    place: str
    identity: str
    adapter: bool
    step: Step | None = None


@dataclass(frozen=True)
class Sources:
    """All of them.

    Attributes:
        base: the aligned model.
        tuned: fine-tuning → seed → model.
        roles: what plays the methods' further roles, by name.
    """

    base: Source
    tuned: Mapping[str, Mapping[int, Source]]
    roles: Mapping[str, Source]

    def seeds(self) -> dict[str, Sequence[int]]:
        """Return the seeds of each fine-tuning."""
        return {name: list(models) for name, models in self.tuned.items()}

    def steps(self) -> list[Step]:
        """Return the steps of fine-tuning."""
        tuned = [model for seeds in self.tuned.values() for model in seeds.values()]
        return [model.step for model in (*tuned, *self.roles.values()) if model.step]


def find_sources(spec: SweepSpec, *, read: bool = True) -> Sources:
    """Return the models that a sweep starts from.

    Args:
        spec: the sweep.
        read: hash files that have not been hashed yet; else such models have no lasting key.

    Raises:
        SafemergeError: a model or configuration is missing or does not fit.
    """
    base = _base(spec.base, read=read)
    if base.adapter:
        raise SafemergeError(f"base: {spec.base} is an adapter; name the model it was trained on.")
    tuned: dict[str, dict[int, Source]] = {}
    for tuning in spec.tunings:
        if tuning.config is None:
            given = {seed: _given(model, read=read) for seed, model in tuning.models.items()}
            _refuse_twice(tuning.name, given)
            tuned[tuning.name] = given
            continue
        config = _config(spec, tuning.config, tuning.name)
        seeds = tuning.seeds or config.seeds
        tuned[tuning.name] = {seed: _trained(config, seed, base, tuning.name) for seed in seeds}
    roles = {name: _role(spec, name, role, base, read=read) for name, role in spec.roles.items()}
    return Sources(base, tuned, roles)


def _refuse_twice(tuning: str, models: Mapping[int, Source]) -> None:
    """Refuse one model as several seeds', which would count as so many independent ones."""
    seen: dict[str, int] = {}
    for seed, model in models.items():
        if (other := seen.setdefault(model.identity, seed)) != seed:
            raise SafemergeError(
                f"tunings: {tuning} has the same model for the seeds {other} and {seed}, "
                f"{model.place}; name each once."
            )


def _base(model: str, *, read: bool) -> Source:
    if "@" in model and not Path(model).expanduser().exists():
        raise SafemergeError(
            f"base: {model} names a revision, which engines cannot be told; download that and name "
            "its folder."
        )
    identity = model_identity(model, read=read)
    return Source(model, identity or f"unread {model}", is_adapter(model))


def _role(spec: SweepSpec, name: str, role: RoleSpec, base: Source, *, read: bool) -> Source:
    if role.model is not None:
        return _given(role.model, read=read)
    assert role.config is not None
    config = _config(spec, role.config, name)
    return _trained(config, config.seeds[0] if role.seed is None else role.seed, base, name)


def _config(spec: SweepSpec, given: str | dict[str, Any], name: str) -> Any:
    from safemerge_tasks.finetune import FinetuneConfig, load_config

    if isinstance(given, dict):
        where = f"{spec.name}, {name}"
        config = FinetuneConfig.checked({"base": spec.base, **given}, where=where)
    else:
        where = given
        config = load_config(Path(given))
    if resolve(config.base) != spec.base:
        raise SafemergeError(
            f"{where} fine-tunes {config.base}, and the sweep's base is {spec.base}; name the same "
            "model in both."
        )
    return config


def _trained(config: Any, seed: int, base: Source, name: str) -> Source:
    from safemerge_tasks.finetune import identity

    shaped_by = {"finetune": identity(config, seed), "base": base.identity}
    key = make_key("finetune", shaped_by)
    work = {"config": config.model_dump(mode="json"), "seed": seed}
    step = Step(key, "finetune", f"{name}, seed {seed}", key, (), work)
    return Source(place_of(key, MODEL), key, config.tuning == "lora", step)


def _given(model: str, *, read: bool) -> Source:
    found = model_identity(model, read=read)
    adapter = is_adapter(model)
    # Engines and merges of several processes want files; a plan downloads nothing.
    place = local_folder(model) if read and not is_pair(model) else model
    return Source(place, found or f"unread {model}", adapter)


def local_folder(model: str) -> str:
    """Return the folder of a model, downloaded if it is a Hub id; the only one below it counts.

    Raises:
        SafemergeError: the Hub does not deliver it, or there are several.
    """
    from merge.models.model_location import ModelReference, locate
    from merge.models.sub_folders import only_model

    with merge_errors():
        if Path(model).expanduser().is_dir():
            return str(only_model(Path(model).expanduser().resolve()))
        return str(locate(ModelReference.parse(model)).folder)


def is_adapter(model: str) -> bool:
    """Return whether a folder or Hub id is an adapter alone.

    Raises:
        SafemergeError: the Hub does not tell.
    """
    from merge.models.input_models import is_adapter as holds_adapter

    with _headers(model) as folder:
        return not is_pair(model) and holds_adapter(folder)


def is_pair(model: str) -> bool:
    """Return whether a name is a model with an adapter, and not a folder's with a + in it."""
    return "+" in model and not Path(model).expanduser().exists()


def weight_bytes(model: str, dtype: str | None = None) -> int:
    """Return the size of a model's tensors, or of a copy with its floating-point ones in `dtype`.

    Raises:
        SafemergeError: it cannot be read.
    """
    from merge.formats.dtypes import FLOATS, ITEM_SIZE, code_of
    from merge.models.checkpoint import open_checkpoint

    def size(stored: str) -> int:
        return ITEM_SIZE[code_of(dtype) if dtype and stored in FLOATS else stored]

    with _headers(model) as folder, closing(open_checkpoint(folder)) as checkpoint:
        stored = checkpoint.tensors.values()
        return sum(tensor.elements * size(tensor.dtype) for tensor in stored)


@contextmanager
def _headers(model: str) -> Iterator[Path]:
    """Yield a folder with a model's configuration and headers."""
    from merge.models.model_location import ModelReference, locate
    from merge.models.sub_folders import only_model

    with merge_errors():
        local = locate(ModelReference.parse(model), headers_only=True)
        try:
            yield only_model(local.folder)
        finally:
            if local.temporary:
                shutil.rmtree(local.folder)
