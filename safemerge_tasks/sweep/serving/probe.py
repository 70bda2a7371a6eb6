"""Whether a running engine has the weights it is said to have: one prompt's log-probabilities.

What an engine says is compared with transformers' values for the same weights, which come from no
engine. Weights that were loaded in place, or an adapter in a slot, may be another variant's without
any error (vLLM's CPU build keeps a packed copy of tied embeddings; see also vllm#32718).
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMITS = {"float32": 0.01, "bfloat16": 0.25, "float16": 0.1}
"""By the engine's type, how far log-probabilities (natural) may be from the reference on average.

Rounding explains less: other sums in float32 are 1e-5 off, in bfloat16 some 0.05.
"""

LENGTH = 24
LEFT_OUT = 8
"""Of so many tokens the one that is furthest off does not count.

The first tokens of a prompt either take the huge activations of an attention sink or do not, and
rounding decides it: of SmolLM2-135M's adapters one answers one token 5.2 apart in bfloat16, all
others within 0.3, and nothing apart in float32. Other weights change every token.
"""


@dataclass(frozen=True)
class Mismatch:
    """An engine's values are not the model's.

    Attributes:
        distance: the mean distance to the model's own, without the tokens furthest off.
        other: the mean distance to what was loaded before, if that is much nearer.
    """

    distance: float
    other: float | None = None

    def __str__(self) -> str:
        said = f"the engine's log-probabilities are {self.distance:.3g} off those of its weights"
        if self.other is not None:
            said += f", and {self.other:.3g} off those that were loaded before"
        return said


def probe_tokens(vocabulary: int) -> list[int]:
    """Return the prompt, as numbers of tokens: spread over the vocabulary, the same everywhere."""
    return [(7919 * number + 101) % vocabulary for number in range(1, LENGTH + 1)]


def log_probabilities(
    model: Any, tokens: Sequence[int], adapter: Path | None = None
) -> list[float]:
    """Return each token's log-probability after those before it, by transformers.

    Args:
        model: of transformers.
        tokens: the prompt; the first one has none.
        adapter: a LoRA adapter to put on it for that; the model is left without.
    """
    import torch

    wrapped = model
    if adapter is not None:
        from peft import PeftModel

        wrapped = PeftModel.from_pretrained(model, str(adapter))
    try:
        with torch.no_grad():
            logits = wrapped(input_ids=torch.tensor([list(tokens)])).logits[0, :-1].float()
    finally:
        if adapter is not None:
            wrapped.unload()
    values = logits.log_softmax(-1)[torch.arange(len(tokens) - 1), torch.tensor(tokens[1:])]
    found: list[float] = values.tolist()
    return found


def load_reference(
    model: str | Path,
    dtype: str,
    *,
    trust_remote_code: bool = False,
    tensors: Iterable[tuple[str, Any]] | None = None,
) -> Any:
    """Return a model of transformers on the CPU.

    Args:
        model: folder or Hub id; its files are mapped rather than copied.
        dtype: torch's name of the type to compute in, or `auto` for the one that the files have.
        trust_remote_code: run the code that comes with it.
        tensors: its weights, where the folder has the configuration alone; they are copied.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    how = {"dtype": getattr(torch, dtype, dtype), "trust_remote_code": trust_remote_code}
    if tensors is None:
        return AutoModelForCausalLM.from_pretrained(str(model), **how).eval()
    config = AutoConfig.from_pretrained(str(model), trust_remote_code=trust_remote_code)
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    found = type(empty).from_pretrained(None, config=config, state_dict=dict(tensors), **how)
    return found.eval()


def compare(
    engine: Sequence[float],
    own: Sequence[float],
    limit: float,
    before: Sequence[float] | None = None,
) -> Mismatch | None:
    """Return what is wrong with an engine's values; None if nothing is.

    Args:
        engine: its log-probabilities.
        own: those of the weights it is said to have.
        limit: how far from them they may be.
        before: those of what it had before; to be half as far from them, or less, is wrong even
            within the limit. Where the two hardly differ, rounding alone may bring it nearer.
    """
    distance = _distance(engine, own)
    # Not a number is no distance within any limit.
    if not distance <= limit:
        return Mismatch(distance)
    if before is not None and (other := _distance(engine, before)) < distance / 2:
        return Mismatch(distance, other)
    return None


def _distance(one: Sequence[float], other: Sequence[float]) -> float:
    distances = [abs(a - b) for a, b in zip(one, other, strict=True)]
    if any(map(math.isnan, distances)):
        return math.nan
    return statistics.fmean(sorted(distances)[: len(distances) - len(distances) // LEFT_OUT])
