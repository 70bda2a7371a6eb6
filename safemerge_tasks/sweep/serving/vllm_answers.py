"""lm-eval's own vLLM model on one engine for many variants."""

import copy
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lm_eval.models.vllm_causallms import VLLM
from vllm.lora.request import LoRARequest
from vllm.platforms import current_platform

from safemerge_tasks.errors import SafemergeError
from safemerge_tasks.judges.engines.vllm import CPU_CACHE_BYTES, shut_down
from safemerge_tasks.sweep.serving.adapters import check_servable, max_lora_rank
from safemerge_tasks.sweep.serving.asked import Asked, Done, EngineSettings, Progress
from safemerge_tasks.sweep.serving.checkpoints import is_quantised, shape
from safemerge_tasks.sweep.serving.lm_eval_answers import DEFAULT_SEED, answer, versions
from safemerge_tasks.sweep.serving.progress import Counter
from safemerge_tasks.sweep.serving.recording import Recording
from safemerge_tasks.sweep.serving.rendezvous import Ask, Member, Rendezvous

_log = logging.getLogger(__name__)

# Memory is set aside for so many adapters. Requests come variant by variant, so that a batch
# rarely holds more.
MOST_LORAS = 8


def adapters(
    base: str,
    asked: Sequence[tuple[Asked, Recording]],
    engine: EngineSettings,
    done: Done,
    progress: Progress | None,
) -> None:
    """Answer with one engine; the requests of all variants go to it together."""
    if not asked:
        return
    # A variant may be asked several recordings; its adapter is loaded once.
    numbers = _numbered(one.adapter for one, _ in asked)
    ranks = [check_servable(adapter) for adapter in numbers]
    tokenizer = _one_tokenizer(asked)
    arguments: dict[str, Any] = {"pretrained": base, **engine.model_args}
    lora: dict[str, Any] = {}
    if ranks:
        lora = {
            "enable_lora": True,
            "max_lora_rank": max_lora_rank(ranks),
            "max_loras": _slots(len(ranks), engine),
            # Every adapter is read once and kept in main memory.
            "max_cpu_loras": max(len(ranks), _slots(len(ranks), engine)),
        }
    counter = Counter(progress, sum(len(recording.requests) for _, recording in asked))
    with _engine({**arguments, **lora}, tokenizer, engine) as model:
        about = _about(model, {**arguments, **lora})
        joint = Rendezvous[_Question, Any](lambda questions: _generate(model, questions, counter))

        def member(one: Asked, recording: Recording) -> Member:
            def run(ask: Ask[Any, Any]) -> None:
                view = _view(model, ask)
                if one.adapter is not None:
                    path = str(one.adapter)
                    view.lora_request = LoRARequest(path, numbers[one.adapter], path)
                facts = {**about, "adapter": str(one.adapter) if one.adapter else None}
                answer(view, recording, facts, _seed(engine)).save(one.out)
                done(one.name)

            return run

        errors = joint.run({one.name: member(one, recording) for one, recording in asked})
    _raise_first(errors)


def checkpoints(
    asked: Sequence[tuple[Asked, Recording]],
    engine: EngineSettings,
    done: Done,
    progress: Progress | None,
) -> None:
    """Answer with one engine for all checkpoints of one shape."""
    counter = Counter(progress, sum(len(recording.requests) for _, recording in asked))
    alike: dict[str, list[tuple[Asked, Recording]]] = {}
    for one, recording in asked:
        assert one.checkpoint is not None
        # The tokenizer is the engine's, not the weights'.
        key = f"{shape(one.checkpoint)} {recording.evaluation.base}"
        if "quantization" in engine.model_args or is_quantised(one.checkpoint):
            # Loading in place was compared with a new engine for plain weights only.
            key = str(one.checkpoint)
        alike.setdefault(key, []).append((one, recording))
    for group in alike.values():
        _answer_in_place(group, engine, done, counter)


def _slots(adapters: int, engine: EngineSettings) -> int:
    """Return how many adapters vLLM shall hold ready for one batch."""
    if current_platform.is_cpu():
        # vLLM's CPU kernels take a request without an adapter for one of the last slot (its index
        # is -1), and slots fill from the first: with one to spare the last stays zero. Seen in
        # 0.32: with as many slots as adapters, the base answered as the last adapter.
        return adapters + 1
    return engine.max_loras or min(adapters, MOST_LORAS)


def _answer_in_place(
    group: Sequence[tuple[Asked, Recording]], engine: EngineSettings, done: Done, counter: Counter
) -> None:
    by_checkpoint: dict[str, list[tuple[Asked, Recording]]] = {}
    for one, recording in group:
        by_checkpoint.setdefault(str(one.checkpoint), []).append((one, recording))
    first = next(iter(by_checkpoint))
    arguments = {"pretrained": first, **engine.model_args}
    with _engine(arguments, _one_tokenizer(group), engine) as model:
        for checkpoint, recordings in by_checkpoint.items():
            if checkpoint != first:
                _load_in_place(model.model, checkpoint)
            arguments["pretrained"] = checkpoint
            facts = {**_about(model, arguments), "loaded_in_place": checkpoint != first}
            for one, recording in recordings:
                view = _view(model, lambda questions: _generate(model, questions, counter))
                answer(view, recording, facts, _seed(engine)).save(one.out)
                done(one.name)


