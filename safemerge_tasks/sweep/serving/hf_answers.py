"""lm-eval's own Hugging Face model, one variant after the other."""

import gc
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep.serving.asked import Asked, EngineSettings, Listener
from safemerge_tasks.sweep.serving.lm_eval_answers import DEFAULT_SEED, answer, versions
from safemerge_tasks.sweep.serving.progress import Counter
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
    counter = Counter(listener.progress, sum(len(recording.requests) for _, recording in asked))
    _answer_each(base, asked, engine, listener, counter)


def checkpoints(
    asked: Sequence[tuple[Asked, Recording]],
    engine: EngineSettings,
    listener: Listener,
    scratch: Path,
) -> None:
    """Load one checkpoint after the other; a merge is one for as long as it is asked."""
    counter = Counter(listener.progress, sum(len(recording.requests) for _, recording in asked))
    for _, group in groupby(asked, key=lambda pair: pair[0].weights):
        if not (pairs := [pair for pair in group if not listener.unwanted(pair[0])]):
            continue
        folder, merge = pairs[0][0].checkpoint, pairs[0][0].merge
        with ExitStack() as stack:
            try:
                if merge:
                    folder = stack.enter_context(merge.written(scratch / "checkpoint"))
            except SafemergeError as error:
                listener.all_failed(pairs, str(error))
            else:
                _answer_each(str(folder), pairs, engine, listener, counter)


def _answer_each(
    weights: str,
    asked: Sequence[tuple[Asked, Recording]],
    engine: EngineSettings,
    listener: Listener,
    counter: Counter,
) -> None:
    on_gpu = torch.cuda.is_available()
    batch = CPU_BATCH if engine.batch_size == "auto" and not on_gpu else engine.batch_size
    # HFLM's own default, plain `cuda`, fails where there is none.
    device = "cuda:0" if on_gpu else "cpu"
    for one, recording in asked:
        if listener.unwanted(one):
            continue
        arguments = {"pretrained": weights, **engine.model_args}
        if one.adapter is not None:
            arguments["peft"] = str(one.adapter)
        model = HFLM(
            tokenizer=recording.evaluation.base,
            batch_size=batch,
            **{"device": device, **arguments},
        )
        _tell_batches(model, counter)
        # HFLM takes no seed for a request, so sampled responses depend on the batches.
        torch.manual_seed(DEFAULT_SEED)
        about = {"model": "hf", "model_args": arguments, "versions": versions("peft")}
        if one.merge is not None:
            about["merge"] = one.merge.recipe
        answer(model, recording, about, seed=None).save(one.out)
        del model
        gc.collect()
        if on_gpu:
            torch.cuda.empty_cache()
        counter.add(len(recording.requests))
        listener.done(one.name)


def _tell_batches(model: HFLM, counter: Counter) -> None:
    """Have each batch give a sign of life: a variant's requests may take hours."""

    def telling(own: Any) -> Any:
        def told(*args: Any, **kwargs: Any) -> Any:
            counter.add(0)
            return own(*args, **kwargs)

        return told

    for name in ("_model_generate", "_model_call"):
        setattr(model, name, telling(getattr(model, name)))
