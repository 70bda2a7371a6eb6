"""What a batch's activations take, against what autograd keeps."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.autograd.graph import saved_tensors_hooks
from transformers import AutoModelForCausalLM, LlamaConfig, MixtralConfig, Qwen3Config

from safemerge_tasks.finetune import memory
from safemerge_tasks.finetune.memory import activation_bytes, fits_without_checkpoints

SHAPE = {
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}
CONFIGS = [
    LlamaConfig(**SHAPE),
    Qwen3Config(**SHAPE),
    MixtralConfig(**SHAPE, num_local_experts=4, num_experts_per_tok=2),
]


@contextmanager
def kept() -> Iterator[dict[int, int]]:
    """Give the bytes of every storage that the backward pass holds."""
    found: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        yield found


def saved(config: Any, layers: int, tokens: int, *, half: bool) -> int:
    """Return the bytes that autograd keeps of a LoRA training's forward pass."""
    config.num_hidden_layers = layers
    model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear"))
    ids = torch.zeros((2, tokens // 2), dtype=torch.long)
    weights = {one.untyped_storage().data_ptr() for one in model.parameters()}
    with torch.autocast("cpu", torch.bfloat16, enabled=half), kept() as found:
        output = model(input_ids=ids, use_cache=False)
    assert output.logits.requires_grad
    return sum(size for place, size in found.items() if place not in weights)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_the_estimate_is_somewhat_more_than_is_kept(config: Any, half: bool) -> None:
    """Of two layers, so that what embeddings and head keep falls out."""
    measured = saved(config, 3, 512, half=half) - saved(config, 1, 512, half=half)
    config.num_hidden_layers = 2
    assert measured < activation_bytes(config, 512, half=half) < 4 * measured


def test_checkpoints_are_for_what_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    config = LlamaConfig(**SHAPE, num_hidden_layers=2)
    needed = activation_bytes(config, 300, half=False)
    monkeypatch.setattr(memory, "_free", lambda cpu: 2 * needed + 2)
    assert fits_without_checkpoints(config, 300, half=False, cpu=True)
    assert not fits_without_checkpoints(config, 301, half=False, cpu=True)
    assert fits_without_checkpoints(config, 301, half=True, cpu=True)
