"""Places an output can go to, and what `--check` says of them."""

import os
import resource
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from merge_models import weights

from merge import MergeError, build_recipe, merge, verify
from merge.api import check
from merge.output import staging
from merge.output.staging import free_bytes, staged


def recipe(models, **changes):
    fields = {
        "method": "linear",
        "base": str(models(0)),
        "tuned": [{"model": str(models(1))}],
        "lambdas": (0.5,),
    }
    return build_recipe(**(fields | changes))


def merged(models, out, **arguments):
    merge("linear", base=models(0), tuned=[models(1)], lambdas=[0.5], out=out, **arguments)
    verify(out)
    return weights(Path(out))


def assert_only_a_checkpoint(folder, models):
    assert not [path.name for path in folder.iterdir() if "merging" in path.name]
    expected = merged(models, folder.parent / "expected")
    found = weights(folder)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_the_current_folder(tmp_path, models, monkeypatch):
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    check(recipe(models), ".")
    merged(models, ".")
    assert_only_a_checkpoint(place, models)


def test_a_link_to_an_empty_folder(tmp_path, models):
    place = tmp_path / "disk" / "there"
    place.mkdir(parents=True)
    (tmp_path / "link").symlink_to(place)
    check(recipe(models), tmp_path / "link")
    merged(models, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert_only_a_checkpoint(place, models)


def test_a_link_to_nowhere(tmp_path, models):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(MergeError, match="is a link to a place that is not there"):
        check(recipe(models), tmp_path / "link")


def test_a_mount_point(tmp_path, models, monkeypatch):
    place = tmp_path / "mount"
    place.mkdir()
    (place / "lost+found").mkdir()
    ran = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4M", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if ran.returncode:
        monkeypatch.setattr(os.path, "ismount", lambda path: str(path) == str(place))
    try:
        if not ran.returncode:
            assert free_bytes(place) <= 4 * 2**20
        check(recipe(models), place)
        merged(models, place)
        assert_only_a_checkpoint(place, models)
    finally:
        if not ran.returncode:
            subprocess.run(["umount", str(place)], check=True)


def test_a_move_that_fails_leaves_nothing(tmp_path, models, monkeypatch):
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    rename = staging.Path.rename

    def failing(path, target):
        if path.name == "safemerge_manifest.json":
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(staging.Path, "rename", failing)
    with pytest.raises(MergeError, match="Input/output error"):
        merged(models, ".")
    monkeypatch.undo()
    assert list(place.iterdir()) == []


def test_a_killed_runs_leftovers_are_room(tmp_path, models, monkeypatch):
    out = tmp_path / "out"
    leftover = tmp_path / ".out.merging"
    leftover.mkdir()
    (leftover / "model.safetensors").write_bytes(bytes(200_000))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10_000))
    assert free_bytes(out) == 210_000
    check(recipe(models), out)
    merged(models, out)
    assert not leftover.exists()


def test_an_adapter_needs_an_adapters_room(tmp_path, models, adapters, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    adapter = adapters(1, target_modules=["q_proj"])
    size = (adapter / "adapter_model.safetensors").stat().st_size
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2 * size + 1))
    asked = recipe(models, tuned=[{"model": str(adapter)}], output="adapter", lambdas=(0.2, 0.4))
    assert check(asked, tmp_path / "out").written == 2 * size
    with pytest.raises(MergeError, match="its disk has"):
        check(recipe(models), tmp_path / "out")


def test_files_that_cannot_all_be_open(tmp_path, models):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    asked = recipe(models, max_shard_size=700, lambdas=(0.2, 0.4, 0.6))
    open_now = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 40, limits[1]))
    try:
        with pytest.raises(MergeError, match=r"writes \d+ files at once and .*ulimit -n"):
            check(asked, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_running_out_of_files_is_no_lack_of_space(tmp_path):
    with pytest.raises(MergeError, match="limit on open files"), staged(tmp_path / "out", "x"):
        raise OSError(24, "Too many open files")


TRAVELS = (".gitattributes", ".cache/huggingface/x.metadata", ".DS_Store", "sub/._x", "plot.png")


@pytest.mark.parametrize("name", TRAVELS)
def test_verify_after_a_trip(tmp_path, models, name):
    merged(models, tmp_path / "out")
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    (tmp_path / "out/README.md").write_text("edited")
    verify(tmp_path / "out")


@pytest.mark.parametrize("target", ["..", "nowhere"])
def test_verify_finds_links_to_folders_and_to_what_comes_later(tmp_path, models, target):
    merged(models, tmp_path / "out")
    (tmp_path / "out/code").symlink_to(target)
    with pytest.raises(MergeError, match="code was added"):
        verify(tmp_path / "out")


@pytest.mark.parametrize("name", ["model-2.safetensors", "tool.py", "tokenizer.model", "a.json"])
def test_verify_finds_what_a_loader_might_read(tmp_path, models, name):
    merged(models, tmp_path / "out")
    (tmp_path / "out" / name).write_text("x")
    with pytest.raises(MergeError, match=f"{name} was added"):
        verify(tmp_path / "out")
