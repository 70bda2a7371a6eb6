"""Names, shapes and types of the tensors in safetensors files; no weight is read."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from safemerge_tasks.common.errors import SafemergeError


def tensors(path: Path) -> dict[str, tuple[str, list[int]]]:
    """Return each tensor's type and shape.

    Raises:
        SafemergeError: there is no such file, or it is damaged.
    """
    try:
        with safe_open(path, "numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {name: (one.get_dtype(), one.get_shape()) for name, one in slices.items()}
    except (OSError, SafetensorError) as error:
        raise SafemergeError(f"{path} is no readable safetensors file; save it again.") from error
