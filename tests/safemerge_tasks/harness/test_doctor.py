"""What works on this machine, and tasks linked into the lm-eval in use."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.harness import doctor
from safemerge_tasks.harness.doctor import ENOUGH_DISK, examine, link_tasks
from safemerge_tasks.suites.places import packaged_folder

Checks = dict[str, Callable[[], tuple[doctor.State, str]]]


def run(*words: str) -> tuple[int, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "safemerge_tasks", "doctor", "--json", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, {one["what"]: one for one in json.loads(done.stdout)}


def test_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAFEMERGE_CACHE_DIR", str(tmp_path / "new"))
    status, found = run()
    assert status == 0
    needed = {"Python", "lm-eval", "tasks"}
    assert {what for what, one in found.items() if one["state"] == "works"} >= needed
    assert "broken" not in {one["state"] for one in found.values()}
    assert not (tmp_path / "new").exists()


def test_tasks_that_lm_eval_does_not_see_are_linked(other_lm_eval: Path) -> None:
    status, found = run()
    assert (status, found["tasks"]["state"]) == (1, "broken")
    assert "safemerge doctor --fix" in found["tasks"]["says"]
    linked = other_lm_eval / "tasks" / "safemerge"
    # What an earlier version left there goes.
    linked.mkdir()
    (linked / "old_asr.yaml").write_text("task: old_asr\n")
    status, found = run("--fix")
    assert (status, found["tasks"]["state"]) == (0, "works")
    assert not (linked / "old_asr.yaml").exists()
    assert (linked / "advbench" / "advbench_asr.yaml").is_symlink()


def test_tasks_that_are_where_lm_eval_looks_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "lm_eval" / "tasks" / "safemerge"
    shutil.copytree(packaged_folder(), folder)
    monkeypatch.setattr(doctor, "lm_eval_folder", lambda: folder)
    assert link_tasks() == folder
    assert not any(path.is_symlink() for path in folder.rglob("*"))


def test_a_folder_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(doctor, "lm_eval_folder", lambda: tmp_path / "file" / "safemerge")
    with pytest.raises(SafemergeError, match="cannot be written .* --include_path .*task_configs"):
        link_tasks()


def test_without_lm_eval_there_is_nothing_to_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "lm_eval_folder", lambda: None)
    with pytest.raises(SafemergeError, match="lm_eval is not installed here; run pip install"):
        link_tasks()


def test_a_check_that_breaks_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks() -> tuple[doctor.State, str]:
        raise OSError("libcudart.so: cannot open\nmore")

    checks: Checks = {"one": breaks, "two": lambda: ("works", "fine")}
    monkeypatch.setattr(doctor, "_CHECKS", checks)
    one, two = examine()
    assert (one.state, one.says) == ("broken", "OSError: libcudart.so: cannot open more")
    assert two.state == "works"


@pytest.mark.parametrize(("free", "state"), [(ENOUGH_DISK, "works"), (ENOUGH_DISK - 1, "missing")])
def test_room_for_a_judge(monkeypatch: pytest.MonkeyPatch, free: int, state: str) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: type("", (), {"free": free}))
    monkeypatch.setattr(doctor, "_CHECKS", {"disk": doctor._disk})
    assert examine()[0].state == state
