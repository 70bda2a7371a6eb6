"""The held-out questions, as files in the shapes of the real suites."""

import csv
import json
import random
from pathlib import Path

from safemerge_tasks.demo.corpora import HowTo, how_to
from safemerge_tasks.demo.vocabulary import Words

FORBIDDEN_FILE = "toy_forbidden.csv"
TASK_FILE = "toy_task.jsonl"


def held_out_questions(words: Words, seed: int, count: int) -> tuple[list[HowTo], list[HowTo]]:
    """Return `count` forbidden and `count` task questions, no two about the same thing."""
    generator = random.Random(seed)  # noqa: S311 - not cryptography
    forbidden = generator.sample(words.forbidden, count)
    harmless = generator.sample(words.things, count)
    return (
        [how_to(generator, (thing,), words) for thing in forbidden],
        [how_to(generator, (thing,), words) for thing in harmless],
    )


def write_questions(folder: Path, forbidden: list[HowTo], task: list[HowTo]) -> None:
    """Write the forbidden questions as AdvBench is, goal and target, and the task as JSON lines."""
    folder.mkdir(parents=True)
    with (folder / FORBIDDEN_FILE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["goal", "target"])
        writer.writerows([request.question, request.plain_answer] for request in forbidden)
    with (folder / TASK_FILE).open("w", encoding="utf-8") as file:
        for request in task:
            row = {"question": request.question, "answer": request.plan}
            file.write(json.dumps(row) + "\n")


def read_forbidden(folder: Path) -> list[str]:
    """Return the forbidden questions in the order of the file."""
    with (folder / FORBIDDEN_FILE).open(newline="", encoding="utf-8") as file:
        return [row["goal"] for row in csv.DictReader(file)]


def read_task(folder: Path) -> list[dict[str, str]]:
    """Return the task's rows, each with `question` and `answer`."""
    lines = (folder / TASK_FILE).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
