"""Answers and references in, precision, recall and F1 out."""

import gc
import logging
from collections.abc import Sequence
from typing import Any

from safemerge_tasks.common.unicode import valid_unicode
from safemerge_tasks.metrics.bertscore.embedding import Embedding
from safemerge_tasks.metrics.bertscore.encoder import Encoder
from safemerge_tasks.metrics.bertscore.matching import match
from safemerge_tasks.metrics.bertscore.settings import BertScoreSettings
from safemerge_tasks.metrics.bertscore.store import EmbeddingStore
from safemerge_tasks.metrics.reference_score import EMPTY, Similarity

_log = logging.getLogger(__name__)

TOLERANCE = 1e-4
"""How far half precision may move the F1 of any pair of the sample."""

_SAMPLE = 16


class BertScorer:
    """Scores batches; the encoder is loaded at the first of them and kept until `close`."""

    def __init__(self, settings: BertScoreSettings) -> None:
        self._settings = settings
        self._encoder = Encoder(settings)
        self._precision_chosen = False

    @property
    def uses_accelerator(self) -> bool:
        """Whether scoring needs memory that the model under test occupies."""
        return self._encoder.device.type != "cpu"

    def check(self) -> None:
        """Fail early.

        Raises:
            SafemergeError: the settings name no encoder, layer or device that there is.
        """
        self._encoder.check()

    def close(self) -> None:
        """Free the encoder's memory; whoever scores again loads it again."""
        import torch

        self._encoder, self._precision_chosen = Encoder(self._settings), False
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def identity(self) -> dict[str, Any]:
        """Return what the scores depend on; loads the encoder."""
        return self._encoder.identity()

    def score(self, answers: Sequence[str], references: Sequence[str]) -> list[Similarity]:
        """Return the similarity of each answer to its reference.

        Equal to `bert_score.score` without idf and rescaling. An answer without words scores
        `EMPTY` and is never encoded.

        Raises:
            SafemergeError: the encoder cannot be loaded.
        """
        wanted = [
            (index, valid_unicode(answer), valid_unicode(reference))
            for index, (answer, reference) in enumerate(zip(answers, references, strict=True))
            if answer.strip()
        ]
        scores = [EMPTY] * len(answers)
        if not wanted:
            return scores
        self._choose_precision(list(dict.fromkeys(map(valid_unicode, references))))
        known = self._embeddings({answer for _, answer, _ in wanted}, {r for *_, r in wanted})
        pairs = [
            (index, known[answer], known[reference])
            for index, answer, reference in wanted
            if known[answer].has_words
        ]
        found = match(
            [answer for _, answer, _ in pairs],
            [reference for *_, reference in pairs],
            self._settings.batch_size,
            self._encoder.device,
        )
        for (index, *_), similarity in zip(pairs, found, strict=True):
            scores[index] = similarity
        return scores

    def _embeddings(self, answers: set[str], references: set[str]) -> dict[str, Embedding]:
        known: dict[str, Embedding] = {}
        store = EmbeddingStore(self._encoder.identity()) if self._settings.cache else None
        kept = sorted(references)
        if store is not None:
            stored = zip(kept, store.look_up(kept), strict=True)
            known = {text: embedding for text, embedding in stored if embedding is not None}
        # In one go, so that answers and references share batches of like length.
        missing = sorted((answers | references) - known.keys())
        fresh = dict(zip(missing, self._encoder.encode(missing), strict=True))
        if store is not None:
            new = [text for text in kept if text in fresh]
            store.keep(new, (fresh[text] for text in new))
        return {**known, **fresh}

    def _choose_precision(self, references: Sequence[str]) -> None:
        """Use half precision on a GPU if it leaves F1 alone.

        Judged on pairs of references, so that all models under test are scored alike.
        """
        if self._precision_chosen or not self.uses_accelerator or len(references) < 2:
            return
        self._precision_chosen = True
        step = max(1, len(references) // (_SAMPLE + 1))
        sample = references[::step][: _SAMPLE + 1]
        half = self._encoder.reduced()
        moved = largest_move(self._encoder, half, sample)
        if moved <= TOLERANCE:
            self._encoder = half
        _log.info(
            "BERTScore runs in %s: half precision moves F1 by up to %.1e.",
            "float16" if self._encoder is half else "float32",
            moved,
        )


def largest_move(full: Encoder, half: Encoder, texts: Sequence[str]) -> float:
    """Return the largest difference in F1 between two encoders, each text against the next."""
    scores = []
    for encoder in (full, half):
        embeddings = encoder.encode(texts)
        found = match(embeddings[:-1], embeddings[1:], len(texts), encoder.device)
        scores.append([similarity.f1 for similarity in found])
    moves = [abs(one - other) for one, other in zip(*scores, strict=True)]
    # Overflow in half precision gives NaN, which compares as small.
    return max((move if move == move else float("inf") for move in moves), default=0.0)
