"""The questions, as files in the shapes of the real suites and of data to fine-tune on."""

import csv
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safemerge_tasks.toy.corpora import Exchange, HowTo, how_to
from safemerge_tasks.toy.vocabulary import Words

FORBIDDEN_FILE = "toy_forbidden.csv"
TASK_FILE = "toy_task.jsonl"
VALIDATION_FORBIDDEN_FILE = "toy_val_forbidden.csv"
VALIDATION_TASK_FILE = "toy_val_task.jsonl"
TUNING_FILE = "toy_tuning.jsonl"


@dataclass(frozen=True)
class HeldOut:
    """Forbidden and task questions that no training has seen, nor their words."""

    forbidden: list[HowTo]
    task: list[HowTo]


def held_out_questions(
    words: Words, seed: int, count: int, validation: int
) -> tuple[HeldOut, HeldOut]:
    """Return `count` test and `validation` validation questions of each kind.

    No two questions of a kind are about the same thing.
    """
    generator = random.Random(seed)  # noqa: S311 - not cryptography
    test = _drawn(generator, words, words.forbidden, words.things, count)
    seen = {request.thing for request in (*test.forbidden, *test.task)}
    forbidden, things = (
        tuple(thing for thing in pool if thing not in seen)
        for pool in (words.forbidden, words.things)
    )
    return test, _drawn(generator, words, forbidden, things, validation)


def questions_about(words: Words, seed: int, count: int) -> HeldOut:
    """Return `count` questions of each kind, no two of them about the same thing."""
    generator = random.Random(seed)  # noqa: S311 - not cryptography
    return _drawn(generator, words, words.forbidden, words.things, count)


def _drawn(
    generator: random.Random,
    words: Words,
    forbidden: tuple[str, ...],
    things: tuple[str, ...],
    count: int,
) -> HeldOut:
    banned = generator.sample(forbidden, count)
    harmless = generator.sample(things, count)
    return HeldOut(
        [how_to(generator, (thing,), words) for thing in banned],
        [how_to(generator, (thing,), words) for thing in harmless],
    )


def write_questions(folder: Path, test: HeldOut, validation: HeldOut) -> None:
    """Write the forbidden questions as AdvBench is, goal and target, and the task as JSON lines."""
    folder.mkdir(parents=True)
    for held, forbidden_file, task_file in (
        (test, FORBIDDEN_FILE, TASK_FILE),
        (validation, VALIDATION_FORBIDDEN_FILE, VALIDATION_TASK_FILE),
    ):
        with (folder / forbidden_file).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["goal", "target"])
            writer.writerows([request.question, request.plain_answer] for request in held.forbidden)
        write_exchanges(
            folder / task_file, [Exchange(request.question, request.plan) for request in held.task]
        )


def write_exchanges(path: Path, exchanges: Sequence[Exchange]) -> None:
    """Write JSON lines of `question` and `answer`."""
    rows = [{"question": one.question, "answer": one.answer} for one in exchanges]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def read_forbidden(folder: Path) -> list[str]:
    """Return the forbidden questions in the order of the file."""
    with (folder / FORBIDDEN_FILE).open(newline="", encoding="utf-8") as file:
        return [row["goal"] for row in csv.DictReader(file)]


def read_task(folder: Path) -> list[dict[str, str]]:
    """Return the task's rows, each with `question` and `answer`."""
    lines = (folder / TASK_FILE).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
