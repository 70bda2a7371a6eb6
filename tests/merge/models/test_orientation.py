"""Layers that keep their weights as `[in, out]`, beside layers that do not."""

import peft
import pytest
import torch
import transformers
from merge_models import SMALL, edit_json, llama_config, random_model

from merge import merge

TOKENS = torch.arange(3, 13)[None]


def gpt2(kind=transformers.GPT2Config):
    return kind(
        vocab_size=70, n_positions=32, n_embd=16, n_layer=2, n_head=4, tie_word_embeddings=False
    )


CASES = {
    # Square, so that the shape does not tell; and peft's flag is that of the head, its last module.
    "beside a head": (gpt2, r".*attn\.c_proj|lm_head", {}),
    "beside a head, DoRA": (gpt2, r".*attn\.c_proj|lm_head", {"use_dora": True}),
    "not square": (gpt2, ["c_attn", "lm_head"], {}),
    # The same names of layers that are none of GPT-2's.
    "other layers": (lambda: gpt2(transformers.GPTBigCodeConfig), ["c_attn", "c_proj"], {}),
    "llama": (lambda: llama_config(**SMALL), ["q_proj", "o_proj"], {}),
}


@pytest.mark.parametrize("flag", [True, False])
@pytest.mark.parametrize("what", CASES)
def test_the_flag_of_an_adapter_is_not_asked(tmp_path, what, flag):
    config, targets, more = CASES[what]
    base, adapter, out = (tmp_path / name for name in ("base", "adapter", "out"))
    random_model(config(), 0, 0.3).save_pretrained(base)
    load = transformers.AutoModelForCausalLM.from_pretrained
    lora = peft.LoraConfig(r=4, lora_alpha=8, target_modules=targets, **more)
    torch.manual_seed(1)
    wrapped = peft.get_peft_model(load(base, dtype=torch.float32), lora)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape) * 0.3)
    wrapped.save_pretrained(adapter)
    edit_json(adapter / "adapter_config.json", fan_in_fan_out=flag)
    merge("linear", base=base, tuned=[adapter], lambdas=[1], out=out)
    expected = wrapped.eval()(TOKENS).logits
    torch.testing.assert_close(load(out).eval()(TOKENS).logits, expected, rtol=1e-3, atol=1e-3)
