"""Whether an adapter fits the model it is put on."""

from collections.abc import Iterable

from merge.lora.adapter import Adapter, TokenRows
from merge.models.checkpoint import Checkpoint


def check_against(adapter: Adapter, base: Checkpoint) -> list[str]:
    """Return what does not fit between an adapter and the model it is applied to."""
    problems = []
    for name, shape in _targets(adapter):
        stored = base.tensors.get(name)
        if stored is None:
            problems.append(f"{adapter.folder}: it changes {name}, which {base.folder} lacks")
        elif stored.shape != shape:
            problems.append(
                f"{adapter.folder}: its part for {name} has shape {list(shape)}, the tensor in "
                f"{base.folder} has {list(stored.shape)}"
            )
    for name, tokens in adapter.tokens.items():
        problems += _check_tokens(adapter, name, tokens, base)
    return problems


def _targets(adapter: Adapter) -> Iterable[tuple[str, tuple[int, ...]]]:
    for name, (a, b, transposed) in adapter.factors.items():
        shape = (b.shape[0], a.shape[1])
        yield name, shape[::-1] if transposed else shape
    for name, tensor in (adapter.replaced | adapter.bias_updates).items():
        yield name, tensor.shape


def _check_tokens(adapter: Adapter, name: str, tokens: TokenRows, base: Checkpoint) -> list[str]:
    stored = base.tensors.get(name)
    if stored is None:
        return [f"{adapter.folder}: it trains rows of {name}, which {base.folder} lacks"]
    expected = (len(tokens.indices), stored.shape[1])
    if tokens.rows.shape != expected or max(tokens.indices) >= stored.shape[0]:
        return [
            f"{adapter.folder}: it trains {list(tokens.rows.shape)} rows of {name} "
            f"{list(stored.shape)} at tokens up to {max(tokens.indices)}, which does not fit"
        ]
    return []
