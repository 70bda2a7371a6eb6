"""The commands, as users run them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from merge_models import weights

SAFEMERGE = str(Path(sys.executable).with_name("safemerge"))


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [SAFEMERGE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def test_flags_recipe_and_verify(tmp_path, models):
    base, tuned, out = models(0), models(1), tmp_path / "out"
    done = run(
        "merge", "--method", "linear", "--base", base, "--tuned", tuned, "--lambda", "0.2,0.4",
        "--out", out,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"written {out}/lambda-0.2", f"written {out}/lambda-0.4"]

    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"merge_method: linear\nmodels:\n  - model: {base}\n    parameters: {{weight: 0.6}}\n"
        f"  - model: {tuned}\n    parameters: {{weight: 0.4}}\n"
    )
    done = run("merge", "--recipe", recipe, "--out", tmp_path / "other", "--json")
    assert json.loads(done.stdout)["written"] == [str(tmp_path / "other")]
    flags, yaml = weights(out / "lambda-0.4"), weights(tmp_path / "other")
    assert all((flags[name] - yaml[name]).abs().max() < 1e-2 for name in flags)

    verified = run("verify", out, "--json")
    assert len(json.loads(verified.stdout)["verified"]) == 2
    (out / "lambda-0.2/config.json").write_text("{}")
    broken = run("verify", out)
    assert broken.returncode == 2
    assert broken.stderr.startswith("safemerge: ")


def test_check_writes_nothing(tmp_path, models):
    arguments = ["--method", "linear", "--base", models(0), "--tuned", models(1), "--lambda", "1"]
    done = run("merge", *arguments, "--out", tmp_path / "out", "--check", "--json")
    assert json.loads(done.stdout)["tensors"] == len(weights(models(0)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --method"),
        (["--method", "lineer"], "did you mean linear?"),
        (["--method", "linear", "--tuned", "x", "--lambda", "1"], "give --base"),
        (["--method", "linear", "--base", "x", "--lambda", "1"], "add --tuned"),
        (["--method", "linear", "--base", "x", "--tuned", "y"], "give --lambda"),
        (["--method", "linear", "--base", "x", "--tuned", "y", "--lambda", "a"], "not a number"),
        (
            ["--method", "linear", "--base", "./x", "--tuned", "y", "--lambda", "1"],
            "./x: no such folder",
        ),
        (
            ["--method", "linear", "--base", "x", "--tuned", "y", "--lambda", "1", "--gamma", "1"],
            "gamma is not a parameter",
        ),
        (["--max-shard-size", "many", "--method", "linear"], "such as 5GB"),
        (["--recipe", "none.yaml"], "no such recipe"),
        (["--method", "linear", "--base", "", "--tuned", "y"], "--base is empty"),
        (["--method", "linear", "--base", "x", "--base", "y"], "--base is given twice"),
        (
            ["--method", "linear", "--base", "z", "--tuned", "x", "--tuned", "x"],
            "--tuned x is given twice",
        ),
        (["--method", "linear", "--set", "a=1", "--set", "a=2"], "gives a twice"),
        (["--method", "dare-linear", "--density", "1", "--drop-rate", "0"], "the same twice"),
        (
            [
                "--threads",
                "-1",
                "--method",
                "linear",
                "--base",
                "x",
                "--tuned",
                "y",
                "--lambda",
                "1",
            ],
            "--threads is -1",
        ),
        (["--recipe", "none.yaml", "--base", "x"], "remove --base"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, arguments, message):
    done = run("merge", *arguments, "--out", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def recipe_file(tmp_path, models, **lines):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"merge_method: resta\nbase_model: {models(0)}\nmodels: [{{model: {models(1)}}}]\n"
        f"unaligned_model: {models(2)}\nparameters: {{gamma: 0.5, drop_rate: 0.3}}\n"
        + "".join(f"{key}: {value}\n" for key, value in lines.items())
    )
    return path


def test_flags_beside_a_recipe_win(tmp_path, models):
    recipe = recipe_file(tmp_path, models, seed=5, max_shard_size="1GB", dtype="float32")
    for name, flags in {
        "file": [],
        "flags": ["--seed", 0, "--max-shard-size", "3KB", "--dtype", "bfloat16"],
    }.items():
        done = run("merge", "--recipe", recipe, *flags, "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "flags/safemerge_manifest.json").read_text())
    assert manifest["recipe"]["seed"] == 0
    assert len(list((tmp_path / "flags").glob("*.safetensors"))) > 1
    found = {name: weights(tmp_path / name)["model.norm.weight"] for name in ("file", "flags")}
    assert [str(tensor.dtype) for tensor in found.values()] == ["torch.float32", "torch.bfloat16"]


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--gamma", 0), ("--drop-rate", 0), ("--density", 0), ("--set", "gamma=0"), ("--lambda", 0)],
)
def test_a_flag_that_the_recipe_says_is_refused_even_if_it_is_zero(tmp_path, models, flag, value):
    recipe = recipe_file(tmp_path, models)
    done = run("merge", "--recipe", recipe, flag, value, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert f"remove {flag} or write it into" in done.stderr


def test_public_names_are_there():
    """With the types of what they return."""
    import merge

    assert {"Plan", "check", "merge"} <= set(merge.__all__)
    assert all(getattr(merge, name) for name in merge.__all__)


@pytest.mark.parametrize("device", ["cuda", "gpu", "mps"])
def test_a_device_that_is_not_there(tmp_path, models, device):
    import torch

    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has one")
    for more in (["--check"], []):
        done = run(
            "merge", "--method", "linear", "--base", models(0), "--tuned", models(1), "--lambda",
            "0.5", "--device", device, "--out", tmp_path / "out", *more,
        )  # fmt: skip
        assert done.returncode == 2
        assert "finds no such device here" in done.stderr


@pytest.mark.parametrize(("place", "message"), [("", "--out is empty"), ("o" * 300, "too long")])
def test_a_place_that_is_none(tmp_path, models, place, message):
    """An empty one is not the folder one is in."""
    done = run(
        "merge", "--method", "linear", "--base", models(0), "--tuned", models(1), "--lambda", "1",
        "--out", place, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []
