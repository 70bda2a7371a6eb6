"""Which of the base's tensors an adapter's factors of parameters update.

An adapter file names the module, and not which of its parameters is meant; shapes tell that. In
memory the experts of a layer are one parameter, and in files mostly a tensor for each expert.
"""

from collections.abc import Mapping
from pathlib import Path

from merge.errors import MergeError
from merge.lora.adapter import Adapter
from merge.lora.adapter_config import NotStreamedError
from merge.lora.expert_factors import ExpertFactors, ParameterFactors
from merge.models.layouts import Namer

# `[experts, rows, columns]`, and a parameter without experts.
_STACKED, _FLAT = 3, 2


def settle_parameters(adapter: Adapter, namer: Namer) -> None:
    """Find what each of an adapter's factors of parameters updates.

    Raises:
        MergeError: they fit none of the base's tensors, or some that the configuration names have
            none.
    """
    settled = set()
    for factors in adapter.parameters:
        fitting = {
            name: found
            for name, shape in namer.parameters(factors.module).items()
            if name not in settled
            and (found := _meant(adapter, factors, name, shape, namer)) is not None
        }
        if len(fitting) != 1:
            raise MergeError(_misfit(adapter, factors, fitting))
        [(name, meant)] = fitting.items()
        settled.add(name)
        parts = namer.parts(name)
        if not parts:
            raise NotStreamedError(
                f"{adapter.path}: it updates {name}, which the base's files hold in another form"
            )
        for part in parts:
            adapter.experts[part.name] = ExpertFactors(
                factors.a,
                factors.b,
                meant.experts,
                meant.scale,
                meant.transposed,
                part.expert,
                part.first,
                part.rows,
            )
    _check_promised(adapter, settled, namer)


def _meant(
    adapter: Adapter,
    factors: ParameterFactors,
    name: str,
    shape: tuple[int, ...],
    namer: Namer,
) -> ExpertFactors | None:
    """Return how factors update a parameter, or None if their shapes are of another."""
    a, b = factors.a.shape, factors.b.shape
    if len(shape) not in (_FLAT, _STACKED) or len(a) != _FLAT or len(b) != _FLAT:
        return None
    experts = shape[0] if len(shape) == _STACKED else 1
    module, _, leaf = name.rpartition(".")
    trained = f"{factors.module}.{leaf}"
    if not a[0] == b[1] == adapter.config.rank_of(trained) * experts:
        return None
    scale = adapter.config.scale_of(trained)
    straight, turned = (b[0], a[1]) == shape[-2:], (a[1], b[0]) == shape[-2:]
    if len(shape) == _FLAT:
        return ExpertFactors(factors.a, factors.b, 1, scale) if straight else None
    known = namer.is_turned(module)
    if known is None and straight and turned:
        raise MergeError(
            f"{adapter.path}: it updates {name} {list(shape)}, and which side is the input is not "
            f"known for this model; merge it with peft's merge_and_unload and give the full "
            f"checkpoint."
        )
    transposed = turned if known is None else known
    if not (turned if transposed else straight):
        return None
    return ExpertFactors(factors.a, factors.b, experts, scale, transposed)


def _misfit(
    adapter: Adapter, factors: ParameterFactors, fitting: Mapping[str, ExpertFactors]
) -> str:
    shapes = f"{list(factors.a.shape)} and {list(factors.b.shape)}"
    if fitting:
        return (
            f"{adapter.path}: the factors {shapes} of {factors.module} fit "
            f"{' and '.join(sorted(fitting))}; merge it with peft's merge_and_unload and give the "
            f"full checkpoint."
        )
    return (
        f"{adapter.path}: the factors {shapes} of {factors.module} fit none of its parameters in "
        f"the base at the configured rank; give the model the adapter was trained on."
    )


def _check_promised(adapter: Adapter, settled: set[str], namer: Namer) -> None:
    """Check that what `target_parameters` names of the modules that have factors has some."""
    modules = {factors.module for factors in adapter.parameters}
    for module in sorted(modules):
        for name in namer.parameters(module):
            named = f".{module}.{name.rpartition('.')[2]}"
            if name not in settled and any(
                named.endswith(f".{each}") for each in adapter.config.target_parameters
            ):
                raise MergeError(
                    f"{adapter.folder}: target_parameters names {name}, and "
                    f"{Path(adapter.path).name} has nothing for it; save the adapter again."
                )
