"""lm-eval's runs and samples, read."""

from pathlib import Path

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.results import latest_results, read_runs, stream_rows, write_run


def results(*tasks: str, **other: object) -> dict[str, object]:
    return {"results": {task: {} for task in tasks}, **other}


def test_the_latest_run_of_each_model_and_task(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "2020-01-01", results("soup", "bread", model_name="oven"), {})
    new = write_run(tmp_path / "a", "2020-01-02", results("soup", model_name="oven"), {})
    write_run(tmp_path / "b", "2020-01-01", results("soup"), {})
    found = latest_results(tmp_path)
    assert set(found) == {("oven", "soup"), ("oven", "bread"), ("b", "soup")}
    assert found["oven", "soup"][0].path == new.path


def test_groups_are_no_tasks_and_saved_responses_no_results(tmp_path: Path) -> None:
    summary = results("meal", "soup", group_subtasks={"meal": ["soup"]})
    write_run(tmp_path / "model", "2020-01-01", summary, {})
    write_run(tmp_path / "model" / "responses_2020-2", "2020-01-02", results("soup"), {})
    ((run, _, tasks),) = read_runs(tmp_path)
    assert tasks == ["soup"]
    assert not run.only_saved
    ((saved, _, _),) = read_runs(tmp_path / "model" / "responses_2020-2")
    assert saved.only_saved


def test_one_results_file_stands_for_its_run(tmp_path: Path) -> None:
    run = write_run(tmp_path, "2020-01-01", results("soup"), {"soup": [{"doc_id": 0}]})
    write_run(tmp_path, "2020-01-02", results("soup"), {})
    ((found, _, _),) = read_runs(run.path)
    assert (found.path, found.rows("soup")) == (run.path, [{"doc_id": 0}])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"doc_id": 0}\n{"doc', "line 2 is not a JSON object, cut off at the end"),
        ('{"doc_id": 0}\n\n[1]\n', "line 3 is not a JSON object"),
    ],
)
def test_a_spoilt_line_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "samples.jsonl").write_text(text)
    with pytest.raises(SafemergeError, match=said):
        list(stream_rows(tmp_path / "samples.jsonl"))
