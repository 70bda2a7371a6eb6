"""lm-eval's runs and samples, read."""

import json
from pathlib import Path

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.results import (
    find_runs,
    is_results_file,
    latest_results,
    read_runs,
    stream_rows,
    write_run,
)


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


NOW = "2026-01-02T03-04-05.678901"
LATER = "2026-01-03T03-04-05"


def write_named(folder: Path, stem: str, date: str, *tasks: str) -> Path:
    """Write what lm-eval makes of `--output_path folder/stem.json`."""
    run = write_run(
        folder,
        date,
        {**results(*tasks), "configs": {}},
        {task: [{"doc_id": 0}] for task in tasks},
    )
    return run.path.rename(folder / f"{stem}_{date}.json")


@pytest.mark.parametrize("place", ["out", "out/run1.json", f"out/run1_{NOW}.json"])
def test_what_lm_eval_makes_of_an_output_path_with_json(tmp_path: Path, place: str) -> None:
    path = write_named(tmp_path / "out", "run1", NOW, "soup")
    (run,) = find_runs(tmp_path / place)
    assert (run.path, run.date) == (path, NOW)
    assert run.rows("soup") == [{"doc_id": 0}]
    assert latest_results(tmp_path / place).keys() == {("out", "soup")}


def test_an_output_path_names_its_own_runs_alone_oldest_first(tmp_path: Path) -> None:
    new = write_named(tmp_path, "a", LATER, "soup")
    old = write_named(tmp_path, "a", NOW, "soup")
    other = write_named(tmp_path, "a_b", "2026-01-02T09-04-05", "soup")
    plain = write_run(tmp_path, "2026-01-02T10-00-00", results("soup"), {}).path
    assert [run.path for run in find_runs(tmp_path / "a.json")] == [old, new]
    assert [run.path for run in find_runs(tmp_path)] == [old, other, plain, new]


def test_a_file_that_somebody_renamed(tmp_path: Path) -> None:
    path = write_named(tmp_path, "x", NOW, "soup").rename(tmp_path / "release.json")
    (run,) = find_runs(path)
    assert (run.path, run.samples, run.date) == (path, {}, "")


@pytest.mark.parametrize(
    "content",
    [
        {"results": {"soup": {}}},
        {"sha256": "0", "results": {}},
        {"model": {"results": {}}},
        ["results"],
    ],
)
def test_json_that_is_not_lm_evals_is_left_alone(tmp_path: Path, content: object) -> None:
    path = write_named(tmp_path, "x", NOW, "soup")
    (tmp_path / f"report_{NOW}.json").write_text(json.dumps(content))
    (tmp_path / "binary.json").write_bytes(b"\xff\x00")
    assert [run.path for run in find_runs(tmp_path)] == [path]
    assert not is_results_file(tmp_path / f"report_{NOW}.json")


def test_results_that_were_cut_off_are_told_and_not_passed_over(tmp_path: Path) -> None:
    path = write_named(tmp_path, "x", NOW, "soup")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(SafemergeError, match=f"{path} is not JSON"):
        list(read_runs(tmp_path))


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("absent", "absent does not exist"),
        ("absent/x.json", "x.json does not exist"),
        ("y.json", "y.json does not exist"),
        ("config.json", "config.json holds no results of lm_eval"),
        (".", "holds no results of lm_eval"),
    ],
)
def test_a_place_without_results(tmp_path: Path, place: str, said: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SafemergeError, match=said):
        find_runs(tmp_path / place)


def test_samples_that_cannot_be_read_are_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SafemergeError, match=r"soup.jsonl cannot be read .No such file"):
        list(stream_rows(tmp_path / "soup.jsonl"))


@pytest.mark.parametrize("name", ["results_old.json", "results_zz.json", "kept.json"])
def test_a_renamed_run_beside_others_is_neither_the_latest_nor_passed_over(
    tmp_path: Path, name: str
) -> None:
    write_named(tmp_path, "results", LATER, "soup")
    old = write_run(tmp_path, NOW, results("soup", configs={}, lm_eval_version="1"), {}).path
    old.rename(tmp_path / name)
    with pytest.raises(SafemergeError, match=f"{name} and .* do not say which is later"):
        latest_results(tmp_path)
    # Each of them alone is one.
    assert latest_results(tmp_path / name).keys() == {(tmp_path.name, "soup")}


def test_two_runs_of_one_date_are_told_unless_one_is_a_copy(tmp_path: Path) -> None:
    summary = results("soup", model_name="oven")
    for folder in ("a", "b"):
        write_run(tmp_path / folder, NOW, summary, {})
    assert latest_results(tmp_path)["oven", "soup"][0].path.parent.name == "b"
    write_run(tmp_path / "c", NOW, {**summary, "versions": {"soup": 2}}, {})
    with pytest.raises(SafemergeError, match=r"b/results_.* and .*c/results_.* which is later"):
        latest_results(tmp_path)


def test_names_that_mean_something_in_patterns_keep_their_samples(tmp_path: Path) -> None:
    (run,) = find_runs(write_run(tmp_path, "2026 [1]", results("soup"), {"soup": []}).path)
    assert run.samples.keys() == {"soup"}


def test_a_folder_that_is_called_as_results_are(tmp_path: Path) -> None:
    path = write_run(tmp_path / "results_x.json" / "oven", NOW, results("soup"), {}).path
    assert [run.path for run in find_runs(tmp_path)] == [path]
