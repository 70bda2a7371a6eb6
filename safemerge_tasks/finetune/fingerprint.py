"""What makes one fine-tuning differ from another."""

from importlib import metadata
from typing import Any

from safemerge_tasks.finetune.config import FinetuneConfig
from safemerge_tasks.finetune.data import load_data

LIBRARIES = ("torch", "transformers", "peft", "trl")

# Where things are, what they are called, or how often a killed run can resume.
_SHAPES_NOTHING = {
    "base",
    "revision",
    "trust_remote_code",
    "data",
    "preset",
    "seeds",
    "split_seed",
    "system_prompt",
    "validation_share",
    "save_every",
}


def identity(config: FinetuneConfig, seed: int) -> dict[str, Any]:
    """Return everything that shapes the result but the base: JSON with a stable content.

    The data counts by its content, so a file may move. What `dtype: auto` and `device: auto` turn
    into is the machine's, and so not in it.

    Raises:
        SafemergeError: the data cannot be read.
    """
    return {
        "format": 1,
        "seed": seed,
        "settings": config.model_dump(mode="json", exclude=_SHAPES_NOTHING),
        "data": load_data(config, seed).identity(),
        "libraries": {library: metadata.version(library) for library in LIBRARIES},
    }
