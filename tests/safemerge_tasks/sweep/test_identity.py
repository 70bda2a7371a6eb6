"""What a model is called in keys: its content, wherever it lies."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep import identity as module
from safemerge_tasks.sweep.identity import model_identity


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFEMERGE_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_content_decides_and_not_the_place(model: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(model, elsewhere)
    os.utime(elsewhere / "model.safetensors", (1, 1))
    assert model_identity(str(elsewhere)) == model_identity(str(model))


def test_the_only_model_below_a_folder_is_meant(model: Path, tmp_path: Path) -> None:
    """As peft saves an adapter by its name, and trainers save checkpoints."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "tokenizer.json").write_text("{}")
    shutil.copytree(model, run / "checkpoint-2")
    before = model_identity(str(run))
    assert before == model_identity(str(model))
    (run / "checkpoint-2" / "model.safetensors").write_bytes(b"others")
    assert model_identity(str(run)) != before
    shutil.copytree(model, run / "checkpoint-4")
    with pytest.raises(SafemergeError, match="several models or adapters: checkpoint-2, checkpo"):
        model_identity(str(run))


def test_every_byte_counts(model: Path) -> None:
    before = model_identity(str(model))
    (model / "config.json").write_text("[]")
    changed = model_identity(str(model))
    assert changed != before
    # The same size; only the times tell.
    (model / "model.safetensors").write_bytes(b"Weights")
    assert model_identity(str(model)) not in (before, changed)


def test_names_count(model: Path) -> None:
    before = model_identity(str(model))
    (model / "config.json").rename(model / "other.json")
    assert model_identity(str(model)) != before


@pytest.mark.parametrize("name", ["README.md", "train.log", ".hidden", "model.lock"])
def test_what_changes_no_answer_does_not(model: Path, name: str) -> None:
    before = model_identity(str(model))
    (model / name).write_text("x")
    assert model_identity(str(model)) == before


def test_chat_templates_in_their_folder_count(model: Path) -> None:
    before = model_identity(str(model))
    (model / "additional_chat_templates").mkdir()
    template = model / "additional_chat_templates" / "tools.jinja"
    template.write_text("{{ messages }}")
    added = model_identity(str(model))
    template.write_text("{{ tools }}")
    assert len({before, added, model_identity(str(model))}) == 3


@pytest.mark.parametrize("said", ["1", "true", "yes", "ON"])
def test_however_offline_is_said(said: str) -> None:
    code = "from huggingface_hub import HfApi; HfApi.model_info = None\n"
    code += "from safemerge_tasks.sweep.identity import model_identity; model_identity('org/none')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HF_HUB_OFFLINE": said},
        capture_output=True,
        text=True,
        check=False,
    )
    # Nobody was asked: the Hub's API, which is None, would be an error of another kind.
    assert "SafemergeError: org/none" in done.stderr


def test_links_are_followed(model: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in model.iterdir():
        (linked / path.name).symlink_to(path)
    assert model_identity(str(linked)) == model_identity(str(model))


def test_a_file_is_read_once(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    opened = Path.open

    def noting(path: Path, mode: str = "r", *more: object, **named: object) -> object:
        if path.parent == model and "b" in mode:
            read.append(path.name)
        return opened(path, mode, *more, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(module.Path, "open", noting)
    first = model_identity(str(model))
    assert sorted(read) == ["config.json", "model.safetensors"]
    assert model_identity(str(model)) == first
    assert len(read) == 2
    (model / "config.json").write_text("[1]")
    assert model_identity(str(model)) != first
    assert read[2:] == ["config.json"]


def test_a_plan_reads_nothing_new(model: Path) -> None:
    assert model_identity(str(model), read=False) is None
    known = model_identity(str(model))
    assert model_identity(str(model), read=False) == known
    (model / "model.safetensors").write_bytes(b"Weights")
    assert model_identity(str(model), read=False) is None


def test_a_model_with_an_adapter(model: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    whole = model_identity(f"{model}+{adapter}")
    assert whole == f"{model_identity(str(model))}+{model_identity(str(adapter))}"


@pytest.mark.parametrize("name", ["/no/such/folder", "missing", "./a/b"])
def test_a_folder_that_is_not_there(name: str) -> None:
    with pytest.raises(SafemergeError, match=f"{name}: no such folder; check the path, or give"):
        model_identity(name)


def test_a_hub_model_that_is_not_here() -> None:
    with pytest.raises(SafemergeError, match="org/nothing"):
        model_identity("org/nothing")


def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SafemergeError, match="empty holds no files; name a model's folder"):
        model_identity(str(tmp_path / "empty"))
