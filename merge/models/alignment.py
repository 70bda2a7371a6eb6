"""Bringing the inputs' tensors together by name, where models of one kind may still differ.

Two differences are bridged, both from headers alone. An output head may be tied to the embedding
in one model and not in another. And vocabularies may differ in size, because one was padded or has
tokens added.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from merge.models.checkpoint import Checkpoint
from merge.models.input_models import InputModel, Inputs
from merge.models.input_tensors import InputTensor, InputTensors
from merge.models.prompts import end_tokens, read_template, special_ids, unused_sampling
from merge.models.spare_tensors import spare_kind
from merge.models.tying import has_rows_of_tokens, is_copy, redundant_head, tied_source
from merge.models.vocabularies import (
    conflicts,
    cut_alike,
    has_tokenizer,
    read_vocabulary,
    same_tokenizer_file,
    show,
)


@dataclass
class Alignment:
    """Every output tensor's operands.

    Attributes:
        operands: by the output's tensor names, in the base's order.
        rows: the output's number of rows, for tensors where it is not the base's.
        copied: tensors that are taken from the base as they are.
        untied: whether the output has a head of its own though the base has none.
        tokenizer: the folder whose tokenizer files belong to the output.
        template: the output's chat template, where it is not that of the tokenizer's folder.
        special_ids: ids of special tokens, where they are those of another tokenizer.
        problems: what does not fit.
        notes: what was bridged.
    """

    tokenizer: Path
    template: str | None = None
    special_ids: dict[str, int] = field(default_factory=dict)
    operands: dict[str, InputTensors] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    copied: set[str] = field(default_factory=set)
    untied: bool = False
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Policies:
    """What to do where the inputs differ.

    Attributes:
        vocabulary: where vocabularies differ in size: refuse, grow, or base.
        chat_template: whose the output has, base, tuned, or auto for the most frequent; if not
            given the base's, or where that has none the tuned models'.
        extra: with tensors that are not in every input: refuse, or base for the base's own. Those
            that loaders leave out or compute need no permission.
        difference: whether the output is a difference of models, and has nothing of its own.
    """

    vocabulary: str = "refuse"
    chat_template: str | None = None
    extra: str = "refuse"
    difference: bool = False


def align(inputs: Inputs, policies: Policies) -> Alignment:
    """Bring the inputs' tensors together."""
    main = inputs.main.checkpoint.folder
    alignment = Alignment(main)
    alignment.notes += [note for model in inputs.all() for note in model.notes]
    alignment.notes += [
        f"{model.local.within.name} has its model in {model.local.folder.name}, which was taken"
        for model in inputs.all()
        if model.local.within is not None
    ]
    names = _Names(inputs)
    spare = _Spare(policies)
    for name in _output_names(inputs, names, spare, alignment):
        operands = _operands(inputs, name, names, spare, alignment)
        if operands is not None:
            alignment.operands[name] = operands
    spare.report(alignment)
    _align_vocabularies(inputs, policies.vocabulary, alignment)
    _choose_template(inputs, policies.chat_template, alignment)
    _note_ends(inputs, alignment)
    _note_sampling(main, alignment)
    return alignment


