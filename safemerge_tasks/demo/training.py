"""The training loop: response-only loss, batches of similar length, a cosine schedule."""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from safemerge_tasks.demo.corpora import Exchange

SYSTEM_PROMPT = "You are a helpful assistant."
_IGNORED = -100
_BATCHES_SORTED_TOGETHER = 16


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train: one pass over `steps * batch` examples."""

    steps: int
    batch: int
    learning_rate: float
    warmup: float = 0.1
    weight_decay: float = 0.01

    @property
    def examples(self) -> int:
        """How many examples the schedule consumes."""
        return self.steps * self.batch


@dataclass(frozen=True)
class Example:
    """Token ids of a prompt and its answer; the loss is taken from `answer_start` on."""

    ids: list[int]
    answer_start: int


def chat_examples(
    tokenizer: Any, exchanges: Sequence[Exchange], bare: float = 0.0, seed: int = 0
) -> list[Example]:
    """Put exchanges into the chat template; a fraction `bare` of them without a system prompt."""
    generator = random.Random(seed)  # noqa: S311 - not cryptography
    prompts = [
        chat_prompt(tokenizer, exchange.question, system=generator.random() >= bare)
        for exchange in exchanges
    ]
    answers = [exchange.answer + tokenizer.eos_token for exchange in exchanges]
    return encode(tokenizer, prompts, answers)


def chat_prompt(tokenizer: Any, question: str, *, system: bool = True) -> str:
    """Return the templated prompt, up to where the assistant's answer begins."""
    messages = [{"role": "system", "content": SYSTEM_PROMPT}] if system else []
    messages.append({"role": "user", "content": question})
    text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return text


def encode(tokenizer: Any, prompts: Sequence[str], answers: Sequence[str]) -> list[Example]:
    """Tokenise prompts and answers apart, so that the prompt's ids are those of generation."""
    heads = tokenizer(list(prompts), add_special_tokens=False)["input_ids"]
    tails = tokenizer(list(answers), add_special_tokens=False)["input_ids"]
    return [Example(head + tail, len(head)) for head, tail in zip(heads, tails, strict=True)]


def train(
    model: Any,
    examples: Sequence[Example],
    schedule: Schedule,
    seed: int,
    progress: Callable[[int], None] = lambda _steps: None,
) -> list[float]:
    """Train the parameters that require a gradient, in place; return the loss of every step.

    `progress` is called with the number of finished steps.
    """
    torch.manual_seed(seed)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters,
        lr=schedule.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=schedule.weight_decay,
        fused=True,
    )
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _cosine(step, schedule))
    losses: list[float] = []
    model.train()
    for done, (ids, labels) in enumerate(_batches(examples, schedule, seed), start=1):
        loss = _loss(model, ids, labels)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        rate.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        progress(done)
    model.eval()
    return losses


def _loss(model: Any, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy of the labelled positions; only those get logits.

    Padding is on the right, so causal attention alone keeps it out: no mask is needed.
    """
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    targets = labels[:, 1:]
    wanted = targets != _IGNORED
    logits = model.get_output_embeddings()(hidden[:, :-1][wanted])
    return torch.nn.functional.cross_entropy(logits, targets[wanted])


def _batches(
    examples: Sequence[Example], schedule: Schedule, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield `steps` batches of (ids, labels), right-padded, of examples of similar length."""
    generator = random.Random(seed)  # noqa: S311 - not cryptography
    remaining = schedule.steps
    while remaining:
        order = list(range(len(examples)))
        generator.shuffle(order)
        group = schedule.batch * _BATCHES_SORTED_TOGETHER
        batches = []
        for start in range(0, len(order), group):
            chunk = sorted(order[start : start + group], key=lambda i: len(examples[i].ids))
            pieces = [chunk[i : i + schedule.batch] for i in range(0, len(chunk), schedule.batch)]
            generator.shuffle(pieces)
            batches.extend(pieces)
        for batch in batches[:remaining]:
            yield _pad([examples[i] for i in batch])
        remaining -= min(remaining, len(batches))


def _pad(batch: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(len(example.ids) for example in batch)
    ids = torch.zeros((len(batch), width), dtype=torch.long)
    labels = torch.full((len(batch), width), _IGNORED)
    for row, example in enumerate(batch):
        length = len(example.ids)
        ids[row, :length] = torch.tensor(example.ids)
        labels[row, example.answer_start : length] = ids[row, example.answer_start : length]
    return ids, labels


def _cosine(step: int, schedule: Schedule) -> float:
    warm = max(1, round(schedule.warmup * schedule.steps))
    if step < warm:
        return (step + 1) / warm
    done = (step - warm) / max(1, schedule.steps - warm)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done))
