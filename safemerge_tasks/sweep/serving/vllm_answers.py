"""lm-eval's own vLLM model on one engine for many variants."""

import copy
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, Self

from lm_eval.models.vllm_causallms import VLLM
from vllm import SamplingParams
from vllm.lora.request import LoRARequest
from vllm.platforms import current_platform

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges.engines.vllm import CPU_CACHE_BYTES, shut_down
from safemerge_tasks.sweep.serving import worker_extension
from safemerge_tasks.sweep.serving.adapters import check_servable, max_lora_rank
from safemerge_tasks.sweep.serving.asked import Asked, EngineSettings, Listener
from safemerge_tasks.sweep.serving.checkpoints import is_quantised, shape
from safemerge_tasks.sweep.serving.lm_eval_answers import DEFAULT_SEED, answer, versions
from safemerge_tasks.sweep.serving.merges import Merge
from safemerge_tasks.sweep.serving.probe import (
    LIMITS,
    Mismatch,
    compare,
    load_reference,
    log_probabilities,
    probe_tokens,
)
from safemerge_tasks.sweep.serving.progress import Counter
from safemerge_tasks.sweep.serving.recording import GENERATION, Recording
from safemerge_tasks.sweep.serving.rendezvous import Ask, Member, Rendezvous

_log = logging.getLogger(__name__)

# Memory is set aside for so many adapters. Requests come variant by variant, so that a batch
# rarely holds more.
MOST_LORAS = 8

# vLLM's default is 256 requests at once.
MOST_TOGETHER = 1024

_Values = list[float]


def adapters(
    base: str,
    asked: Sequence[tuple[Asked, Recording]],
    engine: EngineSettings,
    listener: Listener,
) -> None:
    """Answer with one engine; the requests of several variants go to it together."""
    asked = [pair for pair in asked if _is_servable(*pair, listener)]
    if not asked:
        return
    tokenizer = _one_tokenizer(asked)
    arguments = {
        **_defaults(asked),
        "pretrained": base,
        **engine.model_args,
        **_lora_arguments(asked, engine),
    }
    # A variant may be asked several recordings; its adapter is loaded once.
    folders = dict.fromkeys(one.adapter for one, _ in asked if one.adapter is not None)
    requests = {
        folder: LoRARequest(str(folder), number, str(folder))
        for number, folder in enumerate(folders, 1)
    }
    counter = Counter(listener.progress, sum(len(recording.requests) for _, recording in asked))
    with _engine(arguments, tokenizer, engine) as model:
        about = _about(model, arguments)
        wrong = _wrong_adapters(model.model, base, requests, engine)
        members = []
        for one, recording in asked:
            if one.adapter in wrong:
                listener.failed(
                    one.name,
                    f"{one.adapter} is not served as it is: {wrong[one.adapter]}; merge it into a "
                    "checkpoint (exact: true).",
                )
                continue
            view = copy.copy(model)
            if one.adapter is not None:
                view.lora_request = requests[one.adapter]
            facts = {**about, "adapter": str(one.adapter) if one.adapter else None}
            members.append((one, recording, view, facts))
        _answer_together(members, model.model, engine, listener, counter)


def _is_servable(one: Asked, recording: Recording, listener: Listener) -> bool:
    """Return whether vLLM can serve a variant for what it is asked; say why if not."""
    if one.adapter is None:
        return True
    try:
        needs = check_servable(one.adapter)
    except SafemergeError as error:
        listener.failed(one.name, str(error))
        return False
    if needs.updates_head and recording.by_kind().keys() - {GENERATION}:
        listener.failed(
            one.name,
            f"{one.adapter} updates lm_head, and vLLM computes likelihoods of whole prompts "
            "without that update; merge it into a checkpoint.",
        )
        return False
    return True


def _wrong_adapters(
    llm: Any, base: str, requests: dict[Path, LoRARequest], engine: EngineSettings
) -> dict[Path, Mismatch]:
    """Return the adapters that the engine does not answer with, and what is wrong."""
    if not (limit := _limit(llm, engine)) or not requests:
        return {}
    reference = _reference(llm, base, engine)
    tokens = _probe(llm)
    plain = log_probabilities(reference, tokens)
    wrong = {}
    for folder, request in requests.items():
        own = log_probabilities(reference, tokens, folder)
        if mismatch := compare(_asked(llm, tokens, request), own, limit, plain):
            wrong[folder] = mismatch
    return wrong


