"""Names of tensors without what compilers and trainers wrap around modules."""

from collections.abc import Iterable

# torch.compile, FSDP and activation checkpointing each add a part of a name, at any depth.
_WRAPPERS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
# DistributedDataParallel and DeepSpeed wrap the whole model.
_WHOLE = "module."


def unwrapped(name: str) -> str:
    """Return a tensor's name without wrappers' parts."""
    if "_" not in name:
        return name
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def unwrapped_names(names: Iterable[str]) -> dict[str, str]:
    """Return every name of a model without wrappers, and without one around the whole model."""
    clean = {name: unwrapped(name) for name in names}
    while clean and all(name.startswith(_WHOLE) for name in clean.values()):
        clean = {name: short.removeprefix(_WHOLE) for name, short in clean.items()}
    return clean
