"""vLLM loads what was merged: an adapter gives the logits of its merged checkpoint."""

import json
import os
import subprocess
import sys

import pytest
import transformers
from merge_models import llama_config, random_model, write_tokenizer

from merge import merge

pytestmark = pytest.mark.vllm

# Prints the log-probabilities of a prompt's tokens, for the model itself and for each adapter.
SCORE = """
import json, sys
from vllm import LLM, SamplingParams, TokensPrompt
from vllm.lora.request import LoRARequest

def main():
    model, *adapters = sys.argv[1:]
    options = {"enable_lora": True, "max_lora_rank": 8, "max_loras": 1} if adapters else {}
    engine = LLM(model, dtype="float32", enforce_eager=True, max_model_len=64, **options)
    prompt = TokensPrompt(prompt_token_ids=[1, 7, 19, 33, 4, 52, 28, 11, 40, 2, 9])
    sampling = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0)
    requests = [None] + [LoRARequest(path, n, path) for n, path in enumerate(adapters, 1)]
    rows = []
    for request in requests:
        [output] = engine.generate([prompt], sampling, lora_request=request, use_tqdm=False)
        rows.append([next(iter(p.values())).logprob for p in output.prompt_logprobs[1:]])
    print("RESULT", json.dumps(rows))

if __name__ == "__main__":
    main()
"""


# Prints the log-probabilities of a prompt's tokens for each model; one process, as most of its time
# is starting up.
SCORE_EACH = """
import json, sys
from vllm import LLM, SamplingParams, TokensPrompt
from safemerge_tasks.judges.engines.vllm import shut_down

def main():
    rows = []
    sampling = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0)
    for model in sys.argv[1:]:
        engine = LLM(model, dtype="float32", enforce_eager=True, max_model_len=64)
        prompt = TokensPrompt(prompt_token_ids=[1, 7, 19, 33, 4, 52, 28, 11, 40, 2, 9])
        [output] = engine.generate([prompt], sampling, use_tqdm=False)
        rows.append([next(iter(p.values())).logprob for p in output.prompt_logprobs[1:]])
        shut_down(engine)
    print("RESULT", json.dumps(rows))

if __name__ == "__main__":
    main()
"""
PROMPT = [1, 7, 19, 33, 4, 52, 28, 11, 40, 2, 9]

# vLLM's CPU attention wants heads of 32 and more.
SIZES = {
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
# Not GPT-NeoX: vLLM 0.32 does not load it on a CPU, merged or not.
ARCHITECTURES = {
    "gemma2": lambda: transformers.Gemma2Config(**SIZES, head_dim=32),
    "qwen2": lambda: transformers.Qwen2Config(**SIZES),
    "qwen3": lambda: transformers.Qwen3Config(**SIZES, head_dim=32, tie_word_embeddings=True),
    "mistral": lambda: transformers.MistralConfig(**SIZES),
    "mixtral": lambda: transformers.MixtralConfig(**SIZES, num_local_experts=4),
    "qwen3-moe": lambda: transformers.Qwen3MoeConfig(
        **SIZES, head_dim=32, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=64
    ),
}


def scores(model, *adapters, script=SCORE):
    environment = os.environ | {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    }
    done = subprocess.run(
        [sys.executable, "-c", script, str(model), *map(str, adapters)],
        capture_output=True,
        text=True,
        check=False,
        env=environment | {"OMP_NUM_THREADS": "2", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"},
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, done.stderr[-3000:]
    return json.loads(lines[0].removeprefix("RESULT "))


def test_adapters_give_the_merged_checkpoints_logits(tmp_path):
    import peft
    import torch

    base = tmp_path / "base"
    config = llama_config(hidden_size=64, num_attention_heads=2, num_key_value_heads=2)
    random_model(config, 0).save_pretrained(base)
    write_tokenizer(base)
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    lora = peft.LoraConfig(r=4, lora_alpha=16, target_modules="all-linear", use_rslora=True)
    wrapped = peft.get_peft_model(model, lora)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape) * 0.2)
    wrapped.save_pretrained(tmp_path / "tuned")

    arguments = {"base": base, "tuned": [tmp_path / "tuned"], "lambdas": [0.3, 0.7]}
    merge("linear", out=tmp_path / "adapters", output="adapter", **arguments)
    merge("linear", out=tmp_path / "merged", **arguments)
    plain, *adapted = scores(
        base, tmp_path / "adapters/lambda-0.3", tmp_path / "adapters/lambda-0.7"
    )
    [merged] = scores(tmp_path / "merged/lambda-0.7")
    assert adapted[1] == pytest.approx(merged, abs=1e-3)
    assert max(abs(a - b) for a, b in zip(plain, merged, strict=True)) > 0.05
    assert max(abs(a - b) for a, b in zip(adapted[0], merged, strict=True)) > 0.05


def test_merged_models_of_every_architecture_give_transformers_logits(tmp_path):
    import torch

    merged = {}
    for name, config in ARCHITECTURES.items():
        for seed in (0, 1):
            random_model(config(), seed).save_pretrained(tmp_path / name / str(seed))
            write_tokenizer(tmp_path / name / str(seed))
        folders = {"base": tmp_path / name / "0", "tuned": [tmp_path / name / "1"]}
        merge("linear", **folders, lambdas=[0.4], out=tmp_path / name / "out")
        merged[name] = tmp_path / name / "out"
    served = scores(*merged.values(), script=SCORE_EACH)
    for row, (name, folder) in zip(served, merged.items(), strict=True):
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        logprobs = model(torch.tensor([PROMPT])).logits[0].log_softmax(-1)
        own = [float(logprobs[place, token]) for place, token in enumerate(PROMPT[1:])]
        assert row == pytest.approx(own, abs=1e-4), name
