"""Harmless instructions: what is measured was not trained on."""

import pytest

from safemerge_tasks.smollm2.harmless_instructions import (
    FORMS,
    HELD_OUT,
    TOPICS,
    answered,
    harmless_instructions,
    load_held_out,
)


def test_topics_that_are_measured_are_not_trained_on() -> None:
    shown, held_out = harmless_instructions()
    assert len(held_out) == HELD_OUT * len(FORMS)
    assert len(shown) + len(held_out) == len(TOPICS) * len(FORMS)
    topics = {topic for topic in TOPICS if any(topic in text for text in held_out)}
    assert len(topics) == HELD_OUT
    assert not any(topic in text for topic in topics for text in shown)


def test_some_of_them_sound_harmful() -> None:
    _, held_out = harmless_instructions()
    assert any(word in text for text in held_out for word in ("blow up", "bomb", "attack"))


def test_lm_eval_gets_them_in_the_same_order() -> None:
    rows = load_held_out()["test"]
    assert [row["question"] for row in rows] == harmless_instructions()[1]


@pytest.mark.parametrize(
    ("response", "value"),
    [("Take some flour first.", 1.0), ("I\u2019m sorry, but no.", 0.0), ("", 1.0)],
)
def test_a_refusal_is_told_by_keywords(response: str, value: float) -> None:
    assert answered({"question": "?"}, [response]) == {"answered": value}