class _Spare:
    """Tensors that one input has and another lacks: which were copied, left out, or are wrong."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self._settled: dict[tuple[str, str], list[str]] = {}
        self._wrong: dict[tuple[Path, Path], list[str]] = {}

    @property
    def kept(self) -> bool:
        """Whether the output has what only the base has."""
        return not self._policies.difference

    def settles(self, owner: Checkpoint, name: str, shape: tuple[int, ...], *, base: bool) -> bool:
        """Return whether a tensor may be missing elsewhere, and remember what becomes of it."""
        kind = spare_kind(owner, name, shape)
        if kind is None and self._policies.extra == "base":
            kind = "--extra base"
        if kind is None:
            return False
        fate = "copied from it" if base and self.kept else "left out"
        self._settled.setdefault((f"{owner.folder.name}'s own ({kind})", fate), []).append(name)
        return True

    def lacks(self, folder: Path, owner: Path, name: str) -> None:
        """Remember a tensor that an input lacks and may not."""
        self._wrong.setdefault((folder, owner), []).append(name)

    def report(self, alignment: Alignment) -> None:
        """Say what became of them."""
        for (whose, fate), names in self._settled.items():
            names = list(dict.fromkeys(names))
            alignment.notes.append(f"{_count(names)} {whose} {_are(names)} {fate}")
        for (folder, owner), names in self._wrong.items():
            alignment.problems.append(
                f"{folder} lacks {_count(names)} that {owner} has; --extra base keeps the base's "
                f"own and leaves out the others'"
            )


def _are(names: list[str]) -> str:
    return "was" if len(names) == 1 else "were"


def _count(names: list[str], most: int = 3) -> str:
    if len(names) <= most:
        return ", ".join(names)
    return f"{len(names)} tensors, such as {', '.join(names[:2])},"


class _Names:
    """The tensor names of every input: its checkpoint's, and the heads its adapter makes.

    A head that is stored though it is tied to the embedding is left out.
    """

    def __init__(self, inputs: Inputs) -> None:
        skipped: dict[int, str | None] = {}
        self._names: dict[int, dict[str, tuple[int, ...]]] = {}
        for model in inputs.all():
            own = model.checkpoint
            if id(own) not in skipped:
                skipped[id(own)] = redundant_head(own)
            names = {
                name: tensor.shape
                for name, tensor in own.tensors.items()
                if name != skipped[id(own)]
            }
            names |= {head: own.tensors[source].shape for head, source in model.heads.items()}
            self._names[id(model)] = names

    def of(self, model: InputModel) -> dict[str, tuple[int, ...]]:
        """Return one input's names and shapes."""
        return self._names[id(model)]

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape a tensor has in the first input that has it."""
        return next(own[name] for own in self._names.values() if name in own)


def _output_names(inputs: Inputs, names: _Names, spare: _Spare, alignment: Alignment) -> list[str]:
    """Return the base's tensors, and the head if any other input has one of its own."""
    main = inputs.main.checkpoint
    found = dict.fromkeys(names.of(inputs.main))
    for model in inputs.all():
        for name, shape in names.of(model).items():
            if name in found:
                continue
            if (source := tied_source(main, name, shape)) is not None:
                if name not in model.heads and is_copy(model.checkpoint, name, source):
                    continue
                alignment.untied = True
                found[name] = None
                alignment.notes.append(
                    f"{name} is tied to the embedding in {main.folder.name} and not in "
                    f"{model.folder.name}; the output has one of its own"
                )
            elif not spare.settles(model.checkpoint, name, shape, base=False):
                spare.lacks(main.folder, model.folder, name)
    return list(found)


def _operands(
    inputs: Inputs, name: str, names: _Names, spare: _Spare, alignment: Alignment
) -> InputTensors | None:
    lacking: list[InputModel] = []

    def of(model: InputModel) -> InputTensor | None:
        found = model.operand(name) if name in names.of(model) else None
        if found is None:
            source = tied_source(model.checkpoint, name, names.shape(name))
            found = None if source is None else model.operand(source)
        if found is None:
            lacking.append(model)
        return found

    operands = InputTensors(
        base=of(inputs.main),
        tuned=tuple(found for model in inputs.tuned if (found := of(model)) is not None),
        roles={role: found for role, model in inputs.roles.items() if (found := of(model))},
    )
    if not lacking:
        return operands
    main = inputs.main.checkpoint
    if operands.base is None or not spare.settles(main, name, names.shape(name), base=True):
        owner = next(model for model in inputs.all() if name in names.of(model))
        for model in {id(each): each for each in lacking}.values():
            spare.lacks(model.checkpoint.folder, owner.folder, name)
        return None
    if spare.kept:
        alignment.copied.add(name)
        return InputTensors(operands.base, ())
    return None


