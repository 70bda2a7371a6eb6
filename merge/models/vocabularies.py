"""Which token each row of an embedding stands for, from the tokenizer's own file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from merge.formats.json_object import read_json

TOKENIZER = "tokenizer.json"


def read_vocabulary(folder: Path) -> dict[str, int] | None:
    """Return every token's id, or None where the folder has no ``tokenizer.json``."""
    path = folder / TOKENIZER
    if not path.is_file():
        return None
    tokenizer = read_json(path)
    vocabulary = _model_vocabulary(tokenizer.get("model") or {})
    for token in tokenizer.get("added_tokens") or []:
        vocabulary[str(token["content"])] = int(token["id"])
    return vocabulary


def _model_vocabulary(model: Mapping[str, Any]) -> dict[str, int]:
    listed = model.get("vocab") or {}
    if isinstance(listed, dict):
        return {str(token): int(index) for token, index in listed.items()}
    # Unigram models list tokens with their scores, in the order of their ids.
    return {str(entry[0]): index for index, entry in enumerate(listed)}


def same_tokenizer_file(one: Path, other: Path) -> bool:
    """Whether two folders have byte-equal tokenizer files, which needs no parsing."""
    first, second = one / TOKENIZER, other / TOKENIZER
    if not (first.is_file() and second.is_file()):
        return False
    return first.stat().st_size == second.stat().st_size and (
        first.read_bytes() == second.read_bytes()
    )


def conflicts(base: Mapping[str, int], other: Mapping[str, int]) -> list[str]:
    """Return tokens that have one id in the base and another in the other vocabulary."""
    moved = [token for token, index in base.items() if other.get(token, index) != index]
    by_id = {index: token for token, index in base.items()}
    reused = [
        token
        for token, index in other.items()
        if token not in base and index in by_id and by_id[index] not in other
    ]
    return moved + reused


def show(tokens: list[str], most: int = 5) -> str:
    """Return some tokens for a message."""
    text = ", ".join(json.dumps(token, ensure_ascii=False) for token in tokens[:most])
    return text if len(tokens) <= most else f"{text} and {len(tokens) - most} more"
