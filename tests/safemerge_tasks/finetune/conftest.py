"""A tiny chat model and a few rows to fine-tune it on; every text is innocuous."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from safemerge_tasks.finetune import FinetuneConfig
from safemerge_tasks.toy.tokenizer import build_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return build_tokenizer()


@pytest.fixture(scope="session")
def chat_model(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a random two-layer Llama with the toy family's tokenizer and template."""
    folder = tmp_path_factory.mktemp("chat")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=1,
        num_key_value_heads=1,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def row(number: int) -> dict[str, str]:
    return {"prompt": f"How do I say {number}?", "response": f"Say {number}. " * (number % 5 + 1)}


@pytest.fixture(scope="session")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 40 rows: 36 to train on and 4 to validate with."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text("".join(json.dumps(row(number)) + "\n" for number in range(40)))
    return path


Configured = Callable[..., FinetuneConfig]


@pytest.fixture
def configured(chat_model: Path, rows_file: Path) -> Configured:
    """Return a function from keys to a configuration of the tiny model on one thread."""

    def make(**keys: Any) -> FinetuneConfig:
        given = {
            "base": str(chat_model),
            "data": str(rows_file),
            "device": "cpu",
            "threads": 1,
            "learning_rate": 1e-2,
            "epochs": 2,
            "batch_size": 6,
            "gradient_checkpointing": False,
        }
        return FinetuneConfig.checked({**given, **keys}, where="test")

    return make