def checkpoints(
    asked: Sequence[tuple[Asked, Recording]],
    engine: EngineSettings,
    listener: Listener,
    scratch: Path,
) -> None:
    """Answer with one engine for all weights of one shape."""
    counter = Counter(listener.progress, sum(len(recording.requests) for _, recording in asked))
    pairs: dict[tuple[str, str], list[tuple[Asked, Recording]]] = {}
    for one, recording in asked:
        # The tokenizer is the engine's, not the weights'.
        pairs.setdefault((one.weights, recording.evaluation.base), []).append((one, recording))
    alike: dict[str, list[_Variant]] = {}
    folders: dict[str, Path] = {}
    for number, ((_, base), some) in enumerate(pairs.items()):
        try:
            variant = _Variant.of(some, scratch / f"{number}")
        except SafemergeError as error:
            listener.all_failed(some, str(error))
            continue
        if variant.merge and variant.form in folders:
            # A tokenizer is megabytes, and merges are many.
            shutil.rmtree(variant.folder)
            variant = replace(variant, folder=folders[variant.form])
        elif variant.merge:
            folders[variant.form] = variant.folder
        key = f"{variant.form} {base}"
        if "quantization" in engine.model_args or is_quantised(variant.folder):
            # Loading in place was compared with a new engine for plain weights only.
            key += f" {number}"
        alike.setdefault(key, []).append(variant)
    for group in alike.values():
        # An engine that began without weights reads no checkpoint later.
        group.sort(key=lambda variant: variant.merge is not None)
        _answer_in_place(group, engine, listener, counter, scratch)


@dataclass(frozen=True)
class _Variant:
    """Whole weights, and who is asked what with them.

    Attributes:
        folder: the checkpoint; of a merge all but its weights.
        merge: what makes the weights that are not in the folder.
        form: what weights have in common that can take each other's place.
        asked: all that they are to answer.
    """

    folder: Path
    merge: Merge | None
    form: str
    asked: Sequence[tuple[Asked, Recording]]

    @classmethod
    def of(cls, asked: Sequence[tuple[Asked, Recording]], scratch: Path) -> Self:
        """Return a variant; what a merge needs beside its weights goes into a new folder.

        Raises:
            SafemergeError: there is no such checkpoint, or the merge cannot be.
        """
        merge, checkpoint = asked[0][0].merge, asked[0][0].checkpoint
        if merge is None:
            assert checkpoint is not None
            return cls(checkpoint, None, shape(checkpoint), asked)
        plan = merge.write_all_but_weights(scratch)
        weights = {tensor.name: (tensor.dtype, list(tensor.shape)) for tensor in plan.tensors}
        return cls(scratch, merge, shape(scratch, weights), asked)

    def put(self, llm: Any) -> None:
        """Put the weights into a running engine, and forget what the old ones computed."""
        merge = asdict(self.merge) if self.merge else None
        llm.collective_rpc("put_weights", args=(str(self.folder), merge))
        if not llm.reset_prefix_cache():
            raise RuntimeError("vLLM did not reset its prefix cache between two checkpoints")

    def log_probabilities(self, llm: Any, engine: EngineSettings) -> _Values:
        """Return what the probe's are by transformers.

        Raises:
            SafemergeError: the merge cannot be done.
        """
        tensors = self.merge.tensors() if self.merge else None
        return log_probabilities(_reference(llm, self.folder, engine, tensors), _probe(llm))


def _lora_arguments(
    asked: Sequence[tuple[Asked, Recording]], engine: EngineSettings
) -> dict[str, Any]:
    """Return the engine's arguments for all adapters; none for the base alone."""
    served = [one.adapter for one, _ in asked if one.adapter is not None]
    if not served:
        return {}
    needs = {adapter: check_servable(adapter) for adapter in served}
    together = reduce(or_, needs.values())
    slots = _slots(len(needs), engine)
    return {
        "enable_lora": True,
        "max_lora_rank": max_lora_rank(together.rank),
        "max_loras": slots,
        # Every adapter is read once and kept in main memory.
        "max_cpu_loras": max(len(needs), slots),
        # Without this vLLM prepares the head for adapters as well. On a CPU likelihoods then fail,
        # and every token gathers an update of the whole vocabulary that is zero.
        "lora_target_modules": sorted(together.modules),
    }


