"""lm-eval's own Hugging Face model, one variant after the other."""

import gc
from collections.abc import Sequence

import torch
from lm_eval.models.huggingface import HFLM

from safemerge_tasks.sweep.serving.asked import Asked, Done, EngineSettings, OnAnswered
from safemerge_tasks.sweep.serving.lm_eval_answers import DEFAULT_SEED, answer, versions
from safemerge_tasks.sweep.serving.recording import Recording

# lm-eval looks for the largest batch that fits by running out of memory, which a CPU never does.
CPU_BATCH = 32


def adapters(
    base: str,
    asked: Sequence[tuple[Asked, Recording]],
    engine: EngineSettings,
    done: Done,
    progress: OnAnswered | None,
) -> None:
    """Load the base anew for every adapter."""
    _answer_each(base, asked, engine, done, progress)


def checkpoints(
    asked: Sequence[tuple[Asked, Recording]],
    engine: EngineSettings,
    done: Done,
    progress: OnAnswered | None,
) -> None:
    """Load one checkpoint after the other."""
    _answer_each(None, asked, engine, done, progress)


def _answer_each(
    base: str | None,
    asked: Sequence[tuple[Asked, Recording]],
    engine: EngineSettings,
    done: Done,
    progress: OnAnswered | None,
) -> None:
    total = sum(len(recording.requests) for _, recording in asked)
    answered = 0
    for one, recording in asked:
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
        # HFLM takes no seed for a request, so sampled responses depend on the batches.
        torch.manual_seed(DEFAULT_SEED)
        about = {"model": "hf", "model_args": arguments, "versions": versions("peft")}
        answer(model, recording, about, seed=None).save(one.out)
        del model
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        answered += len(recording.requests)
        if progress is not None:
            progress(answered, total)
        done(one.name)


def _batch_size(engine: EngineSettings) -> int | str:
    if engine.batch_size == "auto" and not torch.cuda.is_available():
        return CPU_BATCH
    return engine.batch_size
