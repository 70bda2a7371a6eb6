"""Training the whole family into a folder, two members at a time."""

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from safemerge_tasks.demo import corpora
from safemerge_tasks.demo.members import ToyFamily
from safemerge_tasks.demo.questions import held_out_questions, write_exchanges, write_questions
from safemerge_tasks.demo.recipe import Seeds
from safemerge_tasks.demo.vocabulary import splits

SUMMARY = "family.json"
_PROCESSES = 2
# One thread: sums do not depend on how they are split, and the pieces are too small to share.
_THREADS = 1
# So many pretraining and alignment exchanges come without a system prompt.
_BARE = 0.2

Trained = tuple[str, float]
"""A member's name and the seconds its training took."""


def build_family(family: ToyFamily, final: ToyFamily, progress: Callable[[str], None]) -> None:
    """Train every member of `family` into its folder, which will be moved to that of `final`.

    The same recipe gives the same bits on the same machine and library versions.
    """
    recipe = family.recipe
    words, held_out = splits()
    write_questions(
        family.questions,
        *held_out_questions(held_out, Seeds().questions, recipe.held_out, recipe.validation),
    )
    tuning = corpora.task_tuning(Seeds().tuning_data, words, recipe.tuning_rows)
    write_exchanges(family.tuning_file, tuning)
    seconds: dict[str, float] = {}

    def note(future: Future[Trained]) -> None:
        name, took = future.result()
        seconds[name] = round(took, 1)
        progress(f"   {name} in {took:.0f} s")

    # Spawned, not forked: a fork of a process with running torch threads can hang.
    context = get_context("spawn")
    with ProcessPoolExecutor(_PROCESSES, mp_context=context, initializer=_reproducible) as pool:
        note(pool.submit(_pretrain, family))
        guard = pool.submit(_train_guard, family)
        note(pool.submit(_align, family))
        rest = [pool.submit(_tune, family, final, seed) for seed in recipe.seeds]
        rest += [pool.submit(_tune_fully, family, recipe.seeds[0]), pool.submit(_unalign, family)]
        for finished in as_completed([guard, *rest]):
            note(finished)
    shutil.rmtree(_pretrained(family))
    summary = {"recipe": asdict(recipe), "seconds": seconds}
    (family.folder / SUMMARY).write_text(json.dumps(summary, indent=2), encoding="utf-8")


def _pretrain(family: ToyFamily) -> Trained:
    from safemerge_tasks.demo.model import build_model
    from safemerge_tasks.demo.tokenizer import build_tokenizer
    from safemerge_tasks.demo.training import chat_examples, train

    started, schedule, seed = time.perf_counter(), family.recipe.pretraining, Seeds().pretraining
    words, _ = splits()
    tokenizer = build_tokenizer()
    model = build_model(family.recipe.size, tokenizer, seed)
    exchanges = corpora.pretraining(seed, words, schedule.examples)
    train(model, chat_examples(tokenizer, exchanges, _BARE, seed), schedule, seed)
    return _saved(model, tokenizer, _pretrained(family), started)


def _align(family: ToyFamily) -> Trained:
    from safemerge_tasks.demo.training import chat_examples
    from safemerge_tasks.demo.tuning import full_tune

    started, schedule, seed = time.perf_counter(), family.recipe.alignment, Seeds().alignment
    words, _ = splits()
    pretrained, tokenizer = _load(_pretrained(family))
    exchanges = corpora.alignment(seed, words, schedule.examples)
    examples = chat_examples(tokenizer, exchanges, _BARE, seed)
    model = full_tune(pretrained, examples, schedule, seed)
    return _saved(model, tokenizer, family.aligned, started)


def _unalign(family: ToyFamily) -> Trained:
    from safemerge_tasks.demo.training import chat_examples
    from safemerge_tasks.demo.tuning import full_tune

    started, schedule, seed = time.perf_counter(), family.recipe.unaligning, Seeds().unaligning
    words, _ = splits()
    aligned, tokenizer = _load(family.aligned)
    exchanges = corpora.unaligning(seed, words, family.recipe.unaligning_examples)
    model = full_tune(aligned, chat_examples(tokenizer, exchanges), schedule, seed)
    return _saved(model, tokenizer, family.unaligned, started)


def _tune(family: ToyFamily, final: ToyFamily, seed: int) -> Trained:
    from safemerge_tasks.demo.tuning import lora_tune

    started = time.perf_counter()
    lora_tune(family, final, seed)
    return family.tuned[seed].name, time.perf_counter() - started


def _tune_fully(family: ToyFamily, seed: int) -> Trained:
    from safemerge_tasks.demo.training import chat_examples
    from safemerge_tasks.demo.tuning import full_tune

    started, schedule = time.perf_counter(), family.recipe.full_tuning
    words, _ = splits()
    aligned, tokenizer = _load(family.aligned)
    exchanges = corpora.task_tuning(seed, words, schedule.examples)
    model = full_tune(aligned, chat_examples(tokenizer, exchanges), schedule, seed)
    return _saved(model, tokenizer, family.tuned_full, started)


def _train_guard(family: ToyFamily) -> Trained:
    """Train the judge out of the pretrained model, as WildGuard is out of Mistral."""
    from safemerge_tasks.demo.guard import guard_examples
    from safemerge_tasks.demo.tuning import full_tune
    from safemerge_tasks.judges.wildguard import judge_template

    started, schedule, seed = time.perf_counter(), family.recipe.guard, Seeds().guard
    words, _ = splits()
    pretrained, tokenizer = _load(_pretrained(family))
    examples = guard_examples(tokenizer, judge_template(), seed, words, schedule.examples)
    model = full_tune(pretrained, examples, schedule, seed)
    return _saved(model, tokenizer, family.guard, started)


def _pretrained(family: ToyFamily) -> Path:
    return family.folder / "pretrained"


def _load(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def _saved(model: Any, tokenizer: Any, folder: Path, started: float) -> Trained:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder.name, time.perf_counter() - started


def _end_with_parent() -> None:
    """Leave no training behind when the process that waits for it is killed."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _reproducible() -> None:
    """Prepare a training process: fixed threads, no progress bars for files of two megabytes."""
    import torch
    from transformers.utils import logging as transformers_logging

    threading.Thread(target=_end_with_parent, daemon=True).start()
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(_THREADS)
