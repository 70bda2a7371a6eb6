"""Bringing the inputs' tensors together by name, where models of one kind may still differ.

Two differences are bridged, both from headers alone. An output head may be tied to the embedding
in one model and not in another. And vocabularies may differ in size, because one was padded or has
tokens added.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from merge.models.input_models import InputModel, Inputs
from merge.models.input_tensors import InputTensor, InputTensors
from merge.models.prompts import end_tokens, read_template, special_ids
from merge.models.tying import has_rows_of_tokens, redundant_head, tied_source
from merge.models.vocabularies import (
    conflicts,
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
    untied: bool = False
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def align(inputs: Inputs, vocabulary: str, chat_template: str | None = None) -> Alignment:
    """Bring the inputs' tensors together.

    Args:
        inputs: the opened models.
        vocabulary: what to do where vocabularies differ in size: refuse, grow, or base.
        chat_template: whose the output has, base or tuned; if not given the base's, or where that
            has none the tuned models'.
    """
    alignment = Alignment(inputs.main.checkpoint.folder)
    alignment.notes += [note for model in inputs.all() for note in model.notes]
    names = _Names(inputs)
    for name in _output_names(inputs, names, alignment):
        operands = _operands(inputs, name, names, alignment)
        if operands is not None:
            alignment.operands[name] = operands
    _align_vocabularies(inputs, vocabulary, alignment)
    _choose_template(inputs, chat_template, alignment)
    _note_ends(inputs, alignment)
    return alignment


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


def _output_names(inputs: Inputs, names: _Names, alignment: Alignment) -> list[str]:
    """Return the base's tensors, and the head if any other input has one of its own."""
    main = inputs.main.checkpoint
    found = dict.fromkeys(names.of(inputs.main))
    for model in inputs.all():
        for name, shape in names.of(model).items():
            if name in found:
                continue
            if tied_source(main, name, shape) is None:
                alignment.problems.append(f"{model.folder} has {name}, which {main.folder} lacks")
            else:
                alignment.untied = True
                found[name] = None
                alignment.notes.append(
                    f"{name} is tied to the embedding in {main.folder.name} and not in "
                    f"{model.folder.name}; the output has one of its own"
                )
    return list(found)


def _operands(
    inputs: Inputs, name: str, names: _Names, alignment: Alignment
) -> InputTensors | None:
    def of(model: InputModel | None) -> InputTensor | None:
        if model is None:
            return None
        found = model.operand(name) if name in names.of(model) else None
        if found is None:
            source = tied_source(model.checkpoint, name, names.shape(name))
            found = None if source is None else model.operand(source)
        if found is None:
            alignment.problems.append(f"{model.checkpoint.folder} lacks {name}")
        return found

    before = len(alignment.problems)
    operands = InputTensors(
        base=of(inputs.main),
        tuned=tuple(found for model in inputs.tuned if (found := of(model)) is not None),
        aligned=of(inputs.aligned),
        unaligned=of(inputs.unaligned),
        vector=of(inputs.vector),
    )
    return operands if len(alignment.problems) == before else None


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
    from the base, so that a row only one model has comes out as it is there. A saved safety vector
    says nothing of rows that it lacks.
    """
    assert operands.base is not None
    longest = max(operands.models(), key=lambda operand: operand.stored.shape[0]).stored
    if operands.base.stored.shape[0] == rows:
        longest = operands.base.stored

    def fill(operand: InputTensor | None) -> InputTensor | None:
        if operand is None or operand.stored.shape[0] >= rows:
            return operand
        return replace(operand, filler=longest)

    return InputTensors(
        base=fill(operands.base),
        tuned=tuple(filled for each in operands.tuned if (filled := fill(each)) is not None),
        aligned=fill(operands.aligned),
        unaligned=fill(operands.unaligned),
        vector=operands.vector,
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
