"""Fixtures: tiny models and adapters, made once per session."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from merge_models import copy_with, llama_config, random_model, write_tokenizer


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that gives the folder of a tiny Llama, made once per set of arguments."""
    root = tmp_path_factory.mktemp("models")
    made: dict[str, Path] = {}

    def make(
        seed: int, dtype: str = "bfloat16", shard: str = "5GB", tokens: int = 0, **changes: Any
    ) -> Path:
        key = json.dumps([seed, dtype, shard, tokens, sorted(changes.items())])
        if key not in made:
            folder = root / f"model{len(made)}"
            model = random_model(llama_config(**changes), seed).to(getattr(torch, dtype))
            model.save_pretrained(folder, max_shard_size=shard)
            write_tokenizer(folder, tuple(f"<new{index}>" for index in range(tokens)))
            made[key] = folder
        return made[key]

    return make


@pytest.fixture(scope="session")
def adapters(
    tmp_path_factory: pytest.TempPathFactory, models: Callable[..., Path]
) -> Callable[..., Path]:
    """Return a function that gives a LoRA adapter with random factors on the base of seed 0."""
    import peft
    import transformers

    root = tmp_path_factory.mktemp("adapters")
    made: dict[str, Path] = {}

    def make(seed: int = 0, base: Path | None = None, **lora: Any) -> Path:
        key = json.dumps([seed, str(base), sorted(lora.items())], default=str)
        if key not in made:
            folder = root / f"adapter{len(made)}"
            model = transformers.AutoModelForCausalLM.from_pretrained(base or models(0))
            settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
            torch.manual_seed(seed)
            wrapped = peft.get_peft_model(model, peft.LoraConfig(**(settings | lora)))
            with torch.no_grad():
                for parameter in wrapped.parameters():
                    if parameter.requires_grad:
                        parameter.add_(torch.randn(parameter.shape) * 0.1)
            wrapped.save_pretrained(folder)
            made[key] = folder
        return made[key]

    return make


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every merge take tiny tensors in many blocks, most of which begin inside a row."""
    monkeypatch.setattr("merge.formats.checksums.BLOCK_ELEMENTS", 100)


@pytest.fixture
def tuned(tmp_path: Path, models: Callable[..., Path]) -> Path:
    """Return a fine-tuned model of the test's own, in one file."""
    return copy_with(models(1), tmp_path / "tuned", {})


@pytest.fixture
def sharded(tmp_path: Path, models: Callable[..., Path]) -> Path:
    """Return a fine-tuned model of the test's own, in several files."""
    return shutil.copytree(models(1, shard="4KB"), tmp_path / "sharded")
