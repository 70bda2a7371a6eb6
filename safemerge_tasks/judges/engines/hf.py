"""Judge models run by transformers, on any device."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import transformers
from tqdm import tqdm
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    StoppingCriteria,
    StoppingCriteriaList,
)

from safemerge_tasks.common import bars
from safemerge_tasks.judges.engines.base import Completion, NextToken
from safemerge_tasks.judges.settings import JudgeSettings

_T = TypeVar("_T")


def open_engine(settings: JudgeSettings, model: str) -> "TransformersEngine":
    """Load the weights onto `judge_device`, else the GPU, else the CPU."""
    return TransformersEngine(settings, model)


class _Aborted(StoppingCriteria):  # type: ignore[misc]
    def __init__(self, event: threading.Event) -> None:
        self.event = event

    def __call__(
        self, input_ids: torch.LongTensor, _scores: torch.FloatTensor, **_: Any
    ) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self.event.is_set(), device=input_ids.device)


class TransformersEngine:
    """Greedy generation in batches of similar length, left-padded; halves a batch on low memory."""

    def __init__(self, settings: JudgeSettings, model: str) -> None:
        self.device = settings.device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.tokenizer = AutoTokenizer.from_pretrained(model, revision=settings.revision)
        self._model = AutoModelForCausalLM.from_pretrained(
            model, revision=settings.revision, dtype=settings.dtype
        ).to(self.device)
        self._model.eval()
        # The judge decodes greedily whatever the checkpoint recommends.
        self._model.generation_config = transformers.GenerationConfig(
            eos_token_id=self._model.generation_config.eos_token_id or self.tokenizer.eos_token_id
        )
        positions = getattr(self._model.config, "max_position_embeddings", settings.max_model_len)
        self.max_model_len = min(settings.max_model_len, positions)
        self._batch_size = settings.batch_size
        self._abort = threading.Event()
        self._identity = {
            "engine": "hf",
            "engine_version": transformers.__version__,
            "model": model,
            "revision": getattr(self._model.config, "_commit_hash", None) or settings.revision,
            "dtype": str(self._model.dtype).removeprefix("torch."),
        }

    def answer(self, prompts: Sequence[list[int]], max_new_tokens: int) -> list[Completion]:
        """Return one answer a prompt; see `Engine.answer`."""

        def texts(batch: Sequence[list[int]]) -> list[str]:
            written = self._generate(batch, max_new_tokens=max_new_tokens).sequences
            new = written[:, max(map(len, batch)) :]
            return list(self.tokenizer.batch_decode(new, skip_special_tokens=True))

        found = self._in_batches(prompts, texts)
        return [Completion(text=found.get(index)) for index in range(len(prompts))]

    def weigh(self, prompts: Sequence[list[int]], tokens: Sequence[int]) -> list[NextToken]:
        """Return how likely each token is right after each prompt; see `Engine.weigh`."""

        def weights(batch: Sequence[list[int]]) -> list[tuple[float, ...]]:
            output = self._generate(batch, max_new_tokens=1, output_logits=True)
            logprobs = output.logits[0].float().log_softmax(-1)[:, list(tokens)]
            return [tuple(row) for row in logprobs.tolist()]

        found = self._in_batches(prompts, weights)
        return [NextToken(logprobs=found.get(index)) for index in range(len(prompts))]

    def _in_batches(
        self, prompts: Sequence[list[int]], run: Callable[[Sequence[list[int]]], list[_T]]
    ) -> dict[int, _T]:
        """Return what `run` makes of each prompt, by its index; some are missing after an abort."""
        done: dict[int, _T] = {}
        pending = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        size = self._batch_size
        bar = tqdm(total=len(prompts), desc=bars.JUDGING, disable=not bars.wanted())
        while pending and not self._abort.is_set():
            batch = pending[-size:]
            try:
                results = run([prompts[index] for index in batch])
            except torch.cuda.OutOfMemoryError:
                if len(batch) == 1:
                    raise
                torch.cuda.empty_cache()
                size = max(1, len(batch) // 2)
                continue
            done.update(zip(batch, results, strict=True))
            del pending[-len(batch) :]
            bar.update(len(batch))
        bar.close()
        return done

    @torch.inference_mode()
    def _generate(self, prompts: Sequence[list[int]], **options: Any) -> Any:
        width = max(map(len, prompts))
        pad = self.tokenizer.pad_token_id or self.tokenizer.eos_token_id or 0
        ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=self.device)
        mask = torch.tensor(
            [[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=self.device
        )
        return self._model.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=False,
            pad_token_id=pad,
            stopping_criteria=StoppingCriteriaList([_Aborted(self._abort)]),
            return_dict_in_generate=True,
            **options,
        )

    def identity(self) -> dict[str, Any]:
        """Return engine, version, weights, revision and precision."""
        return self._identity

    def close(self) -> None:
        """Stop a running `answer` after its current token and free the weights."""
        self._abort.set()
        self._model = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
