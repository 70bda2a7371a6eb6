"""Whether an adapter is whole, and fits the model it is put on."""

import re
from collections.abc import Iterable, Iterator

from merge.formats.same_values import all_zero, same_values
from merge.lora.adapter import Adapter, TokenRows
from merge.models.checkpoint import Checkpoint
from merge.models.spare_tensors import spare_kind
from merge.models.tying import has_rows_of_tokens

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


def check_against(adapter: Adapter, base: Checkpoint, heads: Iterable[str]) -> list[str]:
    """Return what does not fit between an adapter and the model it is applied to.

    Args:
        adapter: the adapter.
        base: the model.
        heads: output heads that the adapter has of its own though the model's is tied.
    """
    problems = []
    for name, shape in _targets(adapter):
        stored = adapter.replaced.get(name, base.tensors.get(name))
        if name in heads:
            continue
        if stored is None or (name not in base.tensors):
            problems.append(f"{adapter.folder}: it changes {name}, which {base.folder} lacks")
        elif stored.shape != shape:
            problems.append(_misfit(adapter, name, shape, base, stored.shape))
        elif name in adapter.replaced and not _rows_may_differ(base, name, shape):
            problems.append(_misfit(adapter, name, shape, base, base.tensors[name].shape))
    for name, tokens in adapter.tokens.items():
        problems += _check_tokens(adapter, name, tokens, base)
    return problems + _missing(adapter, base)


def check_changes(adapter: Adapter, base: Checkpoint) -> list[str]:
    """Return that an adapter changes nothing, if so; this reads its values."""
    factors = [b for _, b, _ in adapter.factors.values()] + [each.b for each in adapter.parameters]
    if adapter.tokens or not all(all_zero(b) for b in factors):
        return []
    if adapter.magnitudes or not all(all_zero(bias) for bias in adapter.bias_updates.values()):
        return []
    for name, tensor in adapter.replaced.items():
        stored = base.tensors.get(name)
        if stored is None or not same_values(tensor, stored):
            return []
    return [
        f"{adapter.folder}: every B in it is zero, so it would change nothing; give the trained "
        f"adapter"
    ]


def _misfit(
    adapter: Adapter, name: str, shape: tuple[int, ...], base: Checkpoint, own: tuple[int, ...]
) -> str:
    text = (
        f"{adapter.folder}: its part for {name} has shape {list(shape)}, the tensor in "
        f"{base.folder} has {list(own)}"
    )
    if name in adapter.replaced or shape[1:] != own[1:] or not has_rows_of_tokens(base, name):
        return text
    return (
        f"{text}, and the file does not hold the rows that it starts from; save it again with "
        f"peft's save_embedding_layers=True"
    )


def _rows_may_differ(base: Checkpoint, name: str, shape: tuple[int, ...]) -> bool:
    """Return whether a shape is the base's, or has other rows where a row is a token's."""
    own = base.tensors[name].shape
    return own == shape or (shape[1:] == own[1:] and has_rows_of_tokens(base, name))


def _targets(adapter: Adapter) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, (a, b, transposed) in adapter.factors.items():
        shape = (b.shape[0], a.shape[1])
        yield name, shape[::-1] if transposed else shape
    for name, tensor in (adapter.replaced | adapter.bias_updates).items():
        if name not in adapter.factors:
            yield name, tensor.shape


def _check_tokens(adapter: Adapter, name: str, tokens: TokenRows, base: Checkpoint) -> list[str]:
    stored = adapter.replaced.get(name, base.tensors.get(name))
    if stored is None:
        return [f"{adapter.folder}: it trains rows of {name}, which {base.folder} lacks"]
    expected = (len(tokens.indices), stored.shape[1])
    within = range(stored.shape[0])
    if tokens.rows.shape != expected or any(index not in within for index in tokens.indices):
        return [
            f"{adapter.folder}: it trains {list(tokens.rows.shape)} rows of {name} "
            f"{list(stored.shape)} at the tokens {tokens.indices}, which does not fit"
        ]
    return []


def _missing(adapter: Adapter, base: Checkpoint) -> list[str]:
    """Return what the configuration names and the file does not hold."""
    config = adapter.config
    saved = {adapter.trained_as.get(name, name) for name in adapter.replaced} | adapter.dropped
    problems = [
        f"{adapter.folder}: modules_to_save names {module}, and {adapter.path.name} has no tensor "
        f"of it; save the adapter again"
        for module in config.modules_to_save
        if not any(f".{module}." in f".{name}" for name in saved)
        and (_in_base(base, module) or "head" in module)
    ]
    if config.trainable_tokens and not adapter.tokens:
        problems.append(
            f"{adapter.folder}: trainable_token_indices names tokens, and {adapter.path.name} has "
            f"no rows of theirs; save the adapter again"
        )
    if config.raw.get("lora_bias") and not adapter.bias_updates:
        problems.append(
            f"{adapter.folder}: lora_bias is set, and {adapter.path.name} has no such biases; save "
            f"the adapter again"
        )
    return problems + _missing_targets(adapter, base)


def _in_base(base: Checkpoint, module: str) -> bool:
    return any(f".{module}." in f".{name}" for name in base.tensors)


def _missing_targets(adapter: Adapter, base: Checkpoint) -> list[str]:
    """Return the modules that `target_modules` names in the base and that have no factors.

    Modules that differ in their layer's number only are alike: of those either all have factors or
    none; that none has, as of an image tower beside a trained language model, is a fault only if
    no other module of the name has any.
    """
    raw = adapter.config.raw
    targets = raw.get("target_modules")
    narrowed = any(
        raw.get(key) for key in ("layers_to_transform", "exclude_modules", "target_parameters")
    )
    if not targets or narrowed:
        return []
    alike: dict[tuple[str, str], list[str]] = {}
    for name, tensor in base.tensors.items():
        module = name.removesuffix(".weight")
        matched = _matched(targets, module) if module != name and len(tensor.shape) == 2 else None
        if matched is None or spare_kind(base, name, tensor.shape):
            continue
        alike.setdefault((matched, _NUMBER.sub("*", module)), []).append(name)
    updated = {
        target
        for (target, _), names in alike.items()
        if any(name in adapter.factors or name in adapter.replaced for name in names)
    }
    problems = []
    for (target, _), names in alike.items():
        missing = [name for name in names if name not in adapter.factors | adapter.replaced]
        if ".experts." in names[0] and len(missing) == len(names):
            # In memory the experts are one tensor, which a list of modules does not name.
            continue
        if missing and (len(missing) < len(names) or target not in updated):
            problems.append(
                f"{adapter.folder}: target_modules names {target}, and {adapter.path.name} has "
                f"nothing for {missing[0]}"
                + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
                + "; save the adapter again"
            )
    return problems


def _matched(targets: str | list[str], module: str) -> str | None:
    """Return which of the targets names a module, as peft matches them."""
    if isinstance(targets, str):
        return targets if re.fullmatch(targets, module) else None
    return next((each for each in targets if f".{module}".endswith(f".{each}")), None)
