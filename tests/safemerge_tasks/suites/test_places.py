"""The packaged tasks beside an lm-eval that does not look where they were installed."""

import json
import subprocess
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from safemerge_tasks.suites.places import packaged_folder, seen_by_lm_eval


def python(*words: str) -> str:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_files_lie_inside_the_package(repository: Path) -> None:
    assert packaged_folder() == repository / "task_configs"
    assert (repository / "safemerge_tasks" / "task_configs").is_symlink()
    assert seen_by_lm_eval()


def test_the_entry_point_of_installable_task_suites_names_a_folder_with_them() -> None:
    (found,) = entry_points(group="lm_eval.tasks", name="safemerge")
    spec = find_spec(found.value)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (folder,) = spec.submodule_search_locations
    assert Path(folder).resolve() == packaged_folder()
    assert list(Path(folder).rglob("advbench_asr.yaml"))


def test_tasks_are_listed_beside_an_editable_lm_eval(other_lm_eval: Path) -> None:
    code = "from safemerge_tasks.suites.places import seen_by_lm_eval; print(seen_by_lm_eval())"
    assert python("-c", code) == "False\n"
    shown = python("-m", "safemerge_tasks", "suite", "list", "--json")
    assert "lm_eval does not find the packaged tasks by itself; give it --include_path" in shown
    listed = json.loads(shown[: shown.rindex("]") + 1])
    assert "advbench_asr" in {suite["task"] for suite in listed}