def _numbered(adapters: Iterable[Path | None]) -> dict[Path, int]:
    """Return every adapter once with vLLM's number for it, from 1."""
    distinct = dict.fromkeys(adapter for adapter in adapters if adapter is not None)
    return {adapter: number for number, adapter in enumerate(distinct, 1)}


def _load_in_place(llm: Any, checkpoint: str) -> None:
    """Put other weights into a running engine, and forget what the old ones computed."""
    llm.collective_rpc("reload_weights", kwargs={"weights_path": checkpoint})
    if not llm.reset_prefix_cache():
        raise RuntimeError("vLLM did not reset its prefix cache between two checkpoints")


_Question = tuple[Any, Any, Any]
"""A prompt, its sampling parameters and the adapter that answers it."""


class _JointLLM:
    """Stands for `vllm.LLM` in one variant's view of lm-eval's model."""

    def __init__(self, llm: Any, ask: Callable[[Sequence[_Question]], list[Any]]) -> None:
        self.llm_engine = llm.llm_engine
        self._ask = ask

    def generate(
        self,
        prompts: Sequence[Any],
        sampling_params: Sequence[Any],
        use_tqdm: bool,  # noqa: ARG002 - progress is told for all variants together
        lora_request: Any,
    ) -> list[Any]:
        """Return the outputs once all variants' are there."""
        return self._ask(
            [
                (prompt, how, lora_request)
                for prompt, how in zip(prompts, sampling_params, strict=True)
            ]
        )


def _view(model: VLLM, ask: Callable[[Sequence[_Question]], list[Any]]) -> Any:
    """Return lm-eval's model as one variant sees it: all but the engine calls are lm-eval's."""
    view = copy.copy(model)
    view.model = _JointLLM(model.model, ask)
    return view


def _generate(model: VLLM, questions: Sequence[_Question], counter: Counter) -> list[Any]:
    prompts, parameters, requests = zip(*questions, strict=True)
    outputs: list[Any] = model.model.generate(
        list(prompts),
        sampling_params=list(parameters),
        use_tqdm=counter.bar,
        lora_request=list(requests),
    )
    return outputs


@contextmanager
def _engine(arguments: dict[str, Any], tokenizer: str, engine: EngineSettings) -> Iterator[VLLM]:
    """Start lm-eval's vLLM model and shut its engine down at the end.

    Raises:
        SafemergeError: settings that cannot serve several variants.
    """
    if int(arguments.get("data_parallel_size", 1)) > 1:
        raise SafemergeError(
            "data_parallel_size > 1 starts new engines for every batch; leave it out, a sweep's "
            "steps run beside one another instead."
        )
    if current_platform.is_cpu():
        arguments = {**_cpu_defaults(), **arguments}
    model = VLLM(
        **{"disable_log_stats": True, **arguments},
        tokenizer=tokenizer,
        batch_size=engine.batch_size,
    )
    try:
        yield model
    finally:
        shut_down(model.model)


def _cpu_defaults() -> dict[str, Any]:
    # The engine in this process takes half the time to start, and by default vLLM would claim most
    # of the machine's memory.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    defaults: dict[str, Any] = {"enforce_eager": True, "distributed_executor_backend": "uni"}
    if "VLLM_CPU_KVCACHE_SPACE" not in os.environ:
        defaults["kv_cache_memory_bytes"] = CPU_CACHE_BYTES
    return defaults


def _one_tokenizer(asked: Sequence[tuple[Asked, Recording]]) -> str:
    bases = sorted({recording.evaluation.base for _, recording in asked})
    if len(bases) > 1:
        raise SafemergeError(
            f"The recordings were made with the tokenizers of {bases[0]} and {bases[1]}; one "
            "engine has one."
        )
    return bases[0]


def _seed(engine: EngineSettings) -> int:
    return int(engine.model_args.get("seed", DEFAULT_SEED))


def _about(model: VLLM, arguments: dict[str, Any]) -> dict[str, Any]:
    config = model.model.llm_engine.model_config
    return {
        "model": "vllm",
        "model_args": dict(arguments),
        "dtype": str(config.dtype).removeprefix("torch."),
        "max_model_len": config.max_model_len,
        "platform": current_platform.device_name,
        "versions": versions("vllm"),
    }


def _raise_first(errors: dict[str, BaseException]) -> None:
    for name, error in errors.items():
        error.add_note(f"while {name} answered")
        raise error
