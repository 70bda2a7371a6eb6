"""Killed at any moment, a run continues where it was and ends with the same bits."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.finetune import FinetuneConfig, finetune
from safemerge_tasks.finetune.checkpoints import last_complete, mark_complete, remove_incomplete

from .conftest import Configured

# Dropout draws random numbers at every step, and a checkpoint must hold their state.
KEYS: dict[str, Any] = {"epochs": 20, "save_every": 2, "lora": {"dropout": 0.1}}
STEPS = 120
COMMAND = (sys.executable, "-m", "safemerge_tasks", "finetune")


def write(config: FinetuneConfig, folder: Path) -> Path:
    path = folder / "c.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_none=True)))
    return path


def killed(config: FinetuneConfig, out: Path, after: int) -> Path:
    """Start a run, kill it once it has gone `after` steps, and return its working folder."""
    work = out.parent / f".{out.name}.training"
    process = subprocess.Popen(
        [*COMMAND, write(config, out.parent), "--out", out],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    try:
        while process.poll() is None and time.monotonic() < deadline:
            steps = [int(path.name[11:]) for path in work.glob("checkpoint-*")]
            if max(steps, default=0) >= after:
                break
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not out.exists()
    return work


def bits(out: Path) -> tuple[bytes, list[float], float]:
    manifest = json.loads((out / "safemerge_finetune.json").read_text())
    weights = (out / "adapter_model.safetensors").read_bytes()
    return weights, manifest["losses"], manifest["validation_loss"]


def test_a_killed_run_ends_with_the_bits_of_an_undisturbed_one(
    configured: Configured, tmp_path: Path
) -> None:
    config = configured(**KEYS)
    undisturbed = bits(finetune(config, 42, tmp_path / "undisturbed"))
    assert len(undisturbed[1]) == STEPS
    work = killed(config, tmp_path / "out", 5)
    first = last_complete(work)
    # Again, from another place, and with something half-written beside it.
    killed(config, tmp_path / "out", 40)
    (work / "checkpoint-119").mkdir()
    (work / "checkpoint-119" / "trainer_state.json").write_text('{"global_step": 119')
    second = last_complete(work)
    assert first != second
    told: list[int] = []
    finetune(config, 42, tmp_path / "out", progress=lambda step, _: told.append(step))
    assert bits(tmp_path / "out") == undisturbed
    assert told[0] > 5
    assert not work.exists()


def test_killed_while_the_result_is_written(
    configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(epochs=1)

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("safemerge_tasks.finetune.output._checksums", dies)
        with pytest.raises(KeyboardInterrupt):
            finetune(config, 42, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr("safemerge_tasks.finetune.training.train", None)
    finetune(config, 42, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_checkpoints_of_another_configuration_are_not_continued(
    configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = killed(configured(**KEYS), tmp_path / "out", 5)
    assert last_complete(work)
    other = configured(**{**KEYS, "epochs": 1})
    told: list[int] = []
    finetune(other, 42, tmp_path / "out", progress=lambda step, _: told.append(step))
    assert told == [1, 2, 3, 4, 5, 6]
    assert bits(tmp_path / "out") == bits(finetune(other, 42, tmp_path / "afresh"))


def test_the_working_folder_can_be_elsewhere(configured: Configured, tmp_path: Path) -> None:
    work = tmp_path / "scratch" / "work"
    seen: list[bool] = []
    finetune(
        configured(epochs=1),
        42,
        tmp_path / "results" / "out",
        work=work,
        progress=lambda *_: seen.append(work.is_dir()),
    )
    assert all(seen)
    assert not work.exists()


def test_two_runs_do_not_share_a_folder(configured: Configured, tmp_path: Path) -> None:
    config = configured(epochs=1)
    refused: list[str] = []

    def second(*_: int) -> None:
        with pytest.raises(SafemergeError) as error:
            finetune(config, 42, tmp_path / "out")
        refused.append(str(error.value))

    finetune(config, 42, tmp_path / "out", progress=second)
    assert all("Another run is fine-tuning into" in one for one in refused)
    assert len(refused) == 6


def test_only_what_is_marked_counts(tmp_path: Path) -> None:
    for step in (2, 4, 10):
        (tmp_path / f"checkpoint-{step}").mkdir()
    (tmp_path / "checkpoint-last").mkdir()
    assert last_complete(tmp_path) is None
    mark_complete(tmp_path, 4)
    assert last_complete(tmp_path) == tmp_path / "checkpoint-4"
    (tmp_path / "checkpoint-10").mkdir()
    remove_incomplete(tmp_path)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["checkpoint-4", "checkpoint-last"]
