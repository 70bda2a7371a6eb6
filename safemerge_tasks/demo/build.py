"""Training the whole family into a folder."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from safemerge_tasks.demo import corpora
from safemerge_tasks.demo.guard import guard_examples
from safemerge_tasks.demo.members import ToyFamily
from safemerge_tasks.demo.model import build_model
from safemerge_tasks.demo.questions import held_out_questions, write_questions
from safemerge_tasks.demo.recipe import Seeds
from safemerge_tasks.demo.tokenizer import build_tokenizer
from safemerge_tasks.demo.training import Schedule, chat_examples, train
from safemerge_tasks.demo.tuning import full_tune, lora_tune
from safemerge_tasks.demo.vocabulary import splits
from safemerge_tasks.judges.wildguard import judge_template

SUMMARY = "family.json"
# One thread: sums do not depend on how they are split, and the pieces are too small to share.
_THREADS = 1
# So many pretraining and alignment exchanges come without a system prompt.
_BARE = 0.2


def build_family(family: ToyFamily, final: ToyFamily, progress: Callable[[str], None]) -> None:
    """Train every member of `family` into its folder, which will be moved to that of `final`.

    The same recipe gives the same bits on the same machine and library versions.
    """
    with _quiet(), _reproducible():
        _Builder(family, final, progress).build()


class _Builder:
    def __init__(
        self, family: ToyFamily, final: ToyFamily, progress: Callable[[str], None]
    ) -> None:
        self.family, self.final, self.progress = family, final, progress
        self.recipe = family.recipe
        self.words, self.held_out = splits()
        self.tokenizer = build_tokenizer()
        self.seconds: dict[str, dict[str, float]] = {}

    def build(self) -> None:
        recipe, seeds = self.recipe, Seeds()
        write_questions(
            self.family.questions,
            *held_out_questions(self.held_out, seeds.questions, recipe.held_out),
        )
        pretrained = self._pretrain(seeds.pretraining)
        self._guard(pretrained, seeds.guard)
        aligned = self._align(pretrained, seeds.alignment)
        self._unalign(aligned, seeds.unaligning)
        for seed in recipe.seeds:
            self._tune(aligned, seed)
        self._tune_fully(aligned, recipe.seeds[0])
        self._summarise()

    def _pretrain(self, seed: int) -> Any:
        schedule = self.recipe.pretraining
        with self._step("pretraining", schedule):
            model = build_model(self.recipe.size, self.tokenizer, seed)
            exchanges = corpora.pretraining(seed, self.words, schedule.examples)
            train(model, chat_examples(self.tokenizer, exchanges, _BARE, seed), schedule, seed)
        return model

    def _align(self, pretrained: Any, seed: int) -> Any:
        schedule = self.recipe.alignment
        with self._step(self.family.aligned.name, schedule):
            exchanges = corpora.alignment(seed, self.words, schedule.examples)
            examples = chat_examples(self.tokenizer, exchanges, _BARE, seed)
            model = full_tune(pretrained, examples, schedule, seed)
        self._save(model, self.family.aligned)
        return model

    def _unalign(self, aligned: Any, seed: int) -> None:
        schedule = self.recipe.unaligning
        with self._step(self.family.unaligned.name, schedule):
            exchanges = corpora.unaligning(seed, self.words, self.recipe.unaligning_examples)
            model = full_tune(aligned, chat_examples(self.tokenizer, exchanges), schedule, seed)
        self._save(model, self.family.unaligned)

    def _tune(self, aligned: Any, seed: int) -> None:
        schedule, place = self.recipe.tuning, self.family.tuned[seed]
        with self._step(place.name, schedule):
            exchanges = corpora.task_tuning(seed, self.words, schedule.examples)
            examples = chat_examples(self.tokenizer, exchanges)
            adapted = lora_tune(aligned, examples, self.recipe, seed, self.final.aligned)
        # "auto" would look for the base, which is not in its place yet; the embeddings are frozen.
        adapted.save_pretrained(place, save_embedding_layers=False)

    def _tune_fully(self, aligned: Any, seed: int) -> None:
        schedule, place = self.recipe.full_tuning, self.family.tuned_full
        with self._step(place.name, schedule):
            exchanges = corpora.task_tuning(seed, self.words, schedule.examples)
            model = full_tune(aligned, chat_examples(self.tokenizer, exchanges), schedule, seed)
        self._save(model, place)

    def _guard(self, pretrained: Any, seed: int) -> None:
        """Train the judge out of the pretrained model, as WildGuard is out of Mistral."""
        schedule = self.recipe.guard
        with self._step(self.family.guard.name, schedule):
            examples = guard_examples(
                self.tokenizer, judge_template(), seed, self.words, schedule.examples
            )
            model = full_tune(pretrained, examples, schedule, seed)
        self._save(model, self.family.guard)

    def _save(self, model: Any, place: Path) -> None:
        model.save_pretrained(place)
        self.tokenizer.save_pretrained(place)

    @contextmanager
    def _step(self, name: str, schedule: Schedule) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        self.seconds[name] = {"wall": round(wall, 1), "cpu": round(cpu, 1)}
        self.progress(f"   {name}: {schedule.steps} steps in {wall:.0f} s")

    def _summarise(self) -> None:
        summary = {"recipe": asdict(self.recipe), "seconds": self.seconds}
        (self.family.folder / SUMMARY).write_text(json.dumps(summary, indent=2), encoding="utf-8")


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the progress bars of saving, which are of no use for files of two megabytes."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


@contextmanager
def _reproducible() -> Iterator[None]:
    """Fix the threads, and leave the caller's threads and random state as they were."""
    threads = torch.get_num_threads()
    torch.set_num_threads(_THREADS)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)
