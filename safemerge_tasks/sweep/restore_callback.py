"""`RestoreCallback`: repair at the end of a training with transformers' or TRL's trainers."""

from pathlib import Path
from typing import Any

from rich.console import Console
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.report.renderers.terminal import print_document
from safemerge_tasks.sweep.prepare import default_store
from safemerge_tasks.sweep.repaired import Repaired
from safemerge_tasks.sweep.restore import Request, repair
from safemerge_tasks.sweep.restored_page import restored_document

FOLDER = "before-restore"
"""Where, in the trainer's output folder, the model is as the training left it."""


class RestoreCallback(TrainerCallback):  # type: ignore[misc]
    """Repairs what was trained: `callbacks=[RestoreCallback(max_asr=0.05, utility=…, out=…)]`.

    It saves the model, moves it off the GPU meanwhile, and does what `safemerge restore` does. The
    model has to be whole in the first process: not for FSDP or DeepSpeed's third stage.

    Args:
        max_asr: limit of the attack success rate.
        utility: task that it has to keep.
        out: folder for the repaired model.
        base: the aligned model; else the one that the adapter names.
        more: further fields of `safemerge_tasks.sweep.restore.Request`.

    Attributes:
        repaired: how it ended; None before.
    """

    def __init__(
        self, *, max_asr: float, utility: str, out: str | Path, base: str | None = None, **more: Any
    ) -> None:
        self._given = {"max_asr": max_asr, "utility": utility, "out": Path(out), **more}
        self._base = base
        self.repaired: Repaired | None = None

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002 - the trainer's interface
        **parts: Any,
    ) -> None:
        """Save the model and repair it.

        Raises:
            SafemergeError: the base is not known, or the repair cannot be done.
        """
        if not state.is_world_process_zero:
            return
        model, tokenizer = parts["model"], parts.get("processing_class")
        base = self._base or _base_of(model)
        tuned = Path(args.output_dir) / FOLDER
        model.save_pretrained(tuned)
        if tokenizer is not None:
            tokenizer.save_pretrained(tuned)
        device = model.device
        _free(model)
        console = Console()
        try:
            request = Request(base=base, tuned=str(tuned.resolve()), **self._given)
            self.repaired = repair(request, default_store(), console)
        finally:
            model.to(device)
        print_document(restored_document(self.repaired), console)


def _base_of(model: Any) -> str:
    for config in getattr(model, "peft_config", {}).values():
        if name := config.base_model_name_or_path:
            return str(name)
    raise SafemergeError("RestoreCallback: name the aligned model, base=…; no adapter names it.")


def _free(model: Any) -> None:
    """Make room for the engines that measure."""
    import gc

    import torch

    if model.device.type == "cuda":
        model.to("cpu")
        gc.collect()
        torch.cuda.empty_cache()
