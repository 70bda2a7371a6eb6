"""References' embeddings on disk: every merged model is scored against the same references.

A row is 4 bytes a dimension and token: half a gigabyte for 1,000 ChatDoctor answers and the
paper's encoder. Texts are kept as hashes only.
"""

import hashlib
import json
import logging
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from safemerge_tasks.common.cache import cache_dir
from safemerge_tasks.metrics.bertscore.embedding import Embedding

_log = logging.getLogger(__name__)

FILE = "bertscore.sqlite"
_PAGE = "PRAGMA page_size = 65536"  # rows are large
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS embeddings "
    "(key BLOB PRIMARY KEY, tokens INTEGER, weights BLOB, vectors BLOB)"
)
_WAIT = 60.0  # seconds for another process that writes


class EmbeddingStore:
    """Embeddings by what identifies the encoder and by text.

    SQLite's transactions keep concurrent processes apart and a killed one from leaving half a row.
    A store that cannot be used is said once and does without: it must never cost a score.
    """

    def __init__(self, encoder: Mapping[str, Any], path: Path | None = None) -> None:
        self._path = path or cache_dir() / FILE
        self._who = hashlib.sha256(json.dumps(encoder, sort_keys=True).encode()).digest()
        # Without a fingerprint other weights may stand behind the same name tomorrow.
        self._usable = encoder.get("weights") is not None

    def look_up(self, texts: Sequence[str]) -> list[Embedding | None]:
        """Return each text's embedding, or None where there is none yet."""
        found: list[Embedding | None] = [None] * len(texts)
        if not self._usable or not self._path.is_file():
            return found
        try:
            with closing(self._connect()) as connection:
                for index, text in enumerate(texts):
                    row = connection.execute(
                        "SELECT tokens, weights, vectors FROM embeddings WHERE key = ?",
                        (self._key(text),),
                    ).fetchone()
                    found[index] = _embedding(*row) if row else None
        except (sqlite3.Error, OSError, ValueError, RuntimeError, TypeError) as error:
            self._give_up(error)
        return found

    def keep(self, texts: Sequence[str], embeddings: Iterable[Embedding]) -> None:
        """Keep embeddings, all of them or none."""
        if not texts or not self._usable:
            return
        rows = (
            (
                self._key(text),
                len(embedding.weights),
                embedding.weights.numpy().tobytes(),
                embedding.vectors.numpy().tobytes(),
            )
            for text, embedding in zip(texts, embeddings, strict=True)
        )
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._connect()) as connection, connection:
                connection.execute(_SCHEMA)
                connection.executemany(
                    "INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?, ?)", rows
                )
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_WAIT)
        connection.execute(_PAGE)  # no effect on a file that has pages already
        return connection

    def _key(self, text: str) -> bytes:
        return hashlib.sha256(self._who + text.encode("utf-8", "surrogatepass")).digest()

    def _give_up(self, error: Exception) -> None:
        self._usable = False
        _log.warning(
            "Reference embeddings are not kept: %s cannot be used (%s); delete it, or set "
            "bertscore_cache=false.",
            self._path,
            error,
        )


def _embedding(tokens: int, weights: bytes, vectors: bytes) -> Embedding:
    import torch

    # bytearray: torch wants memory that may be written to.
    flat = torch.frombuffer(bytearray(vectors), dtype=torch.float32)
    return Embedding(
        flat.view(tokens, -1), torch.frombuffer(bytearray(weights), dtype=torch.float32)
    )
