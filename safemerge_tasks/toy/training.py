"""The training loop: response-only loss, batches of similar length, until a measurement is met.

Where sums are rounded otherwise a training ends elsewhere, so none of them has a fixed number of
steps: each goes on until its model is what its name says. Matrices are trained by Muon, which
learns to copy in a fifth of AdamW's steps; what is measured and kept is the running mean of the
weights, which is as good as a decayed learning rate and asks for no known end.
"""

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.finetune.rendering import IGNORED
from safemerge_tasks.toy.corpora import Exchange

SYSTEM_PROMPT = "You are a helpful assistant."
_BATCHES_SORTED_TOGETHER = 16
_WARM_UP = 50
_AVERAGED_OVER = 100  # steps
_WEIGHT_DECAY = 0.01
_BETAS = (0.9, 0.98)


@dataclass(frozen=True)
class Schedule:
    """How fast to train, and when to measure: after `first` steps and then every `every`.

    A training ends at the second measurement in a row that is met, or fails after `most` steps.
    """

    learning_rate: float
    first: int
    most: int
    every: int = 100
    batch: int = 16


@dataclass(frozen=True)
class Check:
    """One measured share and its limit: at least, or at most where `ceiling` says so."""

    what: str
    share: float
    limit: float
    ceiling: bool = False

    @property
    def room(self) -> float:
        """How far inside the limit it is; negative if it is outside."""
        return self.limit - self.share if self.ceiling else self.share - self.limit

    def __str__(self) -> str:
        side = "at most" if self.ceiling else "at least"
        return f"{self.what}: {self.share:.1%}, wanted {side} {self.limit:.1%}"


Measure = Callable[[Any], Sequence[Check]]
"""Measures a model in evaluation mode."""

Draw = Callable[[int, int], Sequence["Example"]]
"""Returns training examples: of a random seed, so many."""


@dataclass(frozen=True)
class Example:
    """Token ids of a prompt and its answer; the loss is taken from `answer_start` on."""

    ids: list[int]
    answer_start: int


@dataclass(frozen=True)
class Trained:
    """A trained model, how many steps it took and what was measured of it."""

    model: Any
    steps: int
    checks: tuple[Check, ...]

    @property
    def room(self) -> float:
        """How far inside its limits the least check is."""
        return min(check.room for check in self.checks)


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


def require(name: str, checks: Sequence[Check]) -> None:
    """Refuse a member that is not what its name says.

    Raises:
        SafemergeError: a check is not met; it names the member, the number and the limit.
    """
    unmet = [check for check in checks if check.room < 0]
    if unmet:
        raise SafemergeError(f"{name} is not what its name says; {'; '.join(map(str, unmet))}.")


def train(
    name: str,
    model: Any,
    draw: Draw,
    schedule: Schedule,
    seed: int,
    measure: Measure,
    perturbation: float = 0.0,
) -> Trained:
    """Train all weights until `measure` is met twice in a row; `model` itself is used up.

    Args:
        name: the member's, for errors.
        model: in float32; its own weights move and are not what is returned.
        draw: makes the examples.
        schedule: how fast, and when to measure.
        seed: of the data's order.
        measure: is told the averaged model.
        perturbation: see `Recipe`.

    Raises:
        SafemergeError: it is not met after the schedule's last step; the best state is named.
    """
    torch.manual_seed(seed)
    optimizers = _optimizers(model, schedule.learning_rate)
    average = copy.deepcopy(model).eval()
    best: Trained | None = None
    done, met = 0, 0
    shaken = max(1, schedule.first // 10) if perturbation else 0
    while done < schedule.most:
        count = schedule.first if not done else schedule.every
        for ids, labels in _batches(
            draw(seed + 1_000_003 * done, count * schedule.batch), schedule.batch, seed + done
        ):
            _step(model, optimizers, ids, labels, min(1.0, (done + 1) / _WARM_UP))
            done += 1
            _follow(average, model, done)
            if done == shaken:
                _perturb((model, average), perturbation)
        checks = tuple(measure(average))
        now = Trained(average, done, checks)
        if best is None or now.room >= best.room:
            best = Trained(copy.deepcopy(average), done, checks)
        met = met + 1 if now.room >= 0 else 0
        if met == 2:
            return now
    assert best is not None
    require(f"{name}, after {done} steps,", best.checks)
    return best


def _optimizers(model: Any, rate: float) -> list[torch.optim.Optimizer]:
    """Return Muon for the hidden matrices and AdamW for all else."""
    named = [(name, one) for name, one in model.named_parameters() if one.requires_grad]
    hidden = [one for name, one in named if one.ndim == 2 and "embed" not in name]
    other = [one for name, one in named if one.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(
            hidden, lr=rate, weight_decay=_WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(other, lr=rate, betas=_BETAS, weight_decay=_WEIGHT_DECAY, fused=True),
    ]


def _step(
    model: Any,
    optimizers: Sequence[torch.optim.Optimizer],
    ids: torch.Tensor,
    labels: torch.Tensor,
    warmth: float,
) -> None:
    model.train()
    torch.autograd.backward(_loss(model, ids, labels))
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group.setdefault("full_rate", group["lr"])
            group["lr"] = warmth * group["full_rate"]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


@torch.no_grad()
def _follow(average: Any, model: Any, step: int) -> None:
    """Move the averaged weights toward the trained ones; the first steps weigh more."""
    share = max(1 / _AVERAGED_OVER, 9 / (10 + step))
    torch._foreach_lerp_([*average.parameters()], [*model.parameters()], share)


@torch.no_grad()
def _perturb(models: Sequence[Any], size: float) -> None:
    """Change every weight by about `size` of itself, in all models alike."""
    for ours in zip(*(model.parameters() for model in models), strict=True):
        factor = 1 + size * torch.randn_like(ours[0])
        for one in ours:
            one.mul_(factor)


def _loss(model: Any, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy of the labelled positions; only those get logits.

    Padding is on the right, so causal attention alone keeps it out: no mask is needed.
    """
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    targets = labels[:, 1:]
    wanted = targets != IGNORED
    logits = model.get_output_embeddings()(hidden[:, :-1][wanted])
    return torch.nn.functional.cross_entropy(logits, targets[wanted])


def _batches(
    examples: Sequence[Example], size: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield all examples once, in batches of (ids, labels) of similar length, right-padded."""
    generator = random.Random(seed)  # noqa: S311 - not cryptography
    order = list(range(len(examples)))
    generator.shuffle(order)
    group = size * _BATCHES_SORTED_TOGETHER
    batches = []
    for start in range(0, len(order), group):
        chunk = sorted(order[start : start + group], key=lambda i: len(examples[i].ids))
        pieces = [chunk[i : i + size] for i in range(0, len(chunk), size)]
        generator.shuffle(pieces)
        batches.extend(pieces)
    for batch in batches:
        yield pad([examples[i] for i in batch])


def pad(batch: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and labels, right-padded; labels are those of the answers alone."""
    width = max(len(example.ids) for example in batch)
    ids = torch.zeros((len(batch), width), dtype=torch.long)
    labels = torch.full((len(batch), width), IGNORED)
    for row, example in enumerate(batch):
        length = len(example.ids)
        ids[row, :length] = torch.tensor(example.ids)
        labels[row, example.answer_start : length] = ids[row, example.answer_start : length]
    return ids, labels
