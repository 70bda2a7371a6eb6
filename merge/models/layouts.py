"""One model under several names: the layouts of files, of memory, and of base models alone.

transformers renames and fuses tensors as it loads a model, and peft and some exports write the
names that they have in memory. Where transformers knows the architecture its own mapping tells that
two names are one tensor; else a prefix does, if with it every name and shape fits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from merge.errors import MergeError
from merge.formats.stored_tensor import StoredTensor
from merge.lora.adapter import Adapter
from merge.models.checkpoint import Checkpoint
from merge.models.spare_tensors import spare_kind
from merge.models.tying import is_tied_head

_TEXT = "model.language_model."


@dataclass(frozen=True)
class Part:
    """One of the base's tensors, and the place it has in a tensor in memory.

    Attributes:
        expert: whose it is, if each has its own.
        first, rows: the expert's rows in memory that it is, if it is not all of them.
    """

    name: str
    expert: int | None = None
    first: int = 0
    rows: int = 0


@dataclass
class Layout:
    """How transformers names a model's tensors in memory.

    Attributes:
        shapes: of the tensors in memory, by name.
        turned: the modules whose experts are stored as `[experts, in, out]`.
    """

    shapes: Mapping[str, tuple[int, ...]]
    turned: frozenset[str]
    _renamings: list[Any]
    _converters: list[Any]
    _prefix: str

    def in_memory(self, name: str) -> tuple[str, str | None]:
        """Return a tensor's name in memory, and the pattern by which it is fused with others."""
        from transformers.core_model_loading import rename_source_key

        known: dict[str, Any] = dict(self.shapes)
        found, pattern = rename_source_key(
            name, self._renamings, self._converters, self._prefix, known
        )
        return str(found), pattern

    def parts(self, fused: str) -> list[str] | None:
        """Return the patterns of files' names whose tensors, expert by expert, are one in memory.

        None where they are not stacked and joined in order, but turned or interleaved.
        """
        for converter in self._converters:
            target = str(converter.target_patterns[0])
            kinds = [type(step).__name__ for step in converter.operations]
            if fused.endswith(target) and kinds in (
                ["MergeModulelist"],
                ["MergeModulelist", "Concatenate"],
            ):
                start = fused.removesuffix(target)
                return [start + str(source) for source in converter.source_patterns]
        return None


def layout_of(checkpoint: Checkpoint) -> Layout | None:
    """Return an architecture's layout, or None where transformers does not know it."""
    try:
        import torch
        import transformers
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightConverter
    except ImportError:
        return None
    makers = checkpoint.config.get("architectures") or [""]
    maker = getattr(transformers, str(makers[0]), None)
    if maker is None or "auto_map" in checkpoint.config:
        return None
    # A configuration that transformers cannot build is one whose layout is not known.
    try:
        config = transformers.AutoConfig.from_pretrained(checkpoint.folder)
        with torch.device("meta"):
            model = maker(config)
    except Exception:
        return None
    steps = get_model_conversion_mapping(model)
    return Layout(
        {name: tuple(value.shape) for name, value in model.state_dict().items()},
        frozenset(
            name
            for name, module in model.named_modules()
            if getattr(module, "is_transposed", False)
        ),
        [step for step in steps if not isinstance(step, WeightConverter)],
        [step for step in steps if isinstance(step, WeightConverter)],
        model.base_model_prefix,
    )


