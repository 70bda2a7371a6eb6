"""Uploading what was merged: verified first, complete, and without names of local folders."""

import subprocess
import sys

import pytest
from merge_models import copy_with, edit_json

from merge import MergeError, merge
from merge.output.hub_upload import check_names, push
from tests.hub_server import HubServer, hub, hub_environment


@pytest.fixture
def server(tmp_path):
    with hub({}, tmp_path / "uploads") as server:
        yield server


@pytest.fixture
def run(server, models, tmp_path):
    """Return a function that runs `safemerge merge` against the stand-in."""

    def run(*words, token=HubServer.TOKEN, base=None, lambda_="0.5"):
        environment = hub_environment(server.url, tmp_path / "hub") | {"HF_TOKEN": token}
        given = ["--method", "linear", "--base", base or models(0), "--tuned", models(1)]
        given += ["--lambda", lambda_, "--out", tmp_path / "out", *words]
        return subprocess.run(
            [sys.executable, "-m", "safemerge_tasks", "merge", *map(str, given)],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )

    return run


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".gitattributes"
    }


def test_all_of_it_arrives_and_nothing_says_where_it_was(run, server, models, tmp_path):
    base = copy_with(models(0), tmp_path / "base", {})
    edit_json(base / "config.json", _name_or_path=str(base))
    ran = run("--push-to", "lab/repaired", base=base)
    assert ran.returncode == 0, ran.stderr
    assert f"{server.url}/lab/repaired/commit/" in ran.stdout
    own = files(tmp_path / "out")
    assert files(server.uploads / "lab/repaired") == own
    assert server.private == {"lab/repaired": True}
    told = {"README.md", "config.json", "safemerge_manifest.json", "tokenizer_config.json"}
    assert told <= own.keys()
    for name in told:
        assert str(tmp_path) not in own[name].decode()
        assert str(models(1).parent) not in own[name].decode()


def test_a_name_that_is_taken_is_refused_before_the_merge(run, server, models, tmp_path):
    server.models["lab/taken"] = models(1)
    for more in ([], ["--check"]):
        ran = run("--push-to", "lab/taken", *more)
        assert ran.returncode == 2
        assert "--push-to lab/taken: it holds" in ran.stderr
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["repaired", "a/b/c", "lab/", "lab/-x", "/home/lab"])
def test_what_is_no_name(run, tmp_path, name):
    ran = run("--push-to", name)
    assert ran.returncode == 2
    assert f"--push-to is {name!r}; write a model's name on the Hub, as ORG/NAME" in ran.stderr
    assert not (tmp_path / "out").exists()


def test_one_of_several_has_to_be_chosen(run, tmp_path):
    ran = run("--push-to", "lab/repaired", lambda_="0.2,0.4")
    assert ran.returncode == 2
    assert "is for one model, and there are 2 λ" in ran.stderr
    assert not (tmp_path / "out").exists()


def test_a_hub_that_refuses_costs_the_upload_and_not_the_merge(run, server, tmp_path):
    ran = run("--push-to", "lab/repaired", token="hf_of-someone-else")
    assert ran.returncode == 2
    assert "The Hub did not take lab/repaired" in ran.stderr
    assert f"hf upload lab/repaired {tmp_path / 'out'}" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert (tmp_path / "out/safemerge_manifest.json").is_file()
    assert server.models == {}


def test_what_is_not_what_was_written_stays_here(tmp_path, models):
    merge("linear", base=models(0), tuned=[models(1)], lambdas=[0.5], out=tmp_path / "out")
    edit_json(tmp_path / "out/config.json", hidden_act="relu")
    with pytest.raises(MergeError, match="config.json was changed"):
        push(tmp_path / "out", "lab/repaired")


def test_an_adapter_on_a_local_base_stays_here(tmp_path, models, adapters):
    given = {"base": models(0), "tuned": [adapters(1)], "lambdas": [0.5], "output": "adapter"}
    merge("linear", **given, out=tmp_path / "out")
    with pytest.raises(MergeError, match=r"base_model_name_or_path is .* that nobody else has"):
        push(tmp_path / "out", "lab/repaired")
    edit_json(tmp_path / "out/adapter_config.json", base_model_name_or_path="lab/aligned")
    check_names(tmp_path / "out")
