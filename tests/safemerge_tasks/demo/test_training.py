"""The loop learns, from the response only, and gives the same bits again."""

from typing import Any

import torch

from safemerge_tasks.demo.corpora import Exchange
from safemerge_tasks.demo.model import Size, build_model
from safemerge_tasks.demo.training import Schedule, _batches, chat_examples, train

SIZE = Size(hidden=32, layers=1, heads=1, intermediate=32)
SCHEDULE = Schedule(steps=30, batch=4, learning_rate=1e-2)
EXCHANGES = [Exchange(f"Say {word}.", f"{word}!") for word in ("one", "two", "three", "four")]


def trained(tokenizer: Any) -> tuple[Any, list[float]]:
    model = build_model(SIZE, tokenizer, seed=0)
    return model, train(model, chat_examples(tokenizer, EXCHANGES), SCHEDULE, seed=0)


def test_the_loss_falls(tokenizer: Any) -> None:
    _, losses = trained(tokenizer)
    assert losses[-1] < losses[0] / 3


def test_same_seed_same_bits(tokenizer: Any) -> None:
    first, second = (trained(tokenizer)[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_only_the_answer_is_learnt(tokenizer: Any) -> None:
    example = chat_examples(tokenizer, EXCHANGES[:1])[0]
    ids, labels = next(iter(_batches([example], Schedule(1, 1, 1e-3), seed=0)))
    answer = ids[0][labels[0] != -100]
    assert tokenizer.decode(answer) == "one!</s>"


def test_batches_are_as_many_as_scheduled(tokenizer: Any) -> None:
    examples = chat_examples(tokenizer, EXCHANGES)
    assert len(list(_batches(examples, Schedule(7, 3, 1e-3), seed=0))) == 7


def test_some_prompts_come_without_the_system_prompt(tokenizer: Any) -> None:
    lengths = {
        len(example.ids) for example in chat_examples(tokenizer, EXCHANGES[:1] * 40, bare=0.5)
    }
    assert len(lengths) == 2


def test_the_loss_equals_transformers_own(tokenizer: Any) -> None:
    from safemerge_tasks.demo.training import _loss

    model = build_model(SIZE, tokenizer, seed=0)
    examples = chat_examples(tokenizer, EXCHANGES)
    ids, labels = next(iter(_batches(examples, Schedule(1, 4, 1e-3), seed=0)))
    expected = model(input_ids=ids, labels=labels).loss
    torch.testing.assert_close(_loss(model, ids, labels), expected)
