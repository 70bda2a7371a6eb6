"""References' embeddings on disk: every merged model is scored against the same references.

A row is 4 bytes a dimension and token: half a gigabyte for 1,000 ChatDoctor answers and the
paper's encoder. Texts are kept as hashes only.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safemerge_tasks.common.cache import cache_dir
from safemerge_tasks.common.row_store import RowStore
from safemerge_tasks.metrics.bertscore.embedding import Embedding

FILE = "bertscore.sqlite"


class EmbeddingStore:
    """Embeddings by what identifies the encoder and by text."""

    def __init__(self, encoder: Mapping[str, Any], path: Path | None = None) -> None:
        self._store = RowStore(
            path or cache_dir() / FILE,
            "embeddings",
            "tokens INTEGER, weights BLOB, vectors BLOB",
            what="Reference embeddings",
            off="bertscore_cache",
            large=True,
        )
        self._who = hashlib.sha256(json.dumps(encoder, sort_keys=True).encode()).digest()
        # Without a fingerprint other weights may stand behind the same name tomorrow.
        self._lasting = encoder.get("weights") is not None

    def look_up(self, texts: Sequence[str]) -> list[Embedding | None]:
        """Return each text's embedding, or None where there is none yet."""
        if not self._lasting:
            return [None] * len(texts)
        return self._store.look_up([self._key(text) for text in texts], _embedding)

    def keep(self, texts: Sequence[str], embeddings: Iterable[Embedding]) -> None:
        """Keep embeddings, all of them or none."""
        if not texts or not self._lasting:
            return
        self._store.keep(
            (
                self._key(text),
                len(embedding.weights),
                embedding.weights.numpy().tobytes(),
                embedding.vectors.numpy().tobytes(),
            )
            for text, embedding in zip(texts, embeddings, strict=True)
        )

    def _key(self, text: str) -> bytes:
        return hashlib.sha256(self._who + text.encode("utf-8", "surrogatepass")).digest()


def _embedding(tokens: int, weights: bytes, vectors: bytes) -> Embedding:
    import torch

    # bytearray: torch wants memory that may be written to.
    flat = torch.frombuffer(bytearray(vectors), dtype=torch.float32)
    return Embedding(
        flat.view(tokens, -1), torch.frombuffer(bytearray(weights), dtype=torch.float32)
    )
