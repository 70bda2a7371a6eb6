"""Which weights can take each other's place in a running engine."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep.serving.headers import tensors

# Where a configuration says what it is, not how the model is built.
_NAMES = ("_name_or_path", "transformers_version")


def shape(checkpoint: Path, weights: Mapping[str, Any] | None = None) -> str:
    """Return a hash of configuration and tensors' names, shapes and types.

    vLLM keeps the old weights of a layer that new ones do not hold, with a warning only, so
    nothing may be missing.

    Args:
        checkpoint: the folder.
        weights: tensor → its type and shape, where the folder holds no weights.

    Raises:
        SafemergeError: there is no such checkpoint.
    """
    digest = hashlib.sha256()
    for name in ("config.json", "generation_config.json"):
        path = checkpoint / name
        if name == "config.json" or path.is_file():
            config = _json(path)
            kept = {key: value for key, value in config.items() if key not in _NAMES}
            digest.update(json.dumps([name, kept], sort_keys=True).encode())
    found = dict(weights or {})
    files = [] if weights else sorted(checkpoint.glob("*.safetensors"))
    if not files and not weights:
        raise SafemergeError(f"{checkpoint} holds no safetensors file; give a whole checkpoint.")
    for file in files:
        found |= tensors(file)
    digest.update(json.dumps(found, sort_keys=True).encode())
    return digest.hexdigest()


def is_quantised(checkpoint: Path) -> bool:
    """Whether a checkpoint's configuration says that its weights are quantised."""
    return "quantization_config" in _json(checkpoint / "config.json")


def _json(path: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SafemergeError(f"{path} cannot be read; give a whole checkpoint.") from error
    return value
