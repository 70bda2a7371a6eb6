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


# Prints the same for a model, and for a merge whose tensors are put into its running engine.
RELOAD = """
import json, sys
from merge import build_recipe, merge_tensors
from vllm import LLM, SamplingParams, TokensPrompt

def score(engine):
    prompt = TokensPrompt(prompt_token_ids=[1, 7, 19, 33, 4, 52, 28, 11, 40, 2, 9])
    sampling = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0)
    [output] = engine.generate([prompt], sampling, use_tqdm=False)
    return [next(iter(p.values())).logprob for p in output.prompt_logprobs[1:]]

def main():
    base, tuned = sys.argv[1:]
    engine = LLM(base, dtype="float32", enforce_eager=True, max_model_len=64,
                 enable_prefix_caching=False)
    rows = [score(engine)]
    recipe = build_recipe(method="linear", base=base, tuned=[{"model": tuned}], lambdas=[0.7])
    engine.collective_rpc("reload_weights", kwargs={"weights_iterator": merge_tensors(recipe)})
    print("RESULT", json.dumps([*rows, score(engine)]))

if __name__ == "__main__":
    main()
"""


def test_tensors_go_into_a_running_engine(tmp_path):
    folders = [tmp_path / "base", tmp_path / "tuned"]
    for seed, folder in enumerate(folders):
        config = llama_config(hidden_size=64, num_attention_heads=2, num_key_value_heads=2)
        random_model(config, seed).save_pretrained(folder)
        write_tokenizer(folder)
    base, tuned = folders
    merge("linear", base=base, tuned=[tuned], lambdas=[0.7], out=tmp_path / "merged")
    before, after = scores(base, tuned, script=RELOAD)
    [merged] = scores(tmp_path / "merged")
    assert after == pytest.approx(merged, abs=1e-4)
    assert max(abs(a - b) for a, b in zip(before, after, strict=True)) > 0.05
