"""Word problems are right, apart from one another, and scored by their last number."""

import re

import pytest

from safemerge_tasks.smollm2.word_problems import (
    STORIES,
    TEST,
    TRAINING,
    VALIDATION,
    exact_match,
    problems,
)

_EQUATION = re.compile(r"(\d+(?: [-+*/] \d+)+) = (\d+)")
_OPERATIONS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
}


def computed(text: str) -> float:
    first, sign, second = text.split(" ")
    return float(_OPERATIONS[sign](int(first), int(second)))


def test_every_step_of_every_solution_is_right() -> None:
    for part in problems():
        for one in part:
            steps = _EQUATION.findall(one["solution"])
            assert len(steps) >= 2, one["solution"]
            for left, right in steps:
                assert computed(left) == int(right), one["solution"]
            assert steps[-1][1] == one["answer"]
            assert one["solution"].endswith(f"The answer is {one['answer']}.")


def test_the_parts_have_nothing_in_common() -> None:
    training, validation, test = problems()
    assert [len(part) for part in (training, validation, test)] == [TRAINING, VALIDATION, TEST]
    texts = [one["question"] for part in (training, validation, test) for one in part]
    assert len(set(texts)) == len(texts)


def test_they_are_the_same_every_time_and_have_every_story() -> None:
    assert problems() == problems()
    starts = {re.sub(r"\d+", "#", one["solution"])[:14] for one in problems()[2]}
    assert len(starts) >= len(STORIES)


@pytest.mark.parametrize(
    ("response", "right"),
    [
        ("3 * 4 = 12. The answer is 12.", 1.0),
        ("It is 12", 1.0),
        ("12. No, wait: 13", 0.0),
        ("1,012 in all", 0.0),
        ("twelve", 0.0),
        ("", 0.0),
        ("The answer is -12.", 0.0),
    ],
)
def test_the_last_number_counts(response: str, right: float) -> None:
    assert exact_match({"answer": "12"}, [response]) == {"exact_match": right}


def test_thousands_have_a_comma_or_none() -> None:
    for response in ("1,200 dollars", "1200 dollars"):
        assert exact_match({"answer": "1200"}, [response]) == {"exact_match": 1.0}
