"""The loss without padding and without logits that nobody asks for, against all of them."""

import itertools
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedConfig,
)

from safemerge_tasks.finetune import labelled_positions
from safemerge_tasks.finetune.labelled_positions import alike, labelled_loss
from safemerge_tasks.finetune.rendering import IGNORED

SHAPE = {
    "vocab_size": 61,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}
CONFIGS = {
    "tied": LlamaConfig(**SHAPE, num_key_value_heads=1, tie_word_embeddings=True),
    # Its logits are bent after the head, and its head belongs to the embeddings.
    "softcap": Gemma2Config(
        **SHAPE, num_key_value_heads=1, head_dim=8, final_logit_softcapping=0.5, sliding_window=39
    ),
    "another name of the head": GPTNeoXConfig(**SHAPE),
}


@pytest.fixture(params=CONFIGS)
def model(request: pytest.FixtureRequest) -> torch.nn.Module:
    torch.manual_seed(5)
    config: PreTrainedConfig = CONFIGS[request.param]
    return AutoModelForCausalLM.from_config(config).double()


def batch() -> dict[str, Tensor]:
    """Return rows of 9, 40, 2 and 38 tokens whose last third is scored, one of them in pieces."""
    generator = torch.Generator().manual_seed(3)
    lengths = torch.tensor([9, 40, 2, 38])
    mask = (torch.arange(40) < lengths[:, None]).long()
    ids = torch.randint(0, 61, (4, 40), generator=generator) * mask
    starts = (lengths * 2 // 3).clamp(min=1)
    scored = (torch.arange(40) >= starts[:, None]) & mask.bool()
    scored[1, 30] = False
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": torch.where(scored, ids, IGNORED),
    }


def plain_loss(model: torch.nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
    return cross_entropy(logits[:, :-1].flatten(0, 1), inputs["labels"][:, 1:].flatten())


def gradients(model: torch.nn.Module, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters())))


@pytest.mark.parametrize("overhead", [0, 30, 10**6])
def test_loss_and_gradients_are_those_of_all_positions(
    model: torch.nn.Module, overhead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelled_positions, "_OVERHEAD", overhead)
    inputs = batch()
    expected = plain_loss(model, inputs)
    head = model.get_output_embeddings()
    loss = labelled_loss(model, head, inputs, None)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
    for mine, plain in zip(
        gradients(model, loss), gradients(model, plain_loss(model, inputs)), strict=True
    ):
        # Gemma's norms compute in float32 whatever they are given.
        torch.testing.assert_close(mine, plain, rtol=1e-4, atol=1e-8)


def test_the_mean_may_be_over_more_labels_than_these(model: torch.nn.Module) -> None:
    inputs = batch()
    labels = int((inputs["labels"][:, 1:] != IGNORED).sum())
    head = model.get_output_embeddings()
    alone = labelled_loss(model, head, inputs, None)
    assert labelled_loss(model, head, inputs, torch.tensor(3 * labels)).item() == pytest.approx(
        alone.item() / 3
    )


def test_only_scored_positions_have_logits(model: torch.nn.Module) -> None:
    inputs = batch()
    seen = []
    head = model.get_output_embeddings()
    hook = head.register_forward_hook(lambda _module, _given, made: seen.append(made.shape[1]))
    labelled_loss(model, head, inputs, None)
    hook.remove()
    assert sum(seen) == (inputs["labels"][:, 1:] != IGNORED).sum()
    # And afterwards the head is as it was.
    assert model(input_ids=inputs["input_ids"]).logits.shape == (4, 40, 61)


def cost(groups: list[list[int]], lengths: list[int], overhead: int) -> int:
    return sum(max(lengths[row] for row in rows) * len(rows) + overhead for rows in groups)


def every_grouping(rows: list[int]) -> Iterator[list[list[int]]]:
    """Yield all divisions of rows into groups, whatever their lengths."""
    if not rows:
        yield []
        return
    first, rest = rows[0], rows[1:]
    for size in range(len(rest) + 1):
        for others in itertools.combinations(rest, size):
            left = [row for row in rest if row not in others]
            for groups in every_grouping(left):
                yield [[first, *others], *groups]


@pytest.mark.parametrize("overhead", [0, 7, 50])
@pytest.mark.parametrize("lengths", [[5], [30, 4, 31, 5, 29, 3], [8, 8, 8, 8], [1, 2, 40, 80, 160]])
def test_no_other_grouping_is_cheaper(
    lengths: list[int], overhead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelled_positions, "_OVERHEAD", overhead)
    groups = alike(lengths)
    assert sorted(row for rows in groups for row in rows) == list(range(len(lengths)))
    least = min(cost(some, lengths, overhead) for some in every_grouping(list(range(len(lengths)))))
    assert cost(groups, lengths, overhead) == least
