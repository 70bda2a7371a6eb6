"""Models on the Hub: merged from there, and checked without fetching their weights."""

import shutil
import subprocess
import sys

import pytest
import torch
from merge_models import weights

from merge import merge
from tests.hub_server import COMMIT, hub, hub_environment

SMALL_FILES = 20_000


@pytest.fixture
def served(models, tmp_path):
    """Return a function that runs `safemerge` against a Hub that serves the models."""
    folders = {"lab/aligned": models(0), "lab/tuned": models(1)}
    with hub(folders) as server:

        def run(*words, hub_url=server.url):
            environment = hub_environment(hub_url, tmp_path / "hub")
            environment["TMPDIR"] = str(tmp_path / "temporary")
            (tmp_path / "temporary").mkdir(exist_ok=True)
            return subprocess.run(
                [sys.executable, "-m", "safemerge_tasks", "merge", *map(str, words)],
                capture_output=True,
                text=True,
                env=environment,
                check=False,
            )

        run.server = server
        yield run


WORDS = ("--method", "linear", "--base", "lab/aligned", "--tuned", "lab/tuned", "--lambda", "0.5")


def test_a_model_on_the_hub_merges_as_the_same_folder(served, models, tmp_path):
    ran = served(*WORDS, "--out", tmp_path / "hub-out")
    assert ran.returncode == 0, ran.stderr
    merge("linear", base=models(0), tuned=[models(1)], lambdas=[0.5], out=tmp_path / "out")
    ours, same = weights(tmp_path / "hub-out"), weights(tmp_path / "out")
    assert all(torch.equal(ours[name], same[name]) for name in same)
    assert COMMIT in (tmp_path / "hub-out" / "safemerge_manifest.json").read_text()


def test_the_terms_of_a_base_on_the_hub_go_with_the_merge(served, models, tmp_path):
    base = shutil.copytree(models(0), tmp_path / "with-terms")
    for name in ("LICENSE", "NOTICE", "USE_POLICY.md"):
        (base / name).write_text(name)
    served.server.models["lab/aligned"] = base
    ran = served(*WORDS, "--out", tmp_path / "out")
    assert ran.returncode == 0, ran.stderr
    for name in ("LICENSE", "NOTICE", "USE_POLICY.md"):
        assert (tmp_path / "out" / name).read_text() == name


SECOND_COPIES = (
    "consolidated.safetensors",
    "original/model.safetensors",
    "metal/model.bin",
    "checkpoint-5/model.safetensors",
    "global_step5/states.safetensors",
)


@pytest.mark.parametrize("more", [[], ["--check"]])
def test_second_copies_of_the_weights_stay_on_the_hub(served, models, tmp_path, more):
    folder = shutil.copytree(models(1), tmp_path / "full")
    for name in SECOND_COPIES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"no weights")
    served.server.models["lab/tuned"] = folder
    ran = served(*WORDS, "--out", tmp_path / "out", *more)
    assert ran.returncode == 0, ran.stderr
    fetched = {part for path in (tmp_path / "hub").rglob("*") for part in path.parts}
    assert "config.json" in fetched
    assert not fetched & {name.partition("/")[0] for name in SECOND_COPIES}


def test_a_check_fetches_headers_only_and_leaves_nothing_behind(served, models, tmp_path):
    # Larger than what the Hub's client reads of a file to find its header.
    padding = torch.zeros(300_000)
    from safetensors.torch import load_file, save_file

    for name, folder in served.server.models.items():
        copy = tmp_path / name
        copy.mkdir(parents=True)
        for path in folder.iterdir():
            (copy / path.name).write_bytes(path.read_bytes())
        tensors = load_file(copy / "model.safetensors") | {"padding": padding}
        save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
        served.server.models[name] = copy
    ran = served(*WORDS, "--check")
    assert ran.returncode == 0, ran.stderr
    assert served.server.served["model.safetensors"] < padding.nbytes
    assert not list((tmp_path / "temporary").iterdir())
    assert not list((tmp_path / "hub").rglob("*.safetensors"))


def test_a_check_finds_models_that_do_not_fit(served, models, tmp_path):
    from merge_models import copy_with

    served.server.models["lab/tuned"] = copy_with(
        models(1), tmp_path / "other", {"model.norm.weight": torch.zeros(3)}
    )
    ran = served(*WORDS, "--check")
    assert ran.returncode == 2
    assert "model.norm.weight has shape [3]" in ran.stderr


def test_a_check_without_network_uses_what_was_fetched_before(served, tmp_path):
    assert served(*WORDS, "--out", tmp_path / "out").returncode == 0
    ran = served(*WORDS, "--check", hub_url="http://127.0.0.1:9")
    assert ran.returncode == 0, ran.stderr


def test_a_model_that_is_not_there_is_named(served):
    words = ("--method", "linear", "--base", "lab/none", "--tuned", "lab/tuned", "--lambda", "0.5")
    ran = served(*words, "--check")
    assert ran.returncode == 2
    assert "lab/none" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_check_that_fails_leaves_nothing_behind(served, models, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in models(1).iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    (broken / "model.safetensors").write_bytes(b"no header")
    served.server.models["lab/tuned"] = broken
    ran = served(*WORDS, "--check")
    assert ran.returncode == 2
    assert "lab/tuned" in ran.stderr
    assert not list((tmp_path / "temporary").iterdir())
