"""lm-eval's own Hugging Face model, one variant after the other."""

import gc
from collections.abc import Sequence
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM

from safemerge_tasks.sweep.serving.asked import Asked, EngineSettings, Listener
from safemerge_tasks.sweep.serving.lm_eval_answers import DEFAULT_SEED, answer, versions
from safemerge_tasks.sweep.serving.recording import Recording

# lm-eval looks for the largest batch that fits by running out of memory, which a CPU never does.
CPU_BATCH = 32


def adapters(
    base: str,
    asked: Sequence[tuple[Asked, Recording]],
    engine: EngineSettings,
    listener: Listener,
) -> None:
    """Load the base anew for every adapter."""
    _answer_each(base, asked, engine, listener)


def checkpoints(
    asked: Sequence[tuple[Asked, Recording]],
    engine: EngineSettings,
    listener: Listener,
) -> None:
    """Load one checkpoint after the other."""
    _answer_each(None, asked, engine, listener)


def _answer_each(
    base: str | None,
    asked: Sequence[tuple[Asked, Recording]],
    engine: EngineSettings,
    listener: Listener,
) -> None:
    total = sum(len(recording.requests) for _, recording in asked)
    answered = 0
    for one, recording in asked:
        if listener.unwanted(one):
            continue
        arguments = {"pretrained": base or str(one.checkpoint), **engine.model_args}
        if one.adapter is not None:
            arguments["peft"] = str(one.adapter)
        # HFLM's own default, plain `cuda`, fails where there is none.
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
        model = HFLM(
            tokenizer=recording.evaluation.base,
            batch_size=_batch_size(engine),
            **{"device": device, **arguments},
        )
        _tell_batches(model, listener, answered, total)
        # HFLM takes no seed for a request, so sampled responses depend on the batches.
        torch.manual_seed(DEFAULT_SEED)
        about = {"model": "hf", "model_args": arguments, "versions": versions("peft")}
        answer(model, recording, about, seed=None).save(one.out)
        del model
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        answered += len(recording.requests)
        if listener.progress is not None:
            listener.progress(answered, total)
        listener.done(one.name)


def _tell_batches(model: HFLM, listener: Listener, answered: int, total: int) -> None:
    """Have each batch give a sign of life: a variant's requests may take hours."""
    if listener.progress is None:
        return
    tell = listener.progress

    def telling(own: Any) -> Any:
        def told(*args: Any, **kwargs: Any) -> Any:
            tell(answered, total)
            return own(*args, **kwargs)

        return told

    for name in ("_model_generate", "_model_call"):
        setattr(model, name, telling(getattr(model, name)))


def _batch_size(engine: EngineSettings) -> int | str:
    if engine.batch_size == "auto" and not torch.cuda.is_available():
        return CPU_BATCH
    return engine.batch_size