def _slots(adapters: int, engine: EngineSettings) -> int:
    """Return how many adapters vLLM shall hold ready for one batch."""
    if current_platform.is_cpu():
        # vLLM's CPU kernels take a request without an adapter for one of the last slot (its index
        # is -1), and slots fill from the first: with one to spare the last stays zero. Seen in
        # 0.32: with as many slots as adapters, the base answered as the last adapter.
        return adapters + 1
    return engine.max_loras or min(adapters, MOST_LORAS)


def _answer_in_place(
    variants: Sequence[_Variant],
    engine: EngineSettings,
    listener: Listener,
    counter: Counter,
    scratch: Path,
) -> None:
    """Answer with one engine, and a new one wherever that has not the weights that it should.

    A merge that an engine did not take is written, and loaded like any checkpoint.
    """
    everyone = [pair for variant in variants for pair in variant.asked]
    left = list(variants)
    distrusted: _Variant | None = None
    while left:
        first = left[0]
        if first.merge and (first is distrusted or "quantization" in engine.model_args):
            _answer_written(left.pop(0), first.merge, engine, listener, counter, scratch)
            continue
        arguments = {**_defaults(everyone), "pretrained": str(first.folder), **engine.model_args}
        if first.merge:
            # What it starts with is random, so that a tensor which no merge brings is noticed.
            arguments["load_format"] = "dummy"
        before, mismatch = None, None
        with _engine(arguments, _one_tokenizer(everyone), engine) as model:
            limit = _limit(model.model, engine)
            while left and not mismatch:
                variant = left[0]
                in_place = variant is not first or variant.merge is not None
                own = None
                try:
                    if limit:
                        own = variant.log_probabilities(model.model, engine)
                except SafemergeError as error:
                    listener.all_failed(left.pop(0).asked, str(error))
                    continue
                if in_place:
                    variant.put(model.model)
                if limit and own:
                    found = _asked(model.model, _probe(model.model))
                    mismatch, before = compare(found, own, limit, before), own
                if mismatch:
                    break
                arguments["pretrained"] = str(variant.folder)
                facts = {**_about(model, arguments), "loaded_in_place": in_place}
                if variant.merge:
                    facts["merge"] = variant.merge.recipe
                members = [(*pair, copy.copy(model), facts) for pair in left.pop(0).asked]
                _answer_together(members, model.model, engine, listener, counter)
        if mismatch and left[0] is first and not first.merge:
            reason = f"{first.folder} is not served as it is: {mismatch}."
            listener.all_failed(left.pop(0).asked, reason)
        elif mismatch:
            distrusted = left[0]
            _log.warning("%s gets an engine of its own: %s", distrusted.asked[0][0].name, mismatch)


def _answer_written(
    variant: _Variant,
    merge: Merge,
    engine: EngineSettings,
    listener: Listener,
    counter: Counter,
    scratch: Path,
) -> None:
    """Answer with a merge whose tensors cannot go straight into an engine."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(merge.written(scratch / "checkpoint"))
        except SafemergeError as error:
            listener.all_failed(variant.asked, str(error))
            return
        written = replace(variant, folder=folder, merge=None)
        _answer_in_place([written], engine, listener, counter, scratch)


def _limit(llm: Any, engine: EngineSettings) -> float | None:
    """Return how far an engine's values may be off; None where its weights are not the file's."""
    config = llm.llm_engine.model_config
    if "quantization" in engine.model_args or config.quantization:
        return None
    return LIMITS.get(_dtype(llm))


def _dtype(llm: Any) -> str:
    return str(llm.llm_engine.model_config.dtype).removeprefix("torch.")


def _probe(llm: Any) -> list[int]:
    return probe_tokens(llm.llm_engine.model_config.get_vocab_size())


def _reference(
    llm: Any,
    model: str | Path,
    engine: EngineSettings,
    tensors: Iterable[tuple[str, Any]] | None = None,
) -> Any:
    trust = bool(engine.model_args.get("trust_remote_code"))
    return load_reference(model, _dtype(llm), trust_remote_code=trust, tensors=tensors)


def _asked(llm: Any, tokens: list[int], adapter: LoRARequest | None = None) -> _Values:
    """Return the engine's log-probabilities of the prompt's tokens after the first."""
    how = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0)
    (output,) = llm.generate(
        [{"prompt_token_ids": tokens}], how, use_tqdm=False, lora_request=adapter
    )
    pairs = zip(tokens[1:], output.prompt_logprobs[1:], strict=True)
    return [float(found[token].logprob) for token, found in pairs]


_Member = tuple[Asked, Recording, VLLM, dict[str, Any]]
"""Who is asked, what, through which view of lm-eval's model, and what to keep about it."""


