"""Greedy matching of tokens by cosine similarity, with bert-score's own function."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from safemerge_tasks.metrics.bertscore.embedding import Embedding
from safemerge_tasks.metrics.reference_score import Similarity

if TYPE_CHECKING:
    import torch


def match(
    answers: Sequence[Embedding],
    references: Sequence[Embedding],
    batch_size: int,
    device: "torch.device",
) -> list[Similarity]:
    """Return the similarity of each pair."""
    import torch
    from bert_score.utils import greedy_cos_idf

    found: list[Similarity] = []
    with torch.no_grad():
        for begin in range(0, len(answers), batch_size):
            end = begin + batch_size
            rows = greedy_cos_idf(
                *_padded(references[begin:end], device), *_padded(answers[begin:end], device)
            )
            found += [Similarity(*values) for values in torch.stack(rows, dim=-1).tolist()]
    return found


def _padded(embeddings: Sequence[Embedding], device: "torch.device") -> tuple[Any, Any, Any]:
    """Return vectors `[texts, tokens, dimensions]`, mask and weights `[texts, tokens]`."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    lengths = torch.tensor([len(embedding.weights) for embedding in embeddings])
    mask = torch.arange(int(lengths.max())) < lengths.unsqueeze(1)
    # Padding is masked; it only must not be zero, for it is divided by its norm.
    vectors = pad_sequence([e.vectors for e in embeddings], batch_first=True, padding_value=2.0)
    weights = pad_sequence([e.weights for e in embeddings], batch_first=True)
    return vectors.to(device), mask.to(device), weights.to(device)
