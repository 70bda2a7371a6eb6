"""Everything about a fine-tuning that can be told and checked before any training."""

import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import quantiles
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.finetune.base import Base, need_trl
from safemerge_tasks.finetune.config import FinetuneConfig, Lora
from safemerge_tasks.finetune.data import load_data
from safemerge_tasks.finetune.encoded import encode_data
from safemerge_tasks.finetune.steps import batches_of, steps_of

_FLOAT32 = 4
# Weights and AdamW's two moments.
_STATE = 3


@dataclass(frozen=True)
class Outlook:
    """What a fine-tuning will be.

    Attributes:
        rows: training rows.
        validation_rows: rows for the validation loss.
        steps: until training stops.
        schedule_steps: that the learning rate follows.
        tokens: computed in all steps together, prompts included, on average.
        adapter_bytes: of the result; for full tuning the checkpoint's.
        working_bytes: the most that checkpoints and result take on the disk at once.
        notes: what one may want to know, a sentence each.
    """

    rows: int
    validation_rows: int
    steps: int
    schedule_steps: int
    tokens: int
    adapter_bytes: int
    working_bytes: int
    notes: tuple[str, ...]


def check(config: FinetuneConfig, seed: int, out: Path | None = None) -> Outlook:
    """Check data, base, chat template, lengths and disk space; no weight is read.

    Args:
        config: what is to be trained.
        seed: of the fine-tuning.
        out: where the result is to go, if it is known.

    Raises:
        SafemergeError: anything of it is wrong.
    """
    need_trl()
    batches_of(config, 1)
    base, data = Base.of(config), load_data(config, seed)
    base.check_weights()
    rows = encode_data(config, seed, base)
    steps = steps_of(config, len(rows.train))
    lengths = [len(row.ids) for row in rows.train]
    result, working = _bytes(config, base)
    notes = [
        f"Rows have {min(lengths)} to {max(lengths)} tokens, half of them at most "
        f"{quantiles(lengths, n=2)[0] if len(lengths) > 1 else lengths[0]:.0f}."
    ]
    if rows.cut:
        notes.append(f"{rows.cut} responses are cut off at {config.cutoff_length} tokens.")
    if rows.dropped:
        notes.append(
            f"{rows.dropped} rows are left out: their prompt alone has {config.cutoff_length} "
            "tokens or more."
        )
    if data.left_out:
        notes.append(f"{data.left_out} rows are left out: a validation row asks the same.")
    if data.system_prompt:
        notes.append(f"The system prompt is {rows.system_prompt}.")
    if config.checkpoint_step is not None and config.checkpoint_step > steps.schedule:
        notes.append(
            f"checkpoint_step {config.checkpoint_step} is never reached: {config.epochs} epochs "
            f"are {steps.schedule} steps."
        )
    if out is not None:
        _check_disk(out, working)
    tokens = round(sum(lengths) / len(lengths) * config.batch_size * steps.last)
    return Outlook(
        rows=len(rows.train),
        validation_rows=len(rows.validation),
        steps=steps.last,
        schedule_steps=steps.schedule,
        tokens=tokens,
        adapter_bytes=result,
        working_bytes=working,
        notes=tuple(notes),
    )


def _bytes(config: FinetuneConfig, base: Base) -> tuple[int, int]:
    """Return the bytes of the result, and of all that is on the disk for it at the worst moment."""
    trained, own = _parameters(base, config.lora if config.tuning == "lora" else None)
    result = own if config.tuning == "full" else trained * _FLOAT32
    # A checkpoint is complete before the one before it goes.
    return result, 2 * _STATE * _FLOAT32 * trained + result


@cache
def _parameters(base: Base, lora: Lora | None) -> tuple[int, int]:
    """Return how many parameters are trained, and the base's bytes in its own dtype."""
    from peft import get_peft_model

    from safemerge_tasks.finetune.training import lora_config

    model: Any = base.empty_model(base.config.dtype)
    own = sum(p.numel() * p.element_size() for p in model.parameters())
    if lora is not None:
        try:
            model = get_peft_model(model, lora_config(lora))
        except ValueError as error:
            raise SafemergeError(
                f"lora.target_modules {lora.target_modules!r} names no linear layer of "
                f"{base.path}; give all-linear or the ends of their names."
            ) from error
    return sum(p.numel() for p in model.parameters() if p.requires_grad), own


def _check_disk(out: Path, needed: int) -> None:
    place = next(parent for parent in out.absolute().parents if parent.is_dir())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise SafemergeError(
            f"{place} has {free / 1e9:.1f} GB free, but checkpoints and result take up to "
            f"{needed / 1e9:.1f} GB; free space there or choose another --out."
        )
