"""Tiny random models, made as users' files are: by transformers and peft."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

VOCABULARY = 64
SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
"""The sizes of a tiny model, as most configurations call them."""


def random_model(config: Any, seed: int, scale: float = 0.05) -> Any:
    """Return a model with seeded weights; norm weights too are not all ones."""
    import transformers

    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * scale)
    return model


def llama_config(**changes: Any) -> Any:
    import transformers

    return transformers.LlamaConfig(**(SMALL | {"tie_word_embeddings": False} | changes))


def write_tokenizer(folder: Path, extra: tuple[str, ...] = ()) -> None:
    """Write a word-level tokenizer with a chat template."""
    import transformers
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    words = {f"w{index}": index for index in range(VOCABULARY - 4)}
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="w0")), unk_token="w0"
    )
    fast.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    if extra:
        fast.add_tokens(list(extra))
    fast.save_pretrained(folder)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Read every tensor of a checkpoint with the safetensors library."""
    tensors: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(path)
    return tensors


def doubles(folder: Path) -> dict[str, torch.Tensor]:
    """Read every tensor of a checkpoint in float64."""
    return {name: tensor.double() for name, tensor in weights(folder).items()}


def copy_with(folder: Path, out: Path, changes: dict[str, torch.Tensor | None]) -> Path:
    """Copy a checkpoint to one file with some tensors replaced, added or, where None, removed."""
    import shutil

    out.mkdir()
    for path in folder.iterdir():
        if not path.name.startswith("model"):
            shutil.copy(path, out)
    tensors: dict[str, torch.Tensor | None] = {**weights(folder), **changes}
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, out / "model.safetensors", metadata={"format": "pt"})
    return out


def edit_json(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def assert_rounded(actual: torch.Tensor, exact: torch.Tensor) -> None:
    """At least 99.9 % of the values are the correctly rounded float64 result, the rest next to it.

    Small tensors may hold one value that is not.
    """
    expected = exact.to(actual.dtype)
    wrong = int((actual != expected).sum())
    assert wrong <= max(1, actual.numel() // 1000)
    torch.testing.assert_close(actual.double(), exact, rtol=2**-7, atol=1e-6)


def peft_merged(base: Path, adapter: Path) -> dict[str, torch.Tensor]:
    """Return peft's own merge of an adapter, computed in float64."""
    import peft
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64)
    wrapped = peft.PeftModel.from_pretrained(model, adapter).to(torch.float64)
    # Loading casts factors through float32, which holds what is stored exactly.
    return dict(wrapped.merge_and_unload().state_dict())
