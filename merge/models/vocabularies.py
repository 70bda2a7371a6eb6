"""Which token each row of an embedding stands for, from the tokenizer's own files."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from merge.formats.json_object import read_json

TOKENIZER = "tokenizer.json"
SETTINGS = "tokenizer_config.json"
ADDED = "added_tokens.json"
_WORDS = "vocab.json"
# sentencepiece's model, as Llama, T5 and XLM-R call it.
_PIECES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
# What a tokenizer's tokens are read from; any of these makes a folder one with a tokenizer.
_FILES = (TOKENIZER, _WORDS, "vocab.txt", *_PIECES, ADDED)
# The same, of tokenizers that are not read here.
_UNREAD = ("tekken.json", "*.tiktoken", "*.spm")


def has_tokenizer(folder: Path) -> bool:
    """Return whether a folder has a tokenizer of its own."""
    return bool(_files(folder))


def _files(folder: Path) -> list[str]:
    """Return the names of a folder's files of tokens; of what `tokenizer.json` says, that one."""
    if (folder / TOKENIZER).is_file():
        return [TOKENIZER]
    known = [name for name in _FILES if (folder / name).is_file()]
    return known + sorted(path.name for pattern in _UNREAD for path in folder.glob(pattern))


def read_vocabulary(folder: Path) -> dict[str, int] | None:
    """Return every token's id, or None where the folder's tokenizer is of a kind not known here.

    From ``tokenizer.json``; of slow tokenizers from ``vocab.json``, ``vocab.txt`` or
    sentencepiece's ``tokenizer.model``, and what was added to them from ``added_tokens.json`` and
    ``tokenizer_config.json``.
    """
    try:
        return _read(folder)
    except (AttributeError, KeyError, TypeError, ValueError):
        # Nested by language, or of another form that is not known here.
        return None


def _read(folder: Path) -> dict[str, int] | None:
    path = folder / TOKENIZER
    if path.is_file():
        tokenizer = read_json(path)
        vocabulary = _model_vocabulary(tokenizer.get("model") or {})
        for token in tokenizer.get("added_tokens") or []:
            vocabulary[str(token["content"])] = int(token["id"])
        return vocabulary
    slow = _slow_vocabulary(folder)
    if slow is None:
        return None
    if (folder / ADDED).is_file():
        slow |= {token: int(index) for token, index in read_json(folder / ADDED).items()}
    if (folder / SETTINGS).is_file():
        listed = read_json(folder / SETTINGS).get("added_tokens_decoder") or {}
        slow |= {str(token["content"]): int(index) for index, token in listed.items()}
    return slow


def _slow_vocabulary(folder: Path) -> dict[str, int] | None:
    if (folder / _WORDS).is_file():
        return {token: int(index) for token, index in read_json(folder / _WORDS).items()}
    if (folder / "vocab.txt").is_file():
        lines = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
        return {token: index for index, token in enumerate(lines)}
    found = next((folder / name for name in _PIECES if (folder / name).is_file()), None)
    pieces = sentencepieces(found.read_bytes()) if found else None
    return None if pieces is None else {piece: index for index, piece in enumerate(pieces)}


def sentencepieces(data: bytes) -> list[str] | None:
    """Return the pieces of a sentencepiece model in the order of their ids, or None if it is none.

    The file is a protocol buffer whose field 1, repeated, is a piece, whose field 1 is its text.
    """
    try:
        pieces = [
            next(text for number, text in _fields(value) if number == 1)
            for field, value in _fields(data)
            if field == 1
        ]
        return [piece.decode() for piece in pieces] or None
    except (IndexError, StopIteration, RuntimeError, UnicodeDecodeError, ValueError):
        return None


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the number and bytes of every length-delimited field of a protocol buffer."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        kind = tag & 7
        if kind == 0:
            _, position = _varint(data, position)
        elif kind in (1, 5):
            position += 8 if kind == 1 else 4
        elif kind == 2:
            length, position = _varint(data, position)
            if position + length > len(data):
                raise ValueError("a field ends behind the data")
            yield tag >> 3, data[position : position + length]
            position += length
        else:
            raise ValueError(f"there is no wire type {kind}")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position


def _model_vocabulary(model: Mapping[str, Any]) -> dict[str, int]:
    listed = model.get("vocab") or {}
    if isinstance(listed, dict):
        return {str(token): int(index) for token, index in listed.items()}
    # Unigram models list tokens with their scores, in the order of their ids.
    return {str(entry[0]): index for index, entry in enumerate(listed)}


def same_tokenizer_file(one: Path, other: Path) -> bool:
    """Whether two folders have byte-equal tokenizer files, which needs no parsing.

    What is added to a tokenizer without a file of its own stands in its settings.
    """
    names = list(dict.fromkeys([*_files(one), *_files(other)]))
    if TOKENIZER in names:
        names = [TOKENIZER]
    elif any((folder / SETTINGS).is_file() for folder in (one, other)):
        names.append(SETTINGS)
    return bool(names) and all(_same_file(one / name, other / name) for name in names)


def cut_alike(one: Path, other: Path) -> bool:
    """Whether two tokenizers of one vocabulary cut texts alike, as far as `tokenizer.json` says."""
    if not all((folder / TOKENIZER).is_file() for folder in (one, other)):
        return True
    return _cuts(read_json(one / TOKENIZER)) == _cuts(read_json(other / TOKENIZER))


def _cuts(tokenizer: Mapping[str, Any]) -> list[Any]:
    """Return what text is changed to and split by; merges were text before tokenizers 0.20."""
    merges = (tokenizer.get("model") or {}).get("merges") or []
    pairs = [" ".join(pair) if isinstance(pair, list) else pair for pair in merges]
    return [tokenizer.get("normalizer"), tokenizer.get("pre_tokenizer"), pairs]


def _same_file(first: Path, second: Path) -> bool:
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
