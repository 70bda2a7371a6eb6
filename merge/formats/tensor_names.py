"""Names of tensors without what compilers and trainers wrap around modules."""

# torch.compile, FSDP and activation checkpointing each add a part of a name, at any depth.
_WRAPPERS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})


def unwrapped(name: str) -> str:
    """Return a tensor's name without wrappers' parts."""
    if not any(wrapper in name for wrapper in _WRAPPERS):
        return name
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)