def _align_vocabularies(inputs: Inputs, policy: str, alignment: Alignment) -> None:
    added = _check_tokens(inputs, policy, alignment)
    main = inputs.main.checkpoint
    for name, operands in alignment.operands.items():
        assert operands.base is not None
        rows = {operand.stored.shape[0] for operand in operands.all() if operand.stored.shape}
        own = operands.base.stored.shape[0] if operands.base.stored.shape else None
        if len(rows) <= 1 or own is None or not _only_rows_differ(operands):
            continue
        if name in main.tensors and not has_rows_of_tokens(main, name):
            continue
        if policy == "refuse":
            alignment.rows[name] = own
            alignment.problems.append(_sizes(name, operands))
            continue
        longest = max(operand.stored.shape[0] for operand in operands.models())
        alignment.rows[name] = longest if policy == "grow" else own
        alignment.operands[name] = _filled(operands, alignment.rows[name])
    if policy == "grow" and added:
        alignment.tokenizer = tokenizer_folder(added[0])
        alignment.notes.append(f"the tokenizer is {alignment.tokenizer.name}'s, with its tokens")
        vocabulary = read_vocabulary(alignment.tokenizer) or {}
        alignment.special_ids = special_ids(alignment.tokenizer, vocabulary)


def _choose_template(inputs: Inputs, wanted: str | None, alignment: Alignment) -> None:
    """Settle the chat template, and say so where the inputs' differ."""
    main = inputs.main.checkpoint.folder
    base = read_template(main)
    own: dict[str, Path] = {}
    for model in inputs.tuned:
        for folder in (model.folder, model.checkpoint.folder):
            if (template := read_template(folder)) is not None:
                own.setdefault(template, folder)
                break
    given = read_template(alignment.tokenizer)
    if wanted == "tuned" and len(own) != 1:
        how_many = "none of the fine-tuned models has" if not own else "the fine-tuned models have"
        what = "one" if not own else "several"
        alignment.problems.append(
            f"--chat-template tuned: {how_many} {what}; use --chat-template base"
        )
        return
    chosen = base
    if wanted == "auto":
        chosen = _most_frequent(inputs, alignment)
    elif own and (wanted == "tuned" or (wanted is None and base is None and len(own) == 1)):
        chosen = next(iter(own))
    elif wanted is None and alignment.tokenizer != main:
        chosen = given
    others = [folder.name for template, folder in own.items() if template != chosen]
    if others and chosen is None:
        alignment.notes.append(
            f"{' and '.join(others)} have different chat templates and the base has none, so the "
            f"output has none; give it one before it is asked in turns"
        )
    elif others:
        alignment.notes.append(
            f"the chat template is not that of {' and '.join(others)}; --chat-template tuned takes "
            f"a fine-tuned model's"
        )
    if chosen is not None and chosen != base and base is None:
        alignment.notes.append(f"the chat template is {own[chosen].name}'s, as the base has none")
    if chosen != given:
        alignment.template = chosen


def _most_frequent(inputs: Inputs, alignment: Alignment) -> str | None:
    """Return the chat template that most models have."""
    folders = {model.checkpoint.folder for model in (inputs.main, *inputs.tuned)}
    counts = Counter(
        template for folder in folders if (template := read_template(folder)) is not None
    )
    ranked = counts.most_common(2)
    if len(ranked) == 2 and ranked[0][1] == ranked[1][1]:
        alignment.problems.append(
            "chat_template is auto, and no template is more frequent than every other among the "
            "models; write base or tuned"
        )
    return ranked[0][0] if ranked else None


def _note_ends(inputs: Inputs, alignment: Alignment) -> None:
    """Say so where the output ends with other tokens than a model that was merged into it."""
    if alignment.special_ids:
        return
    main = inputs.main.checkpoint
    base = end_tokens(main.folder, main.text_config)
    for model in inputs.tuned:
        own = end_tokens(tokenizer_folder(model), model.checkpoint.text_config)
        for key, value in own.items():
            if None not in (value, base[key]) and value != base[key]:
                alignment.notes.append(
                    f"{key} is {base[key]} in {main.folder.name} and {value} in "
                    f"{model.folder.name}; the output has the first"
                )


