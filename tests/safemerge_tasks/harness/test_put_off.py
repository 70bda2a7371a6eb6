"""Which task files `safemerge eval` has lm-eval read."""

from pathlib import Path

import lm_eval.tasks
import pytest
from lm_eval.tasks._index import TaskIndex

from safemerge_tasks.harness.put_off import task_manager

ITS_OWN = Path(lm_eval.tasks.__file__).parent

COOKING = "task: cooking\noutput_type: generate_until\ndataset_path: json\ntag: kitchen\n"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return where lm-eval looks; its own folder, which takes ten seconds, is not read."""
    folders: list[Path] = []
    build = TaskIndex.build

    def noted(paths: list[Path]) -> object:
        folders.extend(paths)
        return build([path for path in paths if path != ITS_OWN])

    monkeypatch.setattr(TaskIndex, "build", staticmethod(noted))
    return folders


@pytest.fixture
def kitchen(tmp_path: Path) -> Path:
    """Return a folder with a task of one's own."""
    (tmp_path / "cooking.yaml").write_text(COOKING)
    return tmp_path


@pytest.mark.parametrize(
    "tasks", [["advbench_asr", "cooking"], ["cooking@no-system"], ["hexphi_asr@prefill:5"]]
)
def test_lm_evals_own_are_not_read_for_ours(
    tasks: list[str], kitchen: Path, read: list[Path]
) -> None:
    found = task_manager(tasks, str(kitchen), {"judge": "deferred"})
    assert ITS_OWN not in read
    assert found.match_tasks(tasks) == tasks
    assert found.metadata == {"judge": "deferred"}


@pytest.mark.parametrize(
    "tasks",
    [["advbench_asr", "hellaswag"], ["hellaswag@no-system"], ["cook*"], ["kitchen"], [], None],
)
def test_they_are_for_every_other_name(
    tasks: list[str] | None, kitchen: Path, read: list[Path]
) -> None:
    found = task_manager(tasks, str(kitchen), {})
    assert read[-2:] == [ITS_OWN, kitchen]
    assert found.match_tasks(["cook*"]) == ["cooking"]
