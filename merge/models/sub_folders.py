"""Models and adapters in a folder below the one that was named, as trainers and peft save them."""

from pathlib import Path

from merge.errors import MergeError
from merge.lora.adapter_config import ADAPTER_CONFIG
from merge.models.checkpoint import CONFIG, WEIGHT_FILES


def only_model(folder: Path) -> Path:
    """Return the folder of a model or adapter: the one named, or the only one below it.

    Raises:
        MergeError: there are several below it.
    """
    if (folder / ADAPTER_CONFIG).is_file() or _has_weights(folder):
        return folder
    below = [each for each in sorted(folder.iterdir()) if each.is_dir() and _is_model(each)]
    if len(below) > 1:
        names = ", ".join(each.name for each in below)
        raise MergeError(
            f"{folder} holds several models or adapters: {names}; give the one that is meant, such "
            f"as {below[-1]}."
        )
    return below[0] if below else folder


def _is_model(folder: Path) -> bool:
    whole = _has_weights(folder) and (folder / CONFIG).is_file()
    return whole or (folder / ADAPTER_CONFIG).is_file()


def _has_weights(folder: Path) -> bool:
    return any((folder / name).is_file() for name in WEIGHT_FILES)