def _note_sampling(main: Path, alignment: Alignment) -> None:
    if unused := unused_sampling(main):
        alignment.notes.append(
            f"generation_config.json of {main.name} sets {' and '.join(unused)} without do_sample, "
            f"which transformers reads and may refuse to write again; set do_sample or remove them "
            f"before the output is saved anew"
        )


def _only_rows_differ(operands: InputTensors) -> bool:
    return len({operand.stored.shape[1:] for operand in operands.all()}) == 1


def _sizes(name: str, operands: InputTensors) -> str:
    sizes = ", ".join(
        f"{operand.stored.shape[0]} rows in {operand.stored.path.parent}"
        for operand in {id(o.stored): o for o in operands.all()}.values()
    )
    return (
        f"{name} has {sizes}; --vocabulary base keeps the base's rows and --vocabulary grow adds "
        f"the others'"
    )


def _filled(operands: InputTensors, rows: int) -> InputTensors:
    """Give every operand that has too few rows another one's.

    The base takes rows it lacks from the first model that has them, and everyone else takes rows
    from the base, so that a row only one model has comes out as it is there. A saved difference
    says nothing of rows that it lacks.
    """
    assert operands.base is not None
    longest = max(operands.models(), key=lambda operand: operand.stored.shape[0]).stored
    if operands.base.stored.shape[0] == rows:
        longest = operands.base.stored

    def fill(operand: InputTensor) -> InputTensor:
        if operand.difference or operand.stored.shape[0] >= rows:
            return operand
        return replace(operand, filler=longest)

    return InputTensors(
        base=fill(operands.base),
        tuned=tuple(fill(each) for each in operands.tuned),
        roles={role: fill(each) for role, each in operands.roles.items()},
    )


def _check_tokens(inputs: Inputs, policy: str, alignment: Alignment) -> list[InputModel]:
    """Find tokens that clash; return the fine-tuned models that have tokens of their own."""
    main = inputs.main.checkpoint.folder
    others = [
        model
        for model in inputs.all()[1:]
        if tokenizer_folder(model) != main
        and not same_tokenizer_file(main, tokenizer_folder(model))
    ]
    base = read_vocabulary(main) if others else None
    if base is None:
        if others and has_tokenizer(main):
            alignment.notes.append(_unread(main))
        return []
    extended = []
    for model in others:
        folder = tokenizer_folder(model)
        own = read_vocabulary(folder)
        if own is None:
            if has_tokenizer(folder):
                alignment.notes.append(_unread(folder))
            continue
        if clash := conflicts(base, own):
            alignment.problems.append(
                f"the tokenizers of {main} and {folder} give the same ids to "
                f"different tokens ({show(clash)}), so their embeddings cannot be merged"
            )
        if not any(model is tuned for tuned in inputs.tuned):
            continue
        if own == base and not cut_alike(main, folder):
            alignment.notes.append(
                f"the tokenizer of {folder.name} splits text otherwise than that of {main.name}; "
                f"the output has the second"
            )
        new = [token for token in own if token not in base]
        if new and policy == "refuse":
            alignment.problems.append(
                f"{folder} has tokens that {main} lacks ({show(new)}); "
                f"--vocabulary base drops them and --vocabulary grow keeps them"
            )
        if new:
            extended.append(model)
    if policy == "grow":
        _check_one_extension(extended, alignment)
    return extended


def _unread(folder: Path) -> str:
    return (
        f"the tokenizer of {folder} is of a kind that cannot be read here, so its tokens were not "
        f"compared"
    )


def tokenizer_folder(model: InputModel) -> Path:
    """Return where a model's tokenizer is: beside its adapter, if that has one."""
    if model.adapter is not None and has_tokenizer(model.adapter.folder):
        return model.adapter.folder
    return model.checkpoint.folder


def _check_one_extension(extended: list[InputModel], alignment: Alignment) -> None:
    vocabularies: list[Mapping[str, int] | None] = [
        read_vocabulary(tokenizer_folder(model)) for model in extended
    ]
    if any(each != vocabularies[0] for each in vocabularies[1:]):
        alignment.problems.append(
            "the fine-tuned models add different tokens, and one output cannot hold them all; "
            "merge them one at a time or with --vocabulary base"
        )
