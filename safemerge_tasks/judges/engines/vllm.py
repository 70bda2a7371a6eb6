"""Judge models run by vLLM in an engine of their own."""

import gc
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from safemerge_tasks.common import bars
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.known_versions import refuse_unknown
from safemerge_tasks.judges.engines.base import Completion, NextToken
from safemerge_tasks.judges.settings import JudgeSettings

# On a CPU vLLM would by default claim most of a memory node and refuse to start where it cannot.
CPU_CACHE_BYTES = 2 << 30


def open_engine(settings: JudgeSettings, model: str) -> "VllmEngine":
    """Start an engine.

    Raises:
        SafemergeError: vLLM is not installed, or a version that is not known here.
    """
    try:
        import vllm  # noqa: F401
    except ImportError as error:
        raise SafemergeError(
            "judge_engine=vllm needs vLLM, which is not installed: run "
            "`pip install safemerge[vllm]`, or use judge_engine=hf."
        ) from error
    refuse_unknown("vllm")
    return VllmEngine(settings, model)


class VllmEngine:
    """Greedy generation of all prompts in one continuous batch."""

    def __init__(self, settings: JudgeSettings, model: str) -> None:
        import vllm
        from transformers import AutoConfig
        from vllm.platforms import current_platform

        on_cpu = current_platform.is_cpu()
        config = AutoConfig.from_pretrained(model, revision=settings.revision)
        positions = getattr(config, "max_position_embeddings", settings.max_model_len)
        self.max_model_len = min(settings.max_model_len, positions)
        self._llm: Any = vllm.LLM(
            model=model,
            revision=settings.revision,
            tokenizer_revision=settings.revision,
            dtype=settings.dtype,
            max_model_len=self.max_model_len,
            gpu_memory_utilization=settings.gpu_memory_utilization,
            tensor_parallel_size=settings.tensor_parallel_size,
            # What the checkpoint's generation_config recommends must not change a verdict.
            generation_config="vllm",
            disable_log_stats=True,
            **(_on_cpu(settings) if on_cpu else {}),
        )
        self.tokenizer = self._llm.get_tokenizer()
        self._identity = {
            "engine": "vllm",
            "engine_version": vllm.__version__,
            "model": model,
            "revision": getattr(config, "_commit_hash", None) or settings.revision,
            "dtype": str(self._llm.llm_engine.model_config.dtype).removeprefix("torch."),
        }

    def answer(self, prompts: Sequence[list[int]], max_new_tokens: int) -> list[Completion]:
        """Return one answer a prompt; see `Engine.answer`."""
        outputs = self._outputs(prompts, max_tokens=max_new_tokens)
        return [Completion(text=output.text) for output in outputs]

    def weigh(self, prompts: Sequence[list[int]], tokens: Sequence[int]) -> list[NextToken]:
        """Return how likely each token is right after each prompt; see `Engine.weigh`."""
        outputs = self._outputs(prompts, max_tokens=1, logprob_token_ids=list(tokens))
        return [
            NextToken(logprobs=tuple(output.logprobs[0][token].logprob for token in tokens))
            for output in outputs
        ]

    def _outputs(self, prompts: Sequence[list[int]], **sampling: Any) -> list[Any]:
        from vllm import SamplingParams
        from vllm.inputs import TokensPrompt

        outputs = self._llm.generate(
            [TokensPrompt(prompt_token_ids=prompt) for prompt in prompts],
            SamplingParams(temperature=0.0, **sampling),
            use_tqdm=bars.wanted(),
        )
        return [output.outputs[0] for output in outputs]

    def identity(self) -> dict[str, Any]:
        """Return engine, version, weights, revision and precision."""
        return self._identity

    def close(self) -> None:
        """Shut the engine process down; a running `answer` in another thread then raises."""
        if self._llm is not None:
            shut_down(self._llm)
            self._llm = None


def _on_cpu(settings: JudgeSettings) -> dict[str, Any]:
    # Compilation pays off on a GPU; on a CPU it costs more than a judge's whole run.
    found: dict[str, Any] = {"enforce_eager": True}
    if settings.tensor_parallel_size == 1:
        # A worker in the engine's process: one of its own imports vLLM once more.
        found["distributed_executor_backend"] = "uni"
    if "VLLM_CPU_KVCACHE_SPACE" not in os.environ:
        found["kv_cache_memory_bytes"] = CPU_CACHE_BYTES
    return found


def shut_down(llm: Any) -> None:
    """Shut down the engine process of a `vllm.LLM` and free what it held.

    vLLM has no public call for this; the engine core's own `shutdown` joins its processes.
    """
    llm.llm_engine.engine_core.shutdown()
    with suppress(AttributeError):
        del llm.llm_engine
    gc.collect()

    from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

    cleanup_dist_env_and_memory()
