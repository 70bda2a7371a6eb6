"""A fine-tuning's progress where nobody sees a bar."""

import io

import pytest
from rich.console import Console

from safemerge_tasks.cli import _training_progress
from safemerge_tasks.cli._training_progress import TrainingProgress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(_training_progress.time, "monotonic", lambda: now[0])
    return now


def _told(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_log_gets_a_line_now_and_then_with_an_estimate(clock: list[float]) -> None:
    console = Console(file=io.StringIO())
    with TrainingProgress("seed 7", quiet=False, console=console) as progress:
        # Resumed at step 100; 2.5 s a step.
        for step in range(100, 141):
            clock[0] = 2.5 * (step - 100)
            progress(step, 300)
    assert _told(console) == [
        "seed 7: step 100 of 300",
        "seed 7: step 112 of 300, 2.5 s a step, about 8 min left",
        "seed 7: step 124 of 300, 2.5 s a step, about 7 min left",
        "seed 7: step 136 of 300, 2.5 s a step, about 7 min left",
    ]


def test_the_last_step_is_told(clock: list[float]) -> None:
    console = Console(file=io.StringIO())
    with TrainingProgress("seed 7", quiet=False, console=console) as progress:
        for step in (1, 2, 3):
            clock[0] = step
            progress(step, 3)
    assert _told(console) == ["seed 7: step 1 of 3", "seed 7: step 3 of 3"]


def test_a_long_wait_is_said_in_hours(clock: list[float]) -> None:
    console = Console(file=io.StringIO())
    with TrainingProgress("seed 7", quiet=False, console=console) as progress:
        for step in (1, 2):
            clock[0] = 60.0 * step
            progress(step, 202)
    assert _told(console)[-1] == "seed 7: step 2 of 202, 60.0 s a step, about 3 h 20 min left"


def test_nothing_is_told_to_a_program(clock: list[float]) -> None:
    console = Console(file=io.StringIO())
    with TrainingProgress("seed 7", quiet=True, console=console) as progress:
        progress(1, 3)
    assert _told(console) == []
