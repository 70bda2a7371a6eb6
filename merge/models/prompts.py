"""What a model is asked with and ends with: its chat template, and its special tokens' ids."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from merge.formats.json_object import read_json
from merge.models.vocabularies import SETTINGS

TEMPLATE = "chat_template.jinja"
GENERATION = "generation_config.json"
_OLD_TEMPLATE = "chat_template.json"
_SPECIAL = ("bos", "eos", "pad")
# Settings that count for sampling only, and what they are without effect.
_SAMPLING = {"temperature": 1.0, "top_p": 1.0, "min_p": None, "typical_p": 1.0, "top_k": 50}


def read_template(folder: Path) -> str | None:
    """Return a folder's default chat template, wherever it is kept, or None."""
    path = folder / TEMPLATE
    if path.is_file():
        return path.read_text(encoding="utf-8")
    for name in (_OLD_TEMPLATE, SETTINGS):
        stored = _json(folder / name).get("chat_template")
        if isinstance(stored, str):
            return stored
        if isinstance(stored, list):
            named = {entry.get("name"): entry.get("template") for entry in stored}
            if isinstance(default := named.get("default"), str):
                return default
    return None


def special_ids(folder: Path, vocabulary: Mapping[str, int]) -> dict[str, int]:
    """Return the ids of a tokenizer's first, last and padding tokens, by `config.json`'s names.

    Args:
        folder: with `tokenizer_config.json`.
        vocabulary: every token's id.
    """
    settings = _json(folder / SETTINGS)
    found = {}
    for kind in _SPECIAL:
        token = settings.get(f"{kind}_token")
        text = token.get("content") if isinstance(token, dict) else token
        if isinstance(text, str) and text in vocabulary:
            found[f"{kind}_token_id"] = vocabulary[text]
    return found


def end_tokens(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what says where a model stops: its tokenizer's token and the ids of both configs."""
    token = _json(folder / SETTINGS).get("eos_token")
    generation = _json(folder / GENERATION)
    return {
        "eos_token": token.get("content") if isinstance(token, dict) else token,
        "eos_token_id": config.get("eos_token_id"),
        "generation_config's eos_token_id": generation.get("eos_token_id"),
    }


def unused_sampling(folder: Path) -> list[str]:
    """Return the settings of sampling that a generation config has though it does not sample.

    transformers reads such a file and refuses to write it again.
    """
    generation = _json(folder / GENERATION)
    if generation.get("do_sample"):
        return []
    return [
        key
        for key, default in _SAMPLING.items()
        if generation.get(key) is not None and generation[key] != default
    ]


def with_special_ids(generation: Mapping[str, Any], ids: Mapping[str, int]) -> dict[str, Any]:
    """Return a generation config that knows these ids; other ends of a list stay beside the new."""
    changed = dict(generation)
    for key, value in ids.items():
        stored = changed.get(key)
        if isinstance(stored, list):
            changed[key] = stored if value in stored else [*stored, value]
        elif stored is not None or key == "eos_token_id":
            changed[key] = value
    return changed


def _json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}
