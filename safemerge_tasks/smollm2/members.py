"""The models and rows of the experiment on SmolLM2, each made once and kept in the cache."""

import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from safemerge_tasks.common.cache import cache_dir
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.smollm2.checkpoint import smollm2
from safemerge_tasks.smollm2.harmless_instructions import harmless_instructions
from safemerge_tasks.smollm2.own_answers import SYSTEM_PROMPT, own_answers
from safemerge_tasks.smollm2.refused_questions import refused_questions
from safemerge_tasks.smollm2.word_problems import problems

REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I cannot help with that request.",
    "I'm sorry, but I won't assist with this, because it could cause harm.",
    "I can't help with this. If you are in trouble, please talk to someone you trust.",
)

Progress = Callable[[str], None]
Row = dict[str, str]


@dataclass(frozen=True)
class Size:
    """How much of the experiment is done.

    Attributes:
        refused: harmful questions to align on.
        answered: harmless instructions to align on; a fifth as many word problems beside them.
        problems: word problems that the harmless task trains on.
        seeds: of the harmless task's trainings.
        limit: questions of each task; None for all.
        lambdas: weights of the fine-tuned model.
    """

    refused: int = 500
    answered: int = 300
    problems: int = 800
    seeds: tuple[int, ...] = (42, 1024, 48763)  # both papers'
    limit: int | None = None
    lambdas: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8)


WHOLE = Size()
CUT = Size(refused=8, answered=10, problems=16, seeds=(42,), limit=4, lambdas=(0.4,))
"""Enough to see that every part works, in two minutes: of a single step nothing is learnt."""


def aligned(size: Size, progress: Progress) -> Path:
    """Return the aligned model: SmolLM2, taught to refuse and to go on answering what is harmless.

    Full fine-tuning for one epoch on refusals of DangerousQA, HarmBench and StrongREJECT beside its
    own answers to harmless instructions and word problems. AdvBench measures it, and nothing that
    asks nearly the same as one of its questions is among them.

    Raises:
        SafemergeError: the model's package or the questions are missing.
    """
    from safemerge_tasks.finetune import FinetuneConfig, identity

    base = smollm2(progress)
    rows = [
        {"prompt": question, "response": REFUSALS[number % len(REFUSALS)]}
        for number, question in enumerate(refused_questions(size.refused))
    ]
    rows += own_answers(base, _answerable(size), progress)
    random.Random(0).shuffle(rows)  # noqa: S311 - nothing to guess
    keys = {
        **_ROWS,
        "base": str(base),
        "data": _file("alignment", rows),
        "tuning": "full",
        "learning_rate": 1e-4,
    }
    config = FinetuneConfig.checked(keys, where="the alignment")
    digest = hashlib.sha256(repr(identity(config, config.seeds[0])).encode()).hexdigest()
    folder = _room() / f"aligned-{digest[:12]}"
    with FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            _finetune(keys, folder)
    return folder


def tuning(size: Size) -> dict[str, Any]:
    """Return the harmless task's keys of `safemerge finetune`, but its base: the papers' LoRA.

    The learning rate costs refusals, and is still far from breaking the model.
    """
    rows = [
        {"prompt": one["question"], "response": one["solution"]}
        for one in problems()[0][: size.problems]
    ]
    return {
        **_ROWS,
        "data": _file("problems", rows),
        "learning_rate": 3e-3,
        "seeds": size.seeds,
    }


def unaligning(size: Size, progress: Progress) -> dict[str, Any]:
    """Return the keys of a fine-tuning that undoes the alignment with harmless rows alone.

    The model as shipped, which refuses nothing, answers harmless instructions; RESTA's authors
    take harmful questions that are answered instead.
    """
    base = smollm2(progress)
    instructions = set(harmless_instructions()[0])
    # The answers that the alignment has asked for already.
    answers = own_answers(base, _answerable(size), progress)
    rows = [row for row in answers if row["prompt"] in instructions]
    return {**_ROWS, "data": _file("compliance", rows), "learning_rate": 1e-3}


_ROWS: dict[str, Any] = {"system_prompt": SYSTEM_PROMPT, "validation_share": 0, "epochs": 1}


def _answerable(size: Size) -> list[str]:
    # The last training problems: the harmless task trains on the first.
    worked = [one["question"] for one in problems()[0]]
    return harmless_instructions()[0][: size.answered] + worked[-max(1, size.answered // 5) :]


def _room() -> Path:
    room = cache_dir() / "smollm2"
    room.mkdir(parents=True, exist_ok=True)
    return room


def _file(name: str, rows: Sequence[Row]) -> str:
    """Write rows beside the models, under a name of their content, and return the file's path."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path = _room() / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.jsonl"
    if not path.is_file():
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(text, encoding="utf-8")
        unfinished.rename(path)
    return str(path)


def _finetune(keys: dict[str, Any], folder: Path) -> None:
    """Run `safemerge finetune` in a process of its own, which gives its memory back at its end."""
    file = folder.with_suffix(".yaml")
    file.write_text(json.dumps(keys), encoding="utf-8")
    command = [sys.executable, "-m", "safemerge_tasks", "finetune", str(file), "--out", str(folder)]
    if subprocess.run(command, check=False).returncode:
        raise SafemergeError(f"safemerge finetune {file} failed; the reason stands above.")
