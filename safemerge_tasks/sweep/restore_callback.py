"""`RestoreCallback`: repair at the end of a training with transformers' or TRL's trainers."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.console import Console
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.validation import unknown_key
from safemerge_tasks.report.renderers.terminal import print_document
from safemerge_tasks.sweep.prepare import check_settings, default_store
from safemerge_tasks.sweep.questions import read_questions
from safemerge_tasks.sweep.repaired import Repaired
from safemerge_tasks.sweep.restore import Request, refuse_out, repair, sweep_of
from safemerge_tasks.sweep.restored_page import restored_document
from safemerge_tasks.toy.references import resolve

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
        known = [one.name for one in fields(Request) if one.name not in ("base", "tuned")]
        for name in more:
            if name not in known:
                raise SafemergeError(str(unknown_key(name, known, "a setting of RestoreCallback")))
        self._given = {"max_asr": max_asr, "utility": utility, "out": Path(out), **more}
        self._base = base
        self.repaired: Repaired | None = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002 - the trainer's interface
        **parts: Any,
    ) -> None:
        """Find out before the training what would make the repair fail after it.

        Raises:
            SafemergeError: something would.
        """
        if state.is_world_process_zero:
            request = self._request(args, parts["model"])
            _refuse_parts_of_a_model(args)
            _refuse_places(request)
            refuse_out(request)
            check_settings(spec := sweep_of(request), default_store())
            read_questions(spec, default_store())

    def _request(self, args: TrainingArguments, model: Any) -> Request:
        tuned = str((Path(args.output_dir) / FOLDER).absolute())
        return Request(base=self._base or _base_of(model), tuned=tuned, **self._given)

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
        request = self._request(args, model)
        # What an earlier training left there may be an adapter, and this a model.
        shutil.rmtree(request.tuned, ignore_errors=True)
        model.save_pretrained(request.tuned)
        if tokenizer is not None:
            tokenizer.save_pretrained(request.tuned)
        console = Console()
        with _freed(model):
            self.repaired = repair(request, default_store(), console)
        print_document(restored_document(self.repaired), console)


def _refuse_parts_of_a_model(args: TrainingArguments) -> None:
    from transformers.integrations import is_deepspeed_zero3_enabled

    sharded = args.fsdp or os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"
    if sharded or is_deepspeed_zero3_enabled():
        raise SafemergeError(
            "RestoreCallback: under FSDP and DeepSpeed's third stage no process holds the whole "
            "model; save it, and run `safemerge restore`."
        )


def _refuse_places(request: Request) -> None:
    """Refuse places that saving the model would replace."""
    saved = Path(request.tuned)
    if saved.is_symlink():
        raise SafemergeError(f"{saved} is a link, and the model is saved there; remove it.")
    for name, place in (("base", Path(resolve(request.base))), ("out", request.out)):
        if place.expanduser().resolve().is_relative_to(saved.resolve()):
            raise SafemergeError(
                f"RestoreCallback: {name} {place} lies in {saved}, which is replaced by what was "
                "trained; name another place, or another output_dir."
            )


def _base_of(model: Any) -> str:
    for config in getattr(model, "peft_config", {}).values():
        if name := config.base_model_name_or_path:
            return str(name)
    raise SafemergeError("RestoreCallback: name the aligned model, base=…; no adapter names it.")


@contextmanager
def _freed(model: Any) -> Iterator[None]:
    """Make room for the engines that measure; what is quantised or on several GPUs stays there."""
    import gc

    import torch

    spread = len({*(getattr(model, "hf_device_map", None) or {}).values()}) > 1
    device = model.device
    if device.type != "cuda" or spread or getattr(model, "is_quantized", False):
        yield
        return
    model.to("cpu")
    gc.collect()
    torch.cuda.empty_cache()
    try:
        yield
    finally:
        model.to(device)
