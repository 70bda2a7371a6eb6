"""Which LoRA adapters vLLM serves as they are, read from their files alone."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep.serving.headers import tensors

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes for `max_lora_rank`."""

_FACTORS = (".lora_A.weight", ".lora_B.weight")
# Ways to initialise that leave the base's weights alone, as vLLM knows them.
_PLAIN_STARTS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
# Settings of peft that change what an adapter means; vLLM serves none of them. It does serve
# rank_pattern and alpha_pattern since 0.32, the latter as the merged checkpoint answers.
_NOT_SERVED = {
    "use_dora": "is a DoRA adapter",
    "lora_bias": "has LoRA biases",
    "modules_to_save": "replaces whole modules (modules_to_save)",
    "trainable_token_indices": "trains rows of the embedding (trainable_token_indices)",
    # vLLM takes experts' only when the request says what the file cannot, and not on a CPU.
    "target_parameters": "updates parameters by their names (target_parameters)",
    "alora_invocation_tokens": "is an Activated LoRA",
    "layer_replication": "repeats layers (layer_replication)",
    "use_bdlora": "is block-diagonal (use_bdlora)",
    "use_qalora": "is a QALoRA adapter",
}


@dataclass(frozen=True)
class Needs:
    """What an engine must be ready for.

    Attributes:
        rank: the largest rank of any adapter.
        modules: the last parts of the names of the modules that any of them updates.
    """

    rank: int
    modules: frozenset[str]

    def __or__(self, other: "Needs") -> "Needs":
        """Return what serves both."""
        return Needs(max(self.rank, other.rank), self.modules | other.modules)

    @property
    def updates_head(self) -> bool:
        """Whether an adapter updates the projection to the vocabulary."""
        return "lm_head" in self.modules


def check_servable(adapter: Path) -> Needs:
    """Return what an adapter needs; reads its configuration and its tensors' names.

    Raises:
        SafemergeError: vLLM would refuse the adapter, or serve another model than it means.
    """
    config = _config(adapter)
    reason = _reason(config)
    if reason is None:
        found = tensors(adapter / "adapter_model.safetensors")
        shapes = {name: shape for name, (_, shape) in found.items()}
        reason = _odd_tensor(shapes)
    if reason is not None:
        raise SafemergeError(
            f"{adapter} cannot be served by vLLM: it {reason}; merge it into a checkpoint."
        )
    rank = max(shape[0] for name, shape in shapes.items() if name.endswith(_FACTORS[0]))
    if rank > RANKS[-1]:
        raise SafemergeError(
            f"{adapter} cannot be served by vLLM: its rank {rank} is over {RANKS[-1]}; merge it "
            "into a checkpoint."
        )
    # Names end in MODULE.lora_A.weight or MODULE.lora_B.weight.
    return Needs(rank, frozenset(name.split(".")[-3] for name in shapes))


def max_lora_rank(largest: int) -> int:
    """Return the smallest of vLLM's ranks that holds adapters of up to a rank."""
    return next(rank for rank in RANKS if rank >= largest)


def _reason(config: Mapping[str, Any]) -> str | None:
    if str(config.get("peft_type", "LORA")).upper() != "LORA":
        return f"is of type {config['peft_type']}"
    for key, reason in _NOT_SERVED.items():
        if config.get(key):
            return reason
    if config.get("bias", "none") != "none":
        return f"trains biases (bias={config['bias']})"
    start = config.get("init_lora_weights", True)
    if isinstance(start, str) and start.lower() not in _PLAIN_STARTS:
        return f"changes the base's weights (init_lora_weights={start})"
    return None


def _odd_tensor(shapes: Mapping[str, list[int]]) -> str | None:
    odd = sorted(name for name in shapes if not name.endswith(_FACTORS))
    if odd:
        # vLLM leaves some of these out without a word, such as saved embeddings.
        return f"holds more than LoRA factors ({odd[0]})"
    return None if shapes else "holds no LoRA factors"


def _config(adapter: Path) -> dict[str, Any]:
    path = adapter / "adapter_config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SafemergeError(
            f"{path} cannot be read ({error.strerror}); give a folder with a LoRA adapter."
        ) from error
    except ValueError as error:
        raise SafemergeError(f"{path} is not JSON; save the adapter again.") from error
    return config
