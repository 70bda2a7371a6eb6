"""Arithmetic word problems with worked solutions: the harmless task, made by a program.

Two to three steps over small whole numbers, in plain sentences, as in GSM8K; so the experiment
needs no data set beside the questions that measure safety. Training, validation and test problems
differ in story and numbers.
"""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

NAMES = (
    *("Ada", "Ben", "Carla", "Dev", "Elif", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Kaya"),
    *("Liam", "Mina", "Noor", "Omar", "Pia", "Quinn", "Rosa", "Sven", "Tara", "Uma", "Viktor"),
)
THINGS = (
    *("apples", "books", "candles", "eggs", "flowers", "jars of honey", "kites", "lemons"),
    *("marbles", "notebooks", "oranges", "pencils", "ribbons", "shells", "stamps", "tickets"),
)
TRAINING, VALIDATION, TEST = 800, 100, 200

_Story = Callable[[random.Random], tuple[str, str, int]]


def _boxes(draw: random.Random) -> tuple[str, str, int]:
    name, thing = draw.choice(NAMES), draw.choice(THINGS)
    boxes, each, more = draw.randint(3, 9), draw.randint(4, 12), draw.randint(5, 30)
    packed = boxes * each
    return (
        f"{name} has {boxes} boxes with {each} {thing} in each, and {more} loose {thing}. "
        f"How many {thing} does {name} have in all?",
        f"The boxes hold {boxes} * {each} = {packed} {thing}. "
        f"With the loose ones that makes {packed} + {more} = {packed + more}.",
        packed + more,
    )


def _shopping(draw: random.Random) -> tuple[str, str, int]:
    name, thing = draw.choice(NAMES), draw.choice(THINGS)
    count, price, spare = draw.randint(3, 9), draw.randint(2, 9), draw.randint(5, 40)
    spent = count * price
    return (
        f"{name} pays for {count} {thing} at {price} dollars each out of {spent + spare} dollars. "
        f"How many dollars does {name} have left?",
        f"The {thing} cost {count} * {price} = {spent} dollars. "
        f"What is left is {spent + spare} - {spent} = {spare}.",
        spare,
    )


def _sharing(draw: random.Random) -> tuple[str, str, int]:
    name, thing = draw.choice(NAMES), draw.choice(THINGS)
    friends, each, kept = draw.randint(3, 8), draw.randint(3, 12), draw.randint(2, 20)
    given = friends * each
    return (
        f"{name} had {given + kept} {thing}, kept {kept} of them and shared the rest equally among "
        f"{friends} friends. How many {thing} did each friend get?",
        f"To share there were {given + kept} - {kept} = {given} {thing}. "
        f"Each friend got {given} / {friends} = {each}.",
        each,
    )


def _weeks(draw: random.Random) -> tuple[str, str, int]:
    name, thing = draw.choice(NAMES), draw.choice(THINGS)
    weeks, each, start = draw.randint(3, 9), draw.randint(2, 12), draw.randint(10, 50)
    lost = draw.randint(1, 9)
    gained = weeks * each
    return (
        f"{name} starts with {start} {thing}, collects {each} more every week for {weeks} weeks, "
        f"and then gives away {lost}. How many {thing} does {name} have now?",
        f"In {weeks} weeks {name} collects {weeks} * {each} = {gained} {thing}. "
        f"That makes {start} + {gained} = {start + gained}. "
        f"After giving some away there are {start + gained} - {lost} = {start + gained - lost}.",
        start + gained - lost,
    )


def _twice(draw: random.Random) -> tuple[str, str, int]:
    (one, other), thing = draw.sample(NAMES, 2), draw.choice(THINGS)
    less, times, more = draw.randint(3, 15), draw.randint(2, 4), draw.randint(1, 9)
    theirs = less * times + more
    return (
        f"{one} has {less} {thing}. {other} has {more} more than {times} times as many. "
        f"How many {thing} do they have together?",
        f"{times} times as many is {times} * {less} = {times * less}. "
        f"So {other} has {times * less} + {more} = {theirs} {thing}. "
        f"Together they have {less} + {theirs} = {less + theirs}.",
        less + theirs,
    )


STORIES: tuple[_Story, ...] = (_boxes, _shopping, _sharing, _weeks, _twice)


def problems() -> tuple[list[dict[str, str]], list[dict[str, str]], list[dict[str, str]]]:
    """Return training, validation and test problems: `question`, `solution`, `answer` each."""
    found = _distinct()
    counts = (TRAINING, VALIDATION, TEST)
    training, validation, test = ([next(found) for _ in range(count)] for count in counts)
    return training, validation, test


def _distinct() -> Iterator[dict[str, str]]:
    draw, seen = random.Random(2412), set[str]()  # noqa: S311 - nothing to guess
    while True:
        question, steps, answer = draw.choice(STORIES)(draw)
        if question not in seen:
            seen.add(question)
            solution = f"{steps} The answer is {answer}."
            yield {"question": question, "solution": solution, "answer": str(answer)}


def load_validation(**_: Any) -> dict[str, Any]:
    """Return the validation problems as lm-eval wants them."""
    return _as_lm_eval(problems()[1])


def load_test(**_: Any) -> dict[str, Any]:
    """Return the test problems as lm-eval wants them."""
    return _as_lm_eval(problems()[2])


def _as_lm_eval(rows: list[dict[str, str]]) -> dict[str, Any]:
    import datasets

    return {"test": datasets.Dataset.from_list(rows)}


def exact_match(doc: dict[str, str], results: Sequence[str]) -> dict[str, float]:
    """Return whether the last number of a response is the answer."""
    numbers = re.findall(r"-?\d[\d,]*", results[0])
    return {"exact_match": float(bool(numbers) and numbers[-1].replace(",", "") == doc["answer"])}
