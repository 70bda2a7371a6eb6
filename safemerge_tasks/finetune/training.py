"""The training itself: TRL's `SFTTrainer` on rows that are already token ids."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset
from peft import LoraConfig
from peft.helpers import disable_input_dtype_casting
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.finetune.base import Base
from safemerge_tasks.finetune.checkpoints import mark_complete
from safemerge_tasks.finetune.config import FinetuneConfig, Lora
from safemerge_tasks.finetune.encoded import EncodedData
from safemerge_tasks.finetune.labelled_positions import labelled_loss
from safemerge_tasks.finetune.memory import fits_without_checkpoints
from safemerge_tasks.finetune.rendering import Encoded
from safemerge_tasks.finetune.steps import Steps, batches_of

OnStep = Callable[[int, int], None]


def train(
    config: FinetuneConfig,
    seed: int,
    base: Base,
    rows: EncodedData,
    steps: Steps,
    work: Path,
    resume_from: Path | None,
    progress: OnStep,
) -> None:
    """Train up to the last step; checkpoints are left in `work`, the last of them complete.

    Raises:
        SafemergeError: the loss became infinite or not a number.
    """
    trainer = make_trainer(config, seed, base, rows, steps, work)
    trainer.add_callback(_Progress(progress, steps))
    # Autocast makes an adapter's inputs what they have to be; peft would make them float32 before.
    autocast = trainer.args.bf16 and config.tuning == "lora"
    with disable_input_dtype_casting(trainer.model, autocast):
        trainer.train(resume_from_checkpoint=None if resume_from is None else str(resume_from))


def make_trainer(
    config: FinetuneConfig,
    seed: int,
    base: Base,
    rows: EncodedData,
    steps: Steps,
    work: Path,
) -> SFTTrainer:
    """Return the trainer, its model loaded and, for LoRA, its adapter drawn from the seed."""
    half = uses_bfloat16(config)
    # An adapter trains in float32 beside weights in bfloat16; weights that train are float32
    # themselves, or small updates would be rounded away.
    frozen_half = half and config.tuning == "lora"
    checkpoints = _checkpoints(config, base, rows, half)
    trainer = _Trainer(
        model=base.model(torch.bfloat16 if frozen_half else torch.float32),
        args=_arguments(config, seed, work, half, checkpoints=checkpoints),
        train_dataset=_dataset(rows.train),
        eval_dataset=_dataset(rows.validation) if rows.validation else None,
        processing_class=base.tokenizer,
        peft_config=lora_config(config.lora) if config.tuning == "lora" else None,
        callbacks=[
            _Stop(steps.last, evaluate=bool(rows.validation)),
            _Finite(),
            _Complete(work),
        ],
    )
    # Only what is read: it prints every step's loss.
    trainer.remove_callback(PrinterCallback)
    return trainer


def uses_bfloat16(config: FinetuneConfig) -> bool:
    """Whether this machine computes the configuration in bfloat16."""
    if config.dtype != "auto":
        return config.dtype == "bfloat16"
    if config.device == "auto" and torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    # Others convert every number to float32 and back. x86's and ARM's names.
    units = ("amx_bf16", "avx512_bf16", "bf16")
    return any(torch.cpu.get_capabilities().get(unit) for unit in units)


def lora_config(lora: Lora) -> LoraConfig:
    """Return peft's configuration of the adapter."""
    targets = lora.target_modules
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )


def _checkpoints(config: FinetuneConfig, base: Base, rows: EncodedData, half: bool) -> bool:
    """Whether activations are computed again in the backward pass rather than kept."""
    if config.gradient_checkpointing != "auto":
        return config.gradient_checkpointing
    longest = max(len(row.ids) for row in rows.train)
    tokens = longest * batches_of(config, PartialState().num_processes).rows
    return not fits_without_checkpoints(
        base.config.get_text_config(), tokens, half=half, cpu=config.device == "cpu"
    )


def _arguments(
    config: FinetuneConfig, seed: int, work: Path, half: bool, *, checkpoints: bool
) -> SFTConfig:
    batches = batches_of(config, PartialState().num_processes)
    arguments = SFTConfig(
        output_dir=str(work),
        seed=seed,
        per_device_train_batch_size=batches.rows,
        per_device_eval_batch_size=batches.rows,
        gradient_accumulation_steps=batches.accumulated,
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.schedule,
        warmup_steps=config.warmup_ratio,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        optim="adamw_torch_fused",
        bf16=half,
        use_cpu=config.device == "cpu" or not torch.accelerator.is_available(),
        gradient_checkpointing=checkpoints,
        # Every step, so that a resumed run's history is that of an undisturbed one.
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_steps=config.save_every,
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=torch.cuda.is_available(),
        ddp_find_unused_parameters=False,
        # The rows are token ids with labels, cut to length: nothing is left to prepare.
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
    )
    if arguments.n_gpu > 1:
        # Without a launcher the trainer would split batches over all visible GPUs by threads,
        # which TRL refuses; several GPUs are `accelerate launch`'s.
        arguments._n_gpu = 1
    return arguments


def _dataset(rows: Sequence[Encoded]) -> Dataset:
    return Dataset.from_dict(
        {"input_ids": [row.ids for row in rows], "labels": [row.labels for row in rows]}
    )


class _Trainer(SFTTrainer):  # type: ignore[misc]
    """TRL's trainer with a loss for CPUs, and without a model card in every checkpoint."""

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the loss of a batch, for `return_outputs` with no outputs where a CPU has it."""
        head = self.model.get_output_embeddings()
        if (
            inputs["labels"].device.type != "cpu"
            or self.accelerator.num_processes > 1
            or self.aux_loss_enabled
            or head is None
        ):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        loss = labelled_loss(model, head, inputs, num_items_in_batch)
        return (loss, {}) if return_outputs else loss

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none."""


class _Stop(TrainerCallback):  # type: ignore[misc]
    """Ends training at a step; the learning rate's schedule does not know of it."""

    def __init__(self, last: int, *, evaluate: bool) -> None:
        self.last = last
        self.evaluate = evaluate

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Ask for the validation loss, a checkpoint and the end."""
        if state.global_step >= self.last:
            control.should_evaluate = self.evaluate
            control.should_save = True
            control.should_training_stop = True


class _Finite(TrainerCallback):  # type: ignore[misc]
    """Ends a training that diverged, before it wastes hours and writes a broken model."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
        """Check the step's loss."""
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise SafemergeError(
                f"The loss is {loss} at step {state.global_step}: lower learning_rate, or look for "
                "rows that are not text."
            )


class _Complete(TrainerCallback):  # type: ignore[misc]
    """Marks a checkpoint once every process has written its part of it."""

    def __init__(self, work: Path) -> None:
        self.work = work

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Mark it and remove the earlier ones."""
        processes = PartialState()
        processes.wait_for_everyone()
        if processes.is_main_process:
            mark_complete(self.work, state.global_step)
        processes.wait_for_everyone()


class _Progress(TrainerCallback):  # type: ignore[misc]
    """Tells the number of finished steps."""

    def __init__(self, progress: OnStep, steps: Steps) -> None:
        self.progress = progress
        self.steps = steps

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Tell it."""
        if PartialState().is_main_process:
            self.progress(state.global_step, self.steps.last)
