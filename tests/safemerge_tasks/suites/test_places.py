"""The packaged tasks beside an lm-eval that does not look where they were installed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from safemerge_tasks.suites import places
from safemerge_tasks.suites.places import packaged_folder, seen_by_lm_eval


def python(*words: str) -> str:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_checkouts_own_files_come_first(repository: Path) -> None:
    assert packaged_folder() == repository / "task_configs"
    assert seen_by_lm_eval()


def test_a_wheels_files_lie_beside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_ROOT", tmp_path)
    assert packaged_folder() == tmp_path / "lm_eval" / "tasks" / "safemerge"


def test_tasks_are_listed_beside_an_editable_lm_eval(other_lm_eval: Path) -> None:
    code = "from safemerge_tasks.suites.places import seen_by_lm_eval; print(seen_by_lm_eval())"
    assert python("-c", code) == "False\n"
    shown = python("-m", "safemerge_tasks", "suite", "list", "--json")
    assert "lm_eval does not find the packaged tasks by itself; give it --include_path" in shown
    listed = json.loads(shown[: shown.rindex("]") + 1])
    assert "advbench_asr" in {suite["task"] for suite in listed}
