"""The models of a merge, by the role each plays, and their tensors."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from merge.errors import MergeError
from merge.formats.same_values import same_values
from merge.formats.stored_tensor import StoredTensor
from merge.lora.adapter import Adapter
from merge.lora.adapter_config import ADAPTER_CONFIG
from merge.models.checkpoint import WEIGHT_FILES, Checkpoint
from merge.models.input_tensors import InputTensor
from merge.models.model_location import LocalModel, ModelReference
from merge.models.tying import has_rows_of_tokens, head_beside, tied_source


@dataclass(frozen=True)
class InputModel:
    """One input: a checkpoint, or an adapter on one.

    Attributes:
        heads: output heads that the adapter gives a model whose own is tied, by the embedding that
            each starts from.
        notes: what the user should know of it.
        merged_whole: the adapter's folder, where peft merged it and the checkpoint is the result.
        difference: whether it is a saved difference of weights, and no model.
    """

    role: str
    reference: ModelReference
    local: LocalModel
    checkpoint: Checkpoint
    adapter: Adapter | None = None
    heads: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    merged_whole: Path | None = None
    difference: bool = False

    @property
    def folder(self) -> Path:
        """The folder the reference stands for."""
        if self.merged_whole is not None:
            return self.merged_whole
        return self.adapter.folder if self.adapter else self.checkpoint.folder

    def operand(self, name: str) -> InputTensor | None:
        """Return one of the model's tensors, or None if it has none of that name."""
        stored = self.checkpoint.tensors.get(name)
        if self.adapter is None:
            return None if stored is None else InputTensor(stored, difference=self.difference)
        stored = self.adapter.replaced.get(name, stored)
        if stored is None and name in self.heads:
            stored = self._tied(self.adapter, self.heads[name])
        if stored is None:
            return None
        if not self.adapter.updates(name):
            return InputTensor(stored)
        return InputTensor(stored, self.adapter, name)

    def _tied(self, adapter: Adapter, embedding: str) -> StoredTensor:
        """Return what a head starts from: the embedding before a copy of it was trained."""
        if embedding in adapter.replaced and embedding not in adapter.copies:
            return adapter.replaced[embedding]
        return self.checkpoint.tensors[embedding]


@dataclass(frozen=True)
class Inputs:
    """Every model of a recipe.

    ``main`` gives the output its tensor names, configuration and tokenizer.
    """

    main: InputModel
    tuned: tuple[InputModel, ...]
    roles: Mapping[str, InputModel] = field(default_factory=dict)

    def all(self) -> list[InputModel]:
        """Return each model once."""
        named = (self.main, *self.tuned, *self.roles.values())
        return list({id(model): model for model in named}.values())


def own_heads(adapter: Adapter, base: Checkpoint) -> dict[str, str]:
    """Return the heads that an adapter makes of a tied one, by the embedding each starts from.

    A head with an update or a copy of its own is one; and so is the head of a model whose embedding
    is trained as a copy or by LoRA, because peft leaves the head as it was. Rows of tokens are
    trained in both. Heads get the name that they have in files, and one that is stored as what the
    embedding is becomes none.

    Raises:
        MergeError: the head's name is not known.
    """
    heads: dict[str, str] = {}
    tied: set[str] = set()
    for name, shape in _changed(adapter).items():
        source = None if name in base.tensors else tied_source(base, name, shape)
        if source is None:
            continue
        if _equals_embedding(adapter, name, source):
            del adapter.replaced[name]
            adapter.dropped.add(name)
            tied.add(source)
            continue
        head = head_beside(base, source) or name
        adapter.rename(name, head)
        heads[head] = source
    for name in ({*adapter.copies, *adapter.factors} & base.tensors.keys()) - tied:
        if not has_rows_of_tokens(base, name) or _stays_tied(adapter, name):
            continue
        if (beside := head_beside(base, name)) is not None:
            heads[beside] = name
    return heads


def _stays_tied(adapter: Adapter, embedding: str) -> bool:
    """Return whether peft ties the head to the trained embedding, which it does by this name."""
    return bool(adapter.config.raw.get("ensure_weight_tying")) and embedding.endswith(
        "embed_tokens.weight"
    )


def _changed(adapter: Adapter) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor that an adapter updates or replaces."""
    shapes: dict[str, tuple[int, ...]] = {}
    shapes |= {name: (b.shape[0], a.shape[1]) for name, (a, b, _) in adapter.factors.items()}
    return shapes | {name: tensor.shape for name, tensor in adapter.replaced.items()}


def _equals_embedding(adapter: Adapter, head: str, embedding: str) -> bool:
    """Return whether both are stored whole, are the same, and have no updates."""
    one, other = adapter.replaced.get(head), adapter.replaced.get(embedding)
    if one is None or other is None or adapter.factors.keys() & {head, embedding}:
        return False
    return same_values(one, other)


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter; trainers may put the model's configuration beside it.

    Raises:
        MergeError: it holds the weights of a model too.
    """
    if not (folder / ADAPTER_CONFIG).is_file():
        return False
    whole = [name for name in WEIGHT_FILES if (folder / name).is_file()]
    if whole:
        raise MergeError(
            f"{folder} holds an adapter ({ADAPTER_CONFIG}) and a whole model ({whole[0]}), and "
            f"loaders take one, the other or both; put the one that is meant in a folder of its "
            f"own."
        )
    return True
