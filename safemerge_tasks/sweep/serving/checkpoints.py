"""Which checkpoints can take each other's place in a running engine."""

import hashlib
import json
from pathlib import Path
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep.serving.headers import tensors

_OUTPUTS = ("lm_head.weight", "embed_out.weight", "output.weight")
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")
# Where a configuration says what it is, not how the model is built.
_NAMES = ("_name_or_path", "transformers_version")


def shape(checkpoint: Path) -> str:
    """Return a hash of configuration and tensors' names, shapes and types.

    vLLM keeps the old weights of a layer that a new checkpoint does not hold, with a warning only,
    so nothing may be missing.

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
    found: dict[str, Any] = {}
    files = sorted(checkpoint.glob("*.safetensors"))
    if not files:
        raise SafemergeError(f"{checkpoint} holds no safetensors file; give a whole checkpoint.")
    for file in files:
        found |= tensors(file)
    digest.update(json.dumps(found, sort_keys=True).encode())
    return digest.hexdigest()


def tied_embeddings(checkpoint: Path) -> str:
    """Return a hash of embeddings that are the output's too; empty where the output has its own.

    vLLM's CPU build packs the output's weights once: weights loaded in place renew the embeddings
    and leave the packed copy of the old ones, without a word.

    Raises:
        SafemergeError: there is no such checkpoint.
    """
    import torch
    from safetensors import safe_open

    files = sorted(checkpoint.glob("*.safetensors"))
    names = {name: file for file in files for name in tensors(file)}
    if any(name.endswith(_OUTPUTS) for name in names):
        return ""
    embeddings = sorted(name for name in names if name.endswith(_EMBEDDINGS))
    if not embeddings:
        # Called otherwise: such a checkpoint is like no other.
        return str(checkpoint)
    digest = hashlib.sha256()
    for name in embeddings:
        with safe_open(names[name], "pt") as file:
            digest.update(file.get_tensor(name).contiguous().view(torch.uint8).numpy())
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
