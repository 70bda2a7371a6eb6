"""Judge models run by transformers, on any device."""

import sys
import threading
from collections.abc import Sequence
from typing import Any

import torch
import transformers
from tqdm import tqdm
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    StoppingCriteria,
    StoppingCriteriaList,
)

from safemerge_tasks.judges.engines.base import Completion
from safemerge_tasks.judges.settings import JudgeSettings


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
        answers: list[Completion] = [Completion()] * len(prompts)
        pending = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        size = self._batch_size
        bar = tqdm(total=len(prompts), desc="judging", disable=not sys.stderr.isatty())
        while pending and not self._abort.is_set():
            batch = pending[-size:]
            try:
                texts = self._generate([prompts[index] for index in batch], max_new_tokens)
            except torch.cuda.OutOfMemoryError:
                if len(batch) == 1:
                    raise
                torch.cuda.empty_cache()
                size = max(1, len(batch) // 2)
                continue
            for index, text in zip(batch, texts, strict=True):
                answers[index] = Completion(text=text)
            del pending[-len(batch) :]
            bar.update(len(batch))
        bar.close()
        return answers

    @torch.inference_mode()
    def _generate(self, prompts: Sequence[list[int]], max_new_tokens: int) -> list[str]:
        width = max(map(len, prompts))
        pad = self.tokenizer.pad_token_id or self.tokenizer.eos_token_id or 0
        ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=self.device)
        mask = torch.tensor(
            [[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=self.device
        )
        output = self._model.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=max_new_tokens,
            pad_token_id=pad,
            stopping_criteria=StoppingCriteriaList([_Aborted(self._abort)]),
        )
        texts: list[str] = self.tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)
        return texts

    def identity(self) -> dict[str, Any]:
        """Return engine, version, weights, revision and precision."""
        return self._identity

    def close(self) -> None:
        """Stop a running `answer` after its current token and free the weights."""
        self._abort.set()
        self._model = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
