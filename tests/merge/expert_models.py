"""Tiny models with experts, and LoRA on the parameters that hold them, written by peft."""

import peft
import torch
import transformers
from merge_models import SMALL, doubles, random_model

BOTH = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


def qwen3_moe(**changes):
    return transformers.Qwen3MoeConfig(
        **SMALL,
        head_dim=8,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=12,
        **changes,
    )


def mixtral():
    return transformers.MixtralConfig(**SMALL, num_local_experts=3)


def gpt_oss(**changes):
    settings = SMALL | {
        "num_local_experts": 3,
        "num_experts_per_tok": 2,
        "head_dim": 8,
        "layer_types": ["full_attention"] * 2,
    }
    return transformers.GptOssConfig(**(settings | changes))


FAMILIES = {
    # In files every expert has tensors of its own, by two kinds of names.
    "qwen3-moe": (qwen3_moe, {"target_parameters": BOTH}),
    "mixtral": (mixtral, {"target_parameters": BOTH, "use_rslora": True}),
    "one of two": (qwen3_moe, {"target_parameters": BOTH[1:]}),
    "a rank of its own": (
        qwen3_moe,
        {"target_parameters": BOTH, "rank_pattern": {r".*\.mlp.experts.gate_up_proj": 4}},
    ),
    # In files as in memory, with input and output the other way round, and biases beside.
    "gpt-oss": (gpt_oss, {"target_parameters": BOTH}),
    # A square parameter: its shape does not say which side is the input.
    "square": (lambda: gpt_oss(intermediate_size=16), {"target_parameters": BOTH[1:]}),
    "beside modules": (qwen3_moe, {"target_parameters": BOTH, "target_modules": ["q_proj"]}),
    "a router": (qwen3_moe, {"target_parameters": ["mlp.gate.weight", *BOTH]}),
    "a stack's biases": (gpt_oss, {"target_parameters": ["mlp.experts.gate_up_proj_bias"]}),
}


def adapted(folder, name="adapter", seed=4, **lora):
    """Write an adapter on the base in a folder, and return peft's model with it."""
    load = transformers.AutoModelForCausalLM.from_pretrained
    model = load(folder / "base", dtype=torch.float32)
    settings = {"r": 2, "lora_alpha": 5, "target_modules": []} | lora
    torch.manual_seed(seed)
    wrapped = peft.get_peft_model(model, peft.LoraConfig(**settings))
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape) * 0.3)
    wrapped.save_pretrained(folder / name)
    return wrapped


def trained(config, folder, **lora):
    """Write a base and an adapter on it; return the base and what peft makes of both."""
    random_model(config, 0).save_pretrained(folder / "base")
    wrapped = adapted(folder, **lora)
    merged = wrapped.double().merge_and_unload()
    merged.save_pretrained(folder / "merged")
    return doubles(folder / "base"), doubles(folder / "merged")
