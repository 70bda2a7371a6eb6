"""The loss on a CPU: without the padding, and with logits only where a label is.

TRL's own loss leaves positions out only on devices that have Triton. Elsewhere it scores every one
of them, twice in float32: more work for a small model than all its layers.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.functional import cross_entropy

from safemerge_tasks.finetune.rendering import IGNORED

# Tokens that could be computed in the time that one more pass through the layers takes.
_OVERHEAD = 128


def labelled_loss(model: Any, head: Module, inputs: dict[str, Tensor], items: Any) -> Tensor:
    """Return the mean negative log-likelihood of the labels.

    Rows of like length are computed together, the shape of a batch is not seen in the result.

    Args:
        model: a causal language model, in whatever it is wrapped for training.
        head: the layer that makes its logits.
        inputs: `input_ids`, `attention_mask` and `labels`, all (rows, tokens), padded on the right.
        items: how many labels the mean is over, if other than those given here: those of all
            batches whose gradients are added up.
    """
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    labels = inputs["labels"][:, 1:]
    total = torch.zeros(())
    lengths = mask.sum(1).tolist()
    for rows in alike(lengths):
        width = max(lengths[row] for row in rows)
        wanted = labels[rows, : width - 1]
        scored = wanted != IGNORED
        with _only(head, scored):
            output = model(
                input_ids=ids[rows, :width], attention_mask=mask[rows, :width], use_cache=False
            )
        logits = output.logits[0]
        # Sums over a vocabulary are too long for half precision.
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        total = total + cross_entropy(logits, wanted[scored], reduction="sum")
    return total / ((labels != IGNORED).sum().clamp(min=1) if items is None else items)


def alike(lengths: Sequence[int]) -> list[list[int]]:
    """Divide rows so that the least is computed, a pass through the layers counted as tokens.

    Args:
        lengths: tokens of each row.

    Returns:
        The rows' numbers in groups, shorter rows before longer.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    costs, starts = [0], [0]
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        cost, start = min((costs[at] + (end - at) * longest, at) for at in range(end))
        costs.append(cost + _OVERHEAD)
        starts.append(start)
    groups, end = [], len(order)
    while end:
        groups.append(order[starts[end] : end])
        end = starts[end]
    return groups[::-1]


@contextmanager
def _only(head: Module, scored: Tensor) -> Iterator[None]:
    """Give the head only the positions whose next token is scored; the last one has none."""

    def select(_head: Module, given: tuple[Tensor]) -> tuple[Tensor]:
        (hidden,) = given
        return (hidden[:, :-1][scored].unsqueeze(0),)

    hook = head.register_forward_pre_hook(select)
    try:
        yield
    finally:
        hook.remove()
