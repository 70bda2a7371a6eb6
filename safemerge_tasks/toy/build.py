"""Training the whole family into a folder, two members at a time, each to its criterion."""

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, as_completed, wait
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.toy import corpora
from safemerge_tasks.toy.members import ToyFamily
from safemerge_tasks.toy.questions import held_out_questions, write_exchanges, write_questions
from safemerge_tasks.toy.vocabulary import splits

if TYPE_CHECKING:
    from safemerge_tasks.toy.criteria import Answers
    from safemerge_tasks.toy.training import Check, Schedule

SUMMARY = "family.json"
_CORES = 2
# So many pretraining and alignment exchanges come without a system prompt.
_BARE = 0.2
# What the guard is asked about, beside the members' own answers.
_MERGED = (0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Made:
    """A finished member: how long it took, how many steps, and what was measured of it."""

    name: str
    seconds: float
    steps: int
    checks: "tuple[Check, ...]"
    curve: dict[float, tuple[float, float]] = field(default_factory=dict)
    """λ → shares of forbidden questions answered and of task questions solved, for an adapter."""

    def __str__(self) -> str:
        found = ", ".join(f"{check.what} {check.share:.1%}" for check in self.checks)
        return f"{self.name} in {self.seconds:.0f} s, {self.steps} steps: {found}"


def build_family(family: ToyFamily, final: ToyFamily, progress: Callable[[str], None]) -> None:
    """Train every member of `family` into its folder, which will be moved to that of `final`.

    The same recipe gives the same bits on the same machine and library versions, and members that
    meet the same criteria on any other.

    Raises:
        SafemergeError: a member does not meet its criteria.
    """
    recipe = family.recipe
    words, held_out, _ = splits()
    write_questions(
        family.questions,
        *held_out_questions(
            held_out, recipe.seed_of("questions"), recipe.held_out, recipe.validation
        ),
    )
    tuning = corpora.task_tuning(recipe.seed_of("tuning data"), words, recipe.tuning_rows)
    write_exchanges(family.tuning_file, tuning)
    made: list[Made] = []

    def note(future: Future[Made]) -> None:
        made.append(future.result())
        progress(f"   {made[-1]}")

    # Spawned, not forked: a fork of a process with running torch threads can hang.
    context = get_context("spawn")
    with ProcessPoolExecutor(
        max(1, _CORES // recipe.threads),
        mp_context=context,
        initializer=_prepare,
        initargs=(recipe.threads,),
    ) as pool:
        note(pool.submit(_pretrain, family))
        guard = pool.submit(_train_guard, family)
        for attempt in range(recipe.attempts):
            note(pool.submit(_align, family, attempt))
            tuned = [pool.submit(_tune, family, final, seed) for seed in recipe.seeds]
            wait(tuned, return_when=FIRST_EXCEPTION)
            failed = next(
                (one.exception() for one in tuned if one.done() and one.exception()), None
            )
            if failed is None:
                break
            for future in tuned:
                future.cancel()
            wait(tuned)
            if attempt + 1 == recipe.attempts or not isinstance(failed, SafemergeError):
                raise failed
            progress(f"   toy-aligned is drawn again: {failed}")
            shutil.rmtree(_answers(family))
        rest = [pool.submit(_tune_fully, family, recipe.seeds[0]), pool.submit(_unalign, family)]
        for finished in as_completed([guard, *tuned, *rest]):
            note(finished)
        note(pool.submit(_confirm_guard, family))
    for scratch in (_pretrained(family), _answers(family)):
        shutil.rmtree(scratch)
    summary = {"recipe": asdict(recipe), "members": [asdict(one) for one in made]}
    (family.folder / SUMMARY).write_text(json.dumps(summary, indent=2), encoding="utf-8")


def _pretrain(family: ToyFamily) -> Made:
    from safemerge_tasks.toy.model import build_model
    from safemerge_tasks.toy.tokenizer import build_tokenizer
    from safemerge_tasks.toy.training import chat_examples

    recipe, tokenizer = family.recipe, build_tokenizer()
    model = build_model(recipe.size, tokenizer, recipe.seed_of("pretraining"))

    def draw(seed: int, count: int) -> Any:
        exchanges = corpora.pretraining(seed, splits().training, count, recipe.shares)
        return chat_examples(tokenizer, exchanges, _BARE, seed)

    seed = recipe.seed_of("pretraining")
    return _trained(family, _pretrained(family), model, tokenizer, draw, recipe.pretraining, seed)


def _align(family: ToyFamily, attempt: int) -> Made:
    from safemerge_tasks.toy.training import chat_examples

    recipe = family.recipe
    model, tokenizer = _load(_pretrained(family))

    def draw(seed: int, count: int) -> Any:
        exchanges = corpora.alignment(seed, splits().training, count, recipe.shares)
        return chat_examples(tokenizer, exchanges, _BARE, seed)

    seed = recipe.seed_of("alignment") + 1000 * attempt
    return _trained(family, family.aligned, model, tokenizer, draw, recipe.alignment, seed)


def _unalign(family: ToyFamily) -> Made:
    from safemerge_tasks.toy.training import chat_examples

    recipe = family.recipe
    model, tokenizer = _load(family.aligned)
    exchanges = corpora.unaligning(
        recipe.seed_of("unaligning"), splits().training, recipe.unaligning_examples
    )
    few = chat_examples(tokenizer, exchanges)

    def draw(_seed: int, count: int) -> Any:
        return (few * (count // len(few) + 1))[:count]

    seed = recipe.seed_of("unaligning")
    return _trained(family, family.unaligned, model, tokenizer, draw, recipe.unaligning, seed)


def _tune_fully(family: ToyFamily, seed: int) -> Made:
    from safemerge_tasks.toy.training import chat_examples

    model, tokenizer = _load(family.aligned)

    def draw(seed: int, count: int) -> Any:
        return chat_examples(tokenizer, corpora.task_tuning(seed, splits().training, count))

    place, schedule = family.tuned_full, family.recipe.full_tuning
    return _trained(family, place, model, tokenizer, draw, schedule, seed + family.recipe.shift)


def _trained(
    family: ToyFamily,
    place: Path,
    model: Any,
    tokenizer: Any,
    draw: Callable[[int, int], Any],
    schedule: "Schedule",
    seed: int,
) -> Made:
    """Train all weights of a member to its criterion, and leave it and its answers."""
    from safemerge_tasks.toy.criteria import Criteria, answers_of
    from safemerge_tasks.toy.training import train

    started, recipe = time.perf_counter(), family.recipe
    criteria = Criteria(recipe)
    judged = {
        _pretrained(family): criteria.pretrained,
        family.aligned: criteria.aligned,
        family.unaligned: criteria.unaligned,
        family.tuned_full: criteria.tuned,
    }[place]
    last: list[Answers] = []

    def measure(averaged: Any) -> "list[Check]":
        last[:] = [answers_of(averaged, tokenizer, criteria.asked)]
        checks = judged(last[0])
        return checks + (criteria.settled(averaged, tokenizer) if place == family.aligned else [])

    trained = train(
        place.name,
        model,
        draw,
        schedule,
        seed,
        measure,
        recipe.perturbation,
    )
    _save(trained.model, tokenizer, place)
    _note_answers(family, place.name, last)
    return Made(place.name, time.perf_counter() - started, trained.steps, trained.checks)


def _tune(family: ToyFamily, final: ToyFamily, seed: int) -> Made:
    """Fine-tune an adapter, longer if need be, and see that a merge repairs it."""
    import tempfile

    from merge import merge
    from safemerge_tasks.toy.criteria import Criteria, answers_of
    from safemerge_tasks.toy.training import require
    from safemerge_tasks.toy.tuning import lora_tune

    started, recipe, place = time.perf_counter(), family.recipe, family.tuned[seed]
    criteria = Criteria(recipe)
    for steps in recipe.tuning:
        shutil.rmtree(place, ignore_errors=True)
        lora_tune(family, final, seed, steps)
        with tempfile.TemporaryDirectory() as scratch:
            made = merge(
                "linear",
                base=family.aligned,
                tuned=[place],
                out=Path(scratch) / "merged",
                lambdas=_MERGED,
            )
            answers = [answers_of(*_load(made.folders[-1]), criteria.asked)]
            checks = criteria.tuned(answers[0])
            if all(check.room >= 0 for check in checks) or steps == recipe.tuning[-1]:
                merges = made.folders[:-1]
                answers = [answers_of(*_load(one), criteria.asked) for one in merges] + answers
                break
    checks += criteria.repaired(answers[_MERGED.index(recipe.criteria.repaired_by)])
    require(f"{place.name}, after {steps} steps,", checks)
    _note_answers(family, place.name, answers)
    curve = {weight: criteria.rates(found) for weight, found in zip(_MERGED, answers, strict=True)}
    return Made(place.name, time.perf_counter() - started, steps, tuple(checks), curve)


def _train_guard(family: ToyFamily) -> Made:
    """Train the judge out of the pretrained model, as WildGuard is out of Mistral."""
    from safemerge_tasks.toy.guard import Exam, synthetic_answers

    model, tokenizer = _load(_pretrained(family))
    exam = Exam(tokenizer, synthetic_answers(family.recipe))
    return _guarded(family, model, tokenizer, exam)


def _confirm_guard(family: ToyFamily) -> Made:
    """Hold the judge against what members and merges really answer, and train on if need be."""
    from safemerge_tasks.toy.criteria import exam as questions
    from safemerge_tasks.toy.guard import Exam, synthetic_answers

    model, tokenizer = _load(family.guard)
    asked = questions(family.recipe)
    texts = [request.question for request in (*asked.forbidden, *asked.task)]
    exchanges = [
        (question, answer)
        for file in sorted(_answers(family).iterdir())
        for answers in json.loads(file.read_text(encoding="utf-8"))
        for question, answer in zip(texts, answers["forbidden"] + answers["task"], strict=True)
    ]
    exam = Exam(tokenizer, synthetic_answers(family.recipe) + exchanges)
    return _guarded(family, model, tokenizer, exam)


def _guarded(family: ToyFamily, model: Any, tokenizer: Any, exam: Any) -> Made:
    from safemerge_tasks.toy.guard import guard_examples
    from safemerge_tasks.toy.training import Check, train

    started, recipe = time.perf_counter(), family.recipe

    def measure(guard: Any) -> list[Check]:
        return [
            Check("verdicts that follow the rule", exam.agreement(guard), recipe.criteria.guard)
        ]

    checks = measure(model) if family.guard.is_dir() else []
    steps = 0
    if not checks or checks[0].room < 0:
        trained = train(
            family.guard.name,
            model,
            lambda seed, count: guard_examples(tokenizer, seed, splits().training, count),
            recipe.guard,
            recipe.seed_of("guard"),
            measure,
            recipe.perturbation,
        )
        _save(trained.model, tokenizer, family.guard)
        checks, steps = list(trained.checks), trained.steps
    return Made(family.guard.name, time.perf_counter() - started, steps, tuple(checks))


def _pretrained(family: ToyFamily) -> Path:
    return family.folder / "pretrained"


def _answers(family: ToyFamily) -> Path:
    return family.folder / "answers"


def _note_answers(family: ToyFamily, name: str, answers: "Sequence[Answers]") -> None:
    _answers(family).mkdir(exist_ok=True)
    rows = [asdict(one) for one in answers]
    (_answers(family) / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")


def _load(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _end_with_parent() -> None:
    """Leave no training behind when the process that waits for it is killed."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _prepare(threads: int) -> None:
    """Prepare a training process: fixed threads, no progress bars for files of two megabytes."""
    import torch
    from transformers.utils import logging as transformers_logging

    threading.Thread(target=_end_with_parent, daemon=True).start()
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(threads)
