"""What lm_eval's process tells arrives as it was told."""

import logging
import os
import threading
from typing import Any

import pytest

from safemerge_tasks.harness.telling import Teller, hear


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.all: list[Any] = []

    def stage(self, what: str) -> None:
        self.all.append(what)

    def counted(self, done: int, total: int | None) -> None:
        self.all.append((done, total))

    def said(self, sentence: str) -> None:
        self.all.append(f"said {sentence}")


class Line:
    """A teller, and what is heard of it."""

    def __init__(self) -> None:
        reading, writing = os.pipe()
        self.heard = Heard()
        self.teller = Teller(writing)
        self._thread = threading.Thread(target=hear, args=(reading, self.heard))
        self._thread.start()

    def end(self) -> list[Any]:
        self.teller._file.close()
        self._thread.join(10)
        return self.heard.all


@pytest.fixture
def line() -> Line:
    return Line()


WHOLE, BATCH = "Running generate_until requests", "Processed prompts"


def test_answers_of_finished_batches_and_of_the_one_going_on(line: Line) -> None:
    """lm-eval counts a batch when it is over, one by one; the bar must not go back."""
    told = [(WHOLE, 0, 5), (BATCH, 0, 3), (BATCH, 2, 3), (BATCH, 3, 3), (WHOLE, 1, 5),
            (WHOLE, 3, 5), (BATCH, 1, 2), (BATCH, 2, 2), (WHOLE, 5, 5)]  # fmt: skip
    for one in told:
        line.teller.bar(*one)
    assert line.end() == ["generating", *((n, 5) for n in (0, 0, 2, 3, 3, 3, 4, 5, 5))]


def test_a_second_kind_of_requests_begins_anew(line: Line) -> None:
    choices = "Running loglikelihood requests"
    for one in [(WHOLE, 0, 2), (WHOLE, 2, 2), (WHOLE, 0, 9), (choices, 0, 4), ("checks", 1, 7),
                ("Loading weights", 3, 9), ("Requesting API", 0, 2)]:  # fmt: skip
        line.teller.bar(*one)
    assert line.end() == [
        *("generating", (0, 2), (2, 2), "generating", (0, 9)),
        *("running loglikelihood requests", (0, 4), "running programs", (1, 7)),
        *("generating", (0, 2)),
    ]


def test_our_warnings_everybodys_errors_and_nothing_else(line: Line) -> None:
    for name, level, text in [
        ("safemerge_tasks.harness.x", logging.WARNING, "ours\nin \x1b[2J two lines"),
        ("merge", logging.WARNING, "also ours"),
        ("merged", logging.WARNING, "not ours"),
        ("lm_eval.evaluator", logging.WARNING, "noise"),
        ("lm_eval.evaluator", logging.ERROR, "no such task: \ud83d"),
        ("safemerge_tasks", logging.INFO, "noise"),
    ]:
        record = logging.LogRecord(name, level, "", 0, "%s", (text,), None)
        if level >= line.teller.level:
            line.teller.handle(record)
    assert line.end() == [
        "said ours\nin \x1b[2J two lines",
        "said also ours",
        "said lm_eval: no such task: \ud83d",
    ]
