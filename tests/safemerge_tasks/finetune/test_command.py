"""`safemerge finetune` as it is typed, also under accelerate's launcher."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner

from safemerge_tasks.cli import app
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.finetune import FinetuneConfig

from .conftest import Configured

RUNNER = CliRunner()


def write(config: FinetuneConfig, folder: Path) -> str:
    path = folder / "c.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_none=True)))
    return str(path)


def run(*arguments: str) -> str:
    """Return standard output; an error is raised as it is."""
    result = RUNNER.invoke(app, ["finetune", *arguments])
    if result.exception is not None:
        raise result.exception
    return result.stdout


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "safemerge_finetune.json").read_text())
    return found


def test_a_check_trains_nothing(configured: Configured, tmp_path: Path) -> None:
    path, out = write(configured(seeds=[42, 7], epochs=3), tmp_path), tmp_path / "out"
    text = run(path, "--check", "--out", str(out))
    assert "seed 42: 36 training and 4 validation rows, 18 steps" in text
    assert "seed 7: 36" in text
    found = json.loads(run(path, "--check", "--out", str(out), "--json"))
    assert [one["seed"] for one in found] == [42, 7]
    assert found[0]["steps"] == 18
    assert not out.exists()


def test_one_seed_goes_to_the_folder_and_several_below_it(
    configured: Configured, tmp_path: Path
) -> None:
    path = write(configured(seeds=[42, 7], checkpoint_step=1), tmp_path)
    both = json.loads(run(path, "--out", str(tmp_path / "both"), "--json"))
    assert [one["out"] for one in both] == [str(tmp_path / "both" / f"seed-{n}") for n in (42, 7)]
    line = run(path, "--seed", "7", "--out", str(tmp_path / "one"))
    assert "1 steps, last training loss" in line
    assert manifest(tmp_path / "one")["tensors"] == manifest(tmp_path / "both/seed-7")["tensors"]


def test_the_default_folder_is_the_configurations_name(
    configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(write(configured(checkpoint_step=1), tmp_path))
    assert manifest(tmp_path / "c")["steps"] == 1


def test_errors_are_one_sentence_and_status_2(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("base: m\ndata: d.jsonl\nlearningrate: 1\n")
    command = [sys.executable, "-m", "safemerge_tasks", "finetune", str(tmp_path / "c.yaml")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.startswith("safemerge: ")
    assert "did you mean learning_rate?" in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_impossible_seeds(configured: Configured, tmp_path: Path) -> None:
    with pytest.raises(SafemergeError, match="--seed -1: give whole numbers from 0"):
        run(write(configured(), tmp_path), "--seed", "-1")


def test_two_processes_share_the_batch(configured: Configured, tmp_path: Path) -> None:
    """Each computes half of a batch; responses differ in length, and every token counts once."""
    config = configured(epochs=2, save_every=5, dtype="float32")
    path = write(config, tmp_path)
    launch = [
        *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"),
        *("--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"),
        *("--mixed_precision", "no", "--dynamo_backend", "no"),
        *("-m", "safemerge_tasks", "finetune", path, "--out", str(tmp_path / "two")),
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        launch, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("seed 42:") == 1
    run(path, "--out", str(tmp_path / "one"))
    two, one = manifest(tmp_path / "two"), manifest(tmp_path / "one")
    assert (two["processes"], one["processes"]) == (2, 1)
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-4)
    assert two["identity"] == one["identity"]
    ours, theirs = (
        load_file(tmp_path / name / "adapter_model.safetensors") for name in ("two", "one")
    )
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-2, atol=1e-4)
    assert not (tmp_path / ".two.training").exists()