class Namer:
    """Gives other inputs' tensors the names that the base has for them."""

    def __init__(self, main: Checkpoint) -> None:
        self._main = main
        self._layout: Layout | None = None
        self._by_memory: dict[str, str] | None = None

    def checkpoint(self, other: Checkpoint) -> tuple[Checkpoint, str | None]:
        """Return a model with the base's names where it has others, and a note if it had."""
        shapes = {name: tensor.shape for name, tensor in other.tensors.items()}
        strange = self._strange(shapes)
        if not strange:
            return other, None
        renamed: dict[str, StoredTensor] = {}
        shown = ""
        prefix = self._prefix(other, strange)
        for name, tensor in other.tensors.items():
            for new, part in self._named(name, tensor, prefix):
                if new in renamed:
                    raise MergeError(
                        f"{other.folder}: two tensors are {new} of {self._main.folder}, {name} and "
                        f"{renamed[new].name}; remove the one that does not belong to the model."
                    )
                renamed[new] = part
                if new != name and not shown:
                    shown = f"{name} for {new}"
        if not shown:
            return other, None
        note = (
            f"{other.folder.name} has other names for {self._main.folder.name}'s tensors, such as "
            f"{shown}"
        )
        return replace(other, tensors=renamed), note

    def adapter(self, adapter: Adapter) -> str | None:
        """Give an adapter's targets the base's names, and return a note if they had others."""
        targets: dict[str, tuple[int, ...]] = dict.fromkeys(adapter.tokens, ())
        targets |= {name: bias.shape for name, bias in adapter.bias_updates.items()}
        targets |= {name: tensor.shape for name, tensor in adapter.replaced.items()}
        targets |= {name: (b.shape[0], a.shape[1]) for name, (a, b, _) in adapter.factors.items()}
        note = None
        for name in self._strange(targets):
            new = self._known(name)
            if new is None or new in targets:
                continue
            adapter.rename(name, new)
            note = note or (
                f"{adapter.folder.name} has other names for {self._main.folder.name}'s tensors, "
                f"such as {name} for {new}"
            )
        return note

    def parameters(self, module: str) -> dict[str, tuple[int, ...]]:
        """Return the shapes that a module's own parameters have in memory, by their names there.

        Without a layout they are those of the base's files.
        """
        self._learn()
        known: Mapping[str, tuple[int, ...]] = (
            self._layout.shapes
            if self._layout
            else {name: tensor.shape for name, tensor in self._main.tensors.items()}
        )
        for own in (module, _TEXT + module.removeprefix("model.")):
            if found := {name: known[name] for name in known if name.rpartition(".")[0] == own}:
                return found
        return {}

    def is_turned(self, module: str) -> bool | None:
        """Return whether a module's experts are `[experts, in, out]`; None if it is not known."""
        self._learn()
        return None if self._layout is None else module in self._layout.turned

    def parts(self, memory: str) -> list[Part]:
        """Return the base's tensors that are one in memory, in the order they have there.

        None, if the base has no such tensors or the order is not known.
        """
        known = self._learn()
        own = known.get(memory, memory)
        if own in self._main.tensors:
            return [Part(own)]
        patterns = self._layout.parts(memory) if self._layout else None
        if self._layout is None or patterns is None:
            return []
        experts, rows, *rest = self._layout.shapes[memory]
        rows //= len(patterns)
        found = []
        for expert in range(experts):
            for place, pattern in enumerate(patterns):
                name = self._expert(pattern, expert)
                if name is None or self._main.tensors[name].shape != (rows, *rest):
                    return []
                found.append(Part(name, expert, place * rows, rows))
        return found

    def _strange(self, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
        """Return the names that the base has not, except of tied heads and spare tensors."""
        return [
            name
            for name, shape in shapes.items()
            if name not in self._main.tensors
            and not is_tied_head(self._main, name, shape)
            and spare_kind(self._main, name, shape) is None
        ]

    def _named(
        self, name: str, tensor: StoredTensor, prefix: tuple[str, str] | None
    ) -> list[tuple[str, StoredTensor]]:
        """Return a tensor by the base's name, or its parts where the base has these."""
        if name in self._main.tensors:
            return [(name, tensor)]
        if (known := self._known(name)) is not None:
            return [(known, tensor)]
        if parts := self._split(name, tensor):
            return parts
        if prefix is not None and name.startswith(prefix[0]):
            return [(prefix[1] + name.removeprefix(prefix[0]), tensor)]
        return [(name, tensor)]

    def _known(self, name: str) -> str | None:
        """Return the base's name for a tensor by transformers' mapping."""
        known = self._learn()
        if self._layout is None:
            return None
        memory, fused = self._layout.in_memory(name)
        if fused is not None:
            return None
        # The language model by itself calls model what is model.language_model here.
        text = _TEXT + memory.removeprefix("model.") if memory.startswith("model.") else ""
        return known.get(memory) or known.get(text)

    def _learn(self) -> dict[str, str]:
        """Return the base's names by those in memory, once the layout is known; empty without."""
        if self._by_memory is None:
            self._layout = layout_of(self._main)
            self._by_memory = {}
            for own in self._main.tensors if self._layout else ():
                memory, fused = self._layout.in_memory(own) if self._layout else (own, None)
                if fused is None:
                    self._by_memory[memory] = own
        return self._by_memory

    def _split(self, name: str, tensor: StoredTensor) -> list[tuple[str, StoredTensor]]:
        """Return the experts' own tensors that a fused one holds, by the base's names."""
        if self._layout is None or len(tensor.shape) < 2:
            return []
        memory, _ = self._layout.in_memory(name)
        if self._layout.shapes.get(memory) != tensor.shape:
            return []
        found = []
        offset = tensor.offset
        for part in self.parts(memory):
            if part.expert is None:
                return []
            own = replace(tensor, shape=self._main.tensors[part.name].shape, offset=offset)
            found.append((part.name, own))
            offset += own.nbytes
        return found

    def _expert(self, pattern: str, expert: int) -> str | None:
        """Return the base's name of one expert's tensor, by the end that the pattern has."""
        name = pattern.replace("*", str(expert))
        if name in self._main.tensors:
            return name
        layer, _, end = name.partition(".mlp.experts.")
        alike = [own for own in self._experts(layer) if own.endswith(f".experts.{end}")]
        return alike[0] if len(alike) == 1 else None

    def _experts(self, layer: str) -> list[str]:
        return [name for name in self._main.tensors if name.startswith(f"{layer}.")]

    def _prefix(self, other: Checkpoint, strange: list[str]) -> tuple[str, str] | None:
        """Return the prefix that every strange name has in place of the base's, if one does."""
        missing = [name for name in self._main.tensors if name not in other.tensors]
        first = strange[0]
        for name in missing:
            for theirs, ours in ((name, first), (first, name)):
                if not f".{theirs}".endswith(f".{ours}"):
                    continue
                cut = theirs.removesuffix(ours)
                pair = ("", cut) if theirs is name else (cut, "")
                if all(self._fits(each, other.tensors[each], pair) for each in strange):
                    return pair
        return None

    def _fits(self, name: str, tensor: StoredTensor, pair: tuple[str, str]) -> bool:
        if not name.startswith(pair[0]):
            return False
        own = self._main.tensors.get(pair[1] + name.removeprefix(pair[0]))
        return own is not None and own.shape == tensor.shape
