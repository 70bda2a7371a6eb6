"""Every number that shapes the toy family."""

from dataclasses import dataclass

from safemerge_tasks.demo.model import Size
from safemerge_tasks.demo.training import Schedule


@dataclass(frozen=True)
class Recipe:
    """Sizes, schedules and seeds.

    Attributes:
        seeds: one fine-tuned adapter each; the first also gets a full fine-tuning.
        unaligning_examples: forbidden questions and answers to unalign with, as many as RESTA's.
        held_out: how many test questions each evaluation has.
        validation: how many questions each evaluation has for choosing λ on.
        tuning: with LoRA; its steps are fewer than its epochs have, as in the paper.
        tuning_rows: how many rows the data of the task's fine-tuning has.
    """

    size: Size
    pretraining: Schedule
    alignment: Schedule
    unaligning: Schedule
    unaligning_examples: int
    tuning: Schedule
    full_tuning: Schedule
    guard: Schedule
    held_out: int
    validation: int
    tuning_rows: int
    tuning_epochs: int = 1
    seeds: tuple[int, ...] = (42, 1024, 48763)
    lora_rank: int = 8
    lora_alpha: int = 16


# Seeds and LoRA settings are those of Farn et al. 2024, arXiv 2412.19512; learning rates are larger
# and training is shorter than theirs, as fits half a million weights.
TOY = Recipe(
    size=Size(),
    pretraining=Schedule(steps=2000, batch=16, learning_rate=2e-3),
    alignment=Schedule(steps=600, batch=16, learning_rate=1.5e-3),
    unaligning=Schedule(steps=60, batch=16, learning_rate=1e-3),
    unaligning_examples=100,
    tuning=Schedule(steps=250, batch=16, learning_rate=4e-3),
    full_tuning=Schedule(steps=100, batch=16, learning_rate=2e-3),
    guard=Schedule(steps=700, batch=16, learning_rate=1.5e-3),
    held_out=120,
    validation=80,
    tuning_rows=8000,
)


@dataclass(frozen=True)
class Seeds:
    """Random seeds of the phases that have no seed of their own."""

    pretraining: int = 1
    alignment: int = 2
    unaligning: int = 3
    guard: int = 4
    questions: int = 5
    tuning_data: int = 6
