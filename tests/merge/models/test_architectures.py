"""Nothing is per architecture: tiny random models of many kinds, written and loaded again."""

import pytest
import torch
import transformers
from merge_models import SMALL, doubles, weights

from merge import merge, verify

MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 8,
    "patch_size": 4,
}


def without(*keys):
    return {key: value for key, value in SMALL.items() if key not in keys}


def deepseek_v3():
    """One dense layer and one of experts, with compressed keys and queries."""
    return transformers.DeepseekV3Config(
        **SMALL | {"num_key_value_heads": 4},
        moe_intermediate_size=8,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_group=2,
        topk_group=1,
        first_k_dense_replace=1,
        kv_lora_rank=4,
        q_lora_rank=6,
        qk_rope_head_dim=4,
        qk_nope_head_dim=4,
        v_head_dim=4,
    )


def falcon_h1():
    """Attention and a state space side by side."""
    return transformers.FalconH1Config(
        **SMALL,
        head_dim=4,
        mamba_d_ssm=32,
        mamba_n_heads=4,
        mamba_d_head=8,
        mamba_n_groups=1,
        mamba_d_state=8,
        mamba_chunk_size=8,
    )


def qwen25_vl():
    return transformers.Qwen2_5_VLConfig(
        text_config={
            **SMALL,
            "rope_scaling": {"type": "default", "mrope_section": [1, 1, 0], "rope_type": "default"},
        },
        vision_config={
            "depth": 2,
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_heads": 4,
            "out_hidden_size": 16,
            "patch_size": 4,
            "fullatt_block_indexes": [1],
        },
        vision_start_token_id=60,
        image_token_id=61,
        video_token_id=62,
    )


def gemma3():
    return transformers.Gemma3Config(
        text_config={**SMALL, "head_dim": 8}, vision_config=VISION, mm_tokens_per_image=4
    )


def mllama():
    """Layers that look at the image between those that do not."""
    return transformers.MllamaConfig(
        text_config={
            **SMALL,
            "num_hidden_layers": 3,
            "cross_attention_layers": [1],
            "pad_token_id": 0,
        },
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 2,
            "num_global_layers": 1,
            "attention_heads": 4,
            "image_size": 8,
            "patch_size": 4,
            "vision_output_dim": 32,
            "intermediate_layers_indices": [0],
            "supported_aspect_ratios": [[1, 1]],
        },
        image_token_index=61,
    )


CONFIGS = {
    "llama": lambda: transformers.LlamaConfig(**SMALL),
    "gemma2": lambda: transformers.Gemma2Config(**SMALL, head_dim=8),
    "gemma3-text": lambda: transformers.Gemma3TextConfig(**SMALL, head_dim=8),
    "qwen2": lambda: transformers.Qwen2Config(**SMALL),
    "qwen3": lambda: transformers.Qwen3Config(**SMALL, head_dim=8, tie_word_embeddings=True),
    "mistral": lambda: transformers.MistralConfig(**SMALL),
    "mixtral": lambda: transformers.MixtralConfig(**SMALL, num_local_experts=3),
    "qwen3-moe": lambda: transformers.Qwen3MoeConfig(**SMALL, **MOE, head_dim=8),
    "gpt-neox": lambda: transformers.GPTNeoXConfig(**without("num_key_value_heads")),
    "gpt-oss": lambda: transformers.GptOssConfig(
        **SMALL, head_dim=8, num_local_experts=3, num_experts_per_tok=2
    ),
    "deepseek-v3": deepseek_v3,
    "falcon-h1": falcon_h1,
    "qwen2.5-vl": qwen25_vl,
    "gemma3": gemma3,
    "mllama": mllama,
    # Families that nobody listed.
    "phi3": lambda: transformers.Phi3Config(**SMALL, pad_token_id=0),
    "olmoe": lambda: transformers.OlmoeConfig(**SMALL, num_experts=4, num_experts_per_tok=2),
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=64, n_positions=64, n_embd=16, n_layer=2, n_head=4
    ),
}


def made(config, seed):
    """Return a random model of the class that the configuration is for."""
    kinds = (transformers.AutoModelForCausalLM, transformers.AutoModelForImageTextToText)
    seeing = hasattr(config, "vision_config")
    torch.manual_seed(seed)
    model = kinds[seeing].from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.05)
    return model.to(torch.bfloat16)


@pytest.mark.parametrize("name", CONFIGS)
def test_merged_model_loads_and_answers_as_a_merge_in_memory(tmp_path, name):
    config = CONFIGS[name]()
    for seed in (0, 1):
        made(config, seed).save_pretrained(tmp_path / str(seed))
    done = merge(
        "slerp", base=tmp_path / "0", tuned=[tmp_path / "1"], lambdas=[0.3], out=tmp_path / "slerp"
    )
    assert sum(done.report.values()) == len(weights(tmp_path / "0"))
    merge(
        "linear",
        base=tmp_path / "0",
        tuned=[tmp_path / "1"],
        lambdas=[0.3],
        dtype="float32",
        out=tmp_path / "out",
    )
    verify(tmp_path / "out")

    base, tuned = doubles(tmp_path / "0"), doubles(tmp_path / "1")
    merged = weights(tmp_path / "out")
    assert merged.keys() == base.keys()
    for tensor, value in merged.items():
        exact = 0.7 * base[tensor] + 0.3 * tuned[tensor]
        torch.testing.assert_close(value.double(), exact, rtol=1e-6, atol=1e-7)

    kind = type(made(config, 0))
    model, info = kind.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    one, mean = (kind.from_pretrained(tmp_path / "0", dtype=torch.float32) for _ in range(2))
    two = kind.from_pretrained(tmp_path / "1", dtype=torch.float32)
    other = two.state_dict()
    mean.load_state_dict(
        {
            key: torch.lerp(value, other[key], 0.3) if value.is_floating_point() else value
            for key, value in one.state_dict().items()
        }
    )
    tokens = torch.arange(10)[None]
    own, expected, first, second = (each(tokens).logits for each in (model, mean, one, two))
    assert torch.isfinite(own).all()
    torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-4)
    # The test would see a model that is one of the inputs.
    assert not torch.allclose(first, expected, rtol=1e-2, atol=1e-2)
    assert not torch.allclose(second, expected, rtol=1e-2, atol=1e-2)
    # Saving what transformers loaded gives back what was merged.
    model.save_pretrained(tmp_path / "again")
    again = weights(tmp_path / "again")
    assert all(torch.equal(again[tensor], value) for tensor, value in merged.items())
