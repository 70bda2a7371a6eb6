"""Nothing is per architecture: tiny random models of many kinds, written and loaded again."""

import pytest
import torch
import transformers
from merge_models import assert_rounded, doubles, random_model, weights

from merge import merge, verify

SMALL = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
CONFIGS = {
    "llama": lambda: transformers.LlamaConfig(**SMALL),
    "gemma2": lambda: transformers.Gemma2Config(**SMALL, head_dim=8),
    "qwen2": lambda: transformers.Qwen2Config(**SMALL),
    "qwen3": lambda: transformers.Qwen3Config(**SMALL, head_dim=8, tie_word_embeddings=True),
    "mistral": lambda: transformers.MistralConfig(**SMALL),
    "mixtral": lambda: transformers.MixtralConfig(**SMALL, num_local_experts=3),
    "qwen3-moe": lambda: transformers.Qwen3MoeConfig(
        **SMALL, head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=8
    ),
    "gpt-neox": lambda: transformers.GPTNeoXConfig(
        **{key: value for key, value in SMALL.items() if key != "num_key_value_heads"}
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_merged_model_loads_and_runs(tmp_path, name):
    config = CONFIGS[name]()
    for seed in (0, 1):
        random_model(config, seed).to(torch.bfloat16).save_pretrained(tmp_path / str(seed))
    done = merge(
        "slerp", base=tmp_path / "0", tuned=[tmp_path / "1"], lambdas=[0.3], out=tmp_path / "slerp"
    )
    assert sum(done.report.values()) == len(weights(tmp_path / "0"))
    merge(
        "linear", base=tmp_path / "0", tuned=[tmp_path / "1"], lambdas=[0.3], out=tmp_path / "out"
    )
    verify(tmp_path / "out")

    base, tuned = doubles(tmp_path / "0"), doubles(tmp_path / "1")
    merged = weights(tmp_path / "out")
    assert merged.keys() == base.keys()
    for tensor, value in merged.items():
        assert_rounded(value, 0.7 * base[tensor] + 0.3 * tuned[tensor])

    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    tokens = torch.arange(10)[None]
    logits = [
        transformers.AutoModelForCausalLM.from_pretrained(tmp_path / folder)(tokens).logits
        for folder in ("0", "1")
    ]
    own = model(tokens).logits
    assert torch.isfinite(own).all()
    assert all(not torch.equal(own, other) for other in logits)
    # Saving what transformers loaded gives back what was merged.
    model.save_pretrained(tmp_path / "again")
    again = weights(tmp_path / "again")
    assert all(torch.equal(again[tensor], value) for tensor, value in merged.items())
