"""What is merged of every architecture answers in vLLM as an independent merge does, to the token.

The independent merge is `(1-λ)·base + λ·tuned` of transformers' own models in torch, written to a
folder of its own and answered by transformers. Left out, because vLLM 0.32 does not serve them on a
CPU, merged or not: GPT-NeoX, DeepSeek-V3 in float32, and models that see (multimodal Gemma 3,
Qwen2.5-VL), which want torchvision. Those are compared in transformers alone, in
tests/merge/models/test_architectures.py.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from merge_models import random_model, write_tokenizer

from tests.command_line import CommandLine
from tests.slow import slow

pytestmark = [pytest.mark.vllm, slow]

LAMBDA = 0.4
NEW_TOKENS = 12
PROMPTS = [[1, 7, 19, 33, 4, 52, 28], [11, 40, 2, 9]]

# vLLM's CPU attention wants heads of 32 and more.
SIZES = {
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "eos_token_id": 63,
}
# Gemma's large tied embeddings would repeat the last token for ever, whatever two layers add.
DEEP = SIZES | {"num_hidden_layers": 8}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
STATE_SPACE = {
    "mamba_d_ssm": 64,
    "mamba_n_heads": 2,
    "mamba_d_head": 32,
    "mamba_n_groups": 1,
    "mamba_d_state": 16,
    "mamba_chunk_size": 16,
}
ARCHITECTURES = {
    "llama": lambda: transformers.LlamaConfig(**SIZES),
    "mistral": lambda: transformers.MistralConfig(**SIZES),
    "mixtral": lambda: transformers.MixtralConfig(**SIZES, num_local_experts=4),
    "qwen2.5": lambda: transformers.Qwen2Config(**SIZES),
    "qwen3": lambda: transformers.Qwen3Config(**SIZES, head_dim=32, tie_word_embeddings=True),
    "qwen3-moe": lambda: transformers.Qwen3MoeConfig(**SIZES, **EXPERTS, head_dim=32),
    "gemma2": lambda: transformers.Gemma2Config(**DEEP, head_dim=32),
    "gemma3-text": lambda: transformers.Gemma3TextConfig(**DEEP, head_dim=32),
    "gpt-oss": lambda: transformers.GptOssConfig(
        **SIZES, head_dim=32, num_local_experts=4, num_experts_per_tok=2
    ),
    "falcon-h1": lambda: transformers.FalconH1Config(**SIZES, **STATE_SPACE, head_dim=32),
}

# Answers with every folder in turn; one process, as importing vLLM takes longer than an engine.
ANSWER = """
import json, sys
from vllm import LLM, SamplingParams, TokensPrompt
from safemerge_tasks.judges.engines.vllm import shut_down

def main():
    prompts, count, *folders = json.loads(sys.argv[1])
    prompts = [TokensPrompt(prompt_token_ids=prompt) for prompt in prompts]
    sampling = SamplingParams(max_tokens=count, temperature=0, ignore_eos=True)
    answers = []
    for folder in folders:
        engine = LLM(folder, dtype="float32", enforce_eager=True, max_model_len=64)
        outputs = engine.generate(prompts, sampling, use_tqdm=False)
        answers.append([list(output.outputs[0].token_ids) for output in outputs])
        shut_down(engine)
    print("RESULT", json.dumps(answers))

if __name__ == "__main__":
    main()
"""


def answered_by_vllm(folders: Sequence[Path]) -> list[list[list[int]]]:
    environment = os.environ | {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "2",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }
    asked = json.dumps([PROMPTS, NEW_TOKENS, *map(str, folders)])
    done = subprocess.run(
        [sys.executable, "-c", ANSWER, asked],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, done.stderr[-3000:]
    answers: list[list[list[int]]] = json.loads(lines[0].removeprefix("RESULT "))
    return answers


def answered_by_transformers(folder: Path) -> list[list[int]]:
    """Return the most probable tokens, each computed from all before it, without a cache."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    answers = []
    for prompt in PROMPTS:
        tokens = list(prompt)
        for _ in range(NEW_TOKENS):
            with torch.no_grad():
                logits = model(torch.tensor([tokens]), use_cache=False).logits
            tokens.append(int(logits[0, -1].argmax()))
        answers.append(tokens[len(prompt) :])
    return answers


def merge_independently(folder: Path) -> Path:
    """Write the merge that transformers and torch make of a folder's base and fine-tune."""
    load = transformers.AutoModelForCausalLM.from_pretrained
    base, tuned = (load(folder / part, dtype=torch.float32) for part in ("base", "tuned"))
    other = tuned.state_dict()
    merged = {
        name: (1 - LAMBDA) * value + LAMBDA * other[name] if value.is_floating_point() else value
        for name, value in base.state_dict().items()
    }
    base.load_state_dict(merged)
    base.save_pretrained(folder / "independent")
    return folder / "independent"


def test_merged_models_answer_as_independent_merges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = CommandLine(monkeypatch, capsys, tmp_path)
    for name, config in ARCHITECTURES.items():
        for seed, part in enumerate(("base", "tuned")):
            model: Any = random_model(config(), seed, scale=0.2)
            model.save_pretrained(tmp_path / name / part)
            write_tokenizer(tmp_path / name / part)
        done = run(
            "merge", "--method", "linear", "--base", f"{name}/base", "--tuned", f"{name}/tuned",
            "--lambda", str(LAMBDA), "--out", f"{name}/merged",
        )  # fmt: skip
        assert done.status == 0, (name, done.err)
    served = answered_by_vllm([tmp_path / name / "merged" for name in ARCHITECTURES])
    for name, answers in zip(ARCHITECTURES, served, strict=True):
        expected = answered_by_transformers(merge_independently(tmp_path / name))
        assert answers == expected, name
        # The test would see a model that is one of the inputs.
        for part in ("base", "tuned"):
            assert answered_by_transformers(tmp_path / name / part) != expected, (name, part)