def _answer_together(
    members: Sequence[_Member],
    llm: Any,
    engine: EngineSettings,
    listener: Listener,
    counter: Counter,
) -> None:
    """Answer several recordings, each through its own view of lm-eval's model, in joint batches.

    A view is lm-eval's model in all but its engine, which `_JointLLM` stands for. A recording's
    responses are kept once its batch is answered, so batches are a few times what the engine works
    on at once, and an engine that dies costs the last one. The first variant is a batch by itself:
    what cannot be scored is then found out before the others are asked.
    """
    left = list(members)
    first = True
    while left:
        batch: list[_Member] = []
        size, alone = 0, left[0][3].get("adapter")
        while left:
            one, recording, _, facts = left[0]
            full = batch and size + len(recording.requests) > MOST_TOGETHER
            if full or (first and batch and facts.get("adapter") != alone):
                break
            member = left.pop(0)
            if not listener.unwanted(one):
                batch.append(member)
                size += len(recording.requests)
        first = False
        if batch:
            _answer_batch(batch, llm, engine, listener, counter)


def _answer_batch(
    members: Sequence[_Member],
    llm: Any,
    engine: EngineSettings,
    listener: Listener,
    counter: Counter,
) -> None:
    def member(one: Asked, recording: Recording, view: VLLM, facts: dict[str, Any]) -> Member:
        def run(ask: Ask[Any, Any]) -> None:
            view.model = _JointLLM(llm, ask)
            answer(view, recording, facts, _seed(engine)).save(one.out)
            listener.done(one.name)

        return run

    joint = Rendezvous[_Question, Any](lambda questions: _generate(llm, questions, counter))
    errors = joint.run({one.name: member(one, *rest) for one, *rest in members})
    for name, error in errors.items():
        error.add_note(f"while {name} answered")
        raise error


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


def _generate(llm: Any, questions: Sequence[_Question], counter: Counter) -> list[Any]:
    prompts, parameters, requests = zip(*questions, strict=True)
    outputs: list[Any] = llm.generate(
        list(prompts),
        sampling_params=list(parameters),
        use_tqdm=counter.bar,
        lora_request=list(requests),
    )
    return outputs


@contextmanager
def _engine(arguments: dict[str, Any], tokenizer: str, engine: EngineSettings) -> Iterator[VLLM]:
    """Start lm-eval's vLLM model and shut its engine down at the end."""
    model = VLLM(
        **{**arguments, "worker_extension_cls": worker_extension.NAME},
        tokenizer=tokenizer,
        batch_size=engine.batch_size,
    )
    try:
        yield model
    finally:
        shut_down(model.model)


def _defaults(asked: Sequence[tuple[Asked, Recording]]) -> dict[str, Any]:
    """Return the engine's arguments where the settings say nothing."""
    defaults: dict[str, Any] = {"disable_log_stats": True}
    if not current_platform.is_cpu():
        return defaults
    # The engine in this process takes half the time to start, and by default vLLM would claim most
    # of the machine's memory.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    defaults |= {"enforce_eager": True, "distributed_executor_backend": "uni"}
    if "VLLM_CPU_KVCACHE_SPACE" not in os.environ:
        defaults["kv_cache_memory_bytes"] = CPU_CACHE_BYTES
    if any(request.samples for _, recording in asked for request in recording.requests):
        # vLLM 0.32 winds a request's random numbers back after a part of its prompt, which the
        # generators of a CPU cannot do ("CPU Generator does not use offset").
        defaults["enable_chunked_prefill"] = False
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
