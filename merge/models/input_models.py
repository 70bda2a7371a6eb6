"""The models of a merge, by the role each plays, and their tensors."""

from dataclasses import dataclass
from pathlib import Path

from merge.lora.adapter import Adapter
from merge.lora.adapter_config import ADAPTER_CONFIG
from merge.models.checkpoint import CONFIG, Checkpoint
from merge.models.input_tensors import InputTensor
from merge.models.model_location import LocalModel, ModelReference


@dataclass(frozen=True)
class InputModel:
    """One input: a checkpoint, or an adapter on one."""

    role: str
    reference: ModelReference
    local: LocalModel
    checkpoint: Checkpoint
    adapter: Adapter | None = None

    @property
    def folder(self) -> Path:
        """The folder the reference stands for."""
        return self.adapter.folder if self.adapter else self.checkpoint.folder

    def operand(self, name: str) -> InputTensor | None:
        """Return one of the model's tensors, or None if it has none of that name."""
        stored = self.checkpoint.tensors.get(name)
        if self.adapter is None:
            return None if stored is None else InputTensor(stored)
        stored = self.adapter.replaced.get(name, stored)
        if stored is None:
            return None
        if not self.adapter.updates(name):
            return InputTensor(stored)
        return InputTensor(stored, self.adapter, name)


@dataclass(frozen=True)
class Inputs:
    """Every model of a recipe.

    ``main`` gives the output its tensor names, configuration and tokenizer.
    """

    main: InputModel
    tuned: tuple[InputModel, ...]
    aligned: InputModel | None = None
    unaligned: InputModel | None = None
    vector: InputModel | None = None

    def all(self) -> list[InputModel]:
        """Return each model once."""
        named = (self.main, *self.tuned, self.aligned, self.unaligned, self.vector)
        return list({id(model): model for model in named if model is not None}.values())


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter and no model of its own."""
    return (folder / ADAPTER_CONFIG).is_file() and not (folder / CONFIG).is_file()
