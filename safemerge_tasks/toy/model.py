"""A Llama of about half a million parameters, in the shape vLLM and transformers load."""

from dataclasses import dataclass
from typing import Any

from safemerge_tasks.toy.tokenizer import MAX_LENGTH


@dataclass(frozen=True)
class Size:
    """Widths of a toy Llama. vLLM's CPU attention wants heads of 32, 64 or more."""

    hidden: int = 96
    layers: int = 3
    heads: int = 3
    intermediate: int = 256


def build_model(size: Size, tokenizer: Any, seed: int) -> Any:
    """Return an untrained float32 `LlamaForCausalLM`, its weights drawn from `seed`."""
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    token_ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        intermediate_size=size.intermediate,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        # At this width, larger than the usual 0.02: copying is learnt in a third of the steps.
        initializer_range=0.08,
        **token_ids,
    )
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(do_sample=False, **token_ids)
    return model
