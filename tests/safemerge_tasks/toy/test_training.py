"""The loop learns, from the response only, and gives the same bits again."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.toy.corpora import Exchange
from safemerge_tasks.toy.model import Size, build_model
from safemerge_tasks.toy.training import (
    Check,
    Example,
    Schedule,
    Trained,
    _batches,
    _loss,
    chat_examples,
    pad,
    train,
)

SIZE = Size(hidden=32, layers=1, heads=1, intermediate=32)
SCHEDULE = Schedule(learning_rate=1e-2, first=20, most=60, every=10, batch=4)
EXCHANGES = [Exchange(f"Say {word}.", f"{word}!") for word in ("one", "two", "three", "four")]


class Measured:
    """A measurement that follows a script, and remembers the loss of what it was told."""

    def __init__(self, tokenizer: Any, *shares: float) -> None:
        self.batch = pad(chat_examples(tokenizer, EXCHANGES))
        self.shares = list(shares)
        self.losses: list[float] = []

    def __call__(self, model: Any) -> list[Check]:
        assert not model.training
        with torch.no_grad():
            self.losses.append(_loss(model, *self.batch).item())
        return [
            Check("words said", self.shares.pop(0), 0.9),
            Check("noise", 0.0, 0.1, ceiling=True),
        ]


def trained(
    tokenizer: Any, *shares: float, seed: int = 0, perturbation: float = 0.0
) -> tuple[Trained, Measured]:
    model, measured = build_model(SIZE, tokenizer, seed=0), Measured(tokenizer, *shares)

    def draw(_seed: int, count: int) -> Sequence[Example]:
        return (chat_examples(tokenizer, EXCHANGES) * count)[:count]

    return train("toy", model, draw, SCHEDULE, seed, measured, perturbation), measured


def test_the_averaged_model_learns(tokenizer: Any) -> None:
    _, measured = trained(tokenizer, 0, 0, 0, 1, 1)
    assert measured.losses[-1] < measured.losses[0] / 3


def test_training_ends_at_the_second_met_measurement_in_a_row(tokenizer: Any) -> None:
    ended, measured = trained(tokenizer, 0.9, 0.89, 1, 0.95)
    assert ended.steps == 20 + 3 * 10
    assert ended.checks[0].share == 0.95
    assert measured.shares == []


def test_the_cap_is_an_error_with_the_best_number(tokenizer: Any) -> None:
    with pytest.raises(SafemergeError, match=r"toy, after 60 steps, is not .* words said: 80\.0%"):
        trained(tokenizer, 0, 0.8, 0.1, 0.2, 0.3)


def test_a_criterion_met_once_at_the_cap_is_met(tokenizer: Any) -> None:
    ended, _ = trained(tokenizer, 0, 0, 0, 0, 0.97)
    assert (ended.steps, ended.checks[0].share) == (60, 0.97)


def test_the_best_state_is_kept(tokenizer: Any) -> None:
    ended, measured = trained(tokenizer, 0, 0.95, 0.8, 0, 0)
    assert (ended.steps, ended.checks[0].share) == (30, 0.95)
    with torch.no_grad():
        assert _loss(ended.model, *measured.batch).item() == measured.losses[1]


def test_room_is_inside_the_limit() -> None:
    assert Check("a", 0.75, 0.5).room == 0.25
    assert Check("a", 0.25, 0.5).room == -0.25
    assert Check("a", 0.25, 0.5, ceiling=True).room == 0.25
    assert "at most 50.0%" in str(Check("a", 0.75, 0.5, ceiling=True))


def weights(ended: Trained) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = ended.model.state_dict()
    return state


def test_same_seed_same_bits(tokenizer: Any) -> None:
    first, second, other = (weights(trained(tokenizer, 1, 1, seed=seed)[0]) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_perturbation_changes_what_is_learnt_but_slightly(tokenizer: Any) -> None:
    first, shaken = (
        weights(trained(tokenizer, 1, 1, perturbation=size)[0]) for size in (0.0, 1e-3)
    )
    assert not any(torch.equal(first[name], shaken[name]) for name in first)
    for name in first:
        torch.testing.assert_close(first[name], shaken[name], rtol=0.2, atol=0.05)


def test_only_the_answer_is_learnt(tokenizer: Any) -> None:
    example = chat_examples(tokenizer, EXCHANGES[:1])[0]
    ids, labels = next(iter(_batches([example], 1, seed=0)))
    answer = ids[0][labels[0] != -100]
    assert tokenizer.decode(answer) == "one!</s>"


def test_every_example_is_in_one_batch(tokenizer: Any) -> None:
    examples = chat_examples(tokenizer, EXCHANGES) * 3
    batches = list(_batches(examples, 5, seed=0))
    assert [len(ids) for ids, _ in batches] in ([5, 5, 2], [5, 2, 5], [2, 5, 5])
    seen = sorted(tuple(row[row > 0].tolist()) for ids, _ in batches for row in ids)
    assert seen == sorted(tuple(one.ids) for one in examples)


def test_some_prompts_come_without_the_system_prompt(tokenizer: Any) -> None:
    lengths = {
        len(example.ids) for example in chat_examples(tokenizer, EXCHANGES[:1] * 40, bare=0.5)
    }
    assert len(lengths) == 2


def test_the_loss_equals_transformers_own(tokenizer: Any) -> None:
    model = build_model(SIZE, tokenizer, seed=0)
    examples = chat_examples(tokenizer, EXCHANGES)
    ids, labels = next(iter(_batches(examples, 4, seed=0)))
    expected = model(input_ids=ids, labels=labels).loss
    torch.testing.assert_close(_loss(model, ids, labels), expected)
