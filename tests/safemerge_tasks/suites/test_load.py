import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.suites import SuiteSpec, load_suite
from safemerge_tasks.suites.task_files import read_task_file

Write = Callable[[str, str], Path]


def packaged(repository: Path, suite: str) -> SuiteSpec:
    path = repository / f"task_configs/{suite}/{suite}_asr.yaml"
    return SuiteSpec.checked(read_task_file(path).content["dataset_kwargs"], where=suite)


def advbench(rows: int = 520, header: str = "goal,target") -> str:
    lines = [f'"Describe a walk, number {n}","Here is walk {n}"' for n in range(rows)]
    return "\n".join([header, *lines]) + "\n"


def hexphi(write: Write, *, without: tuple[int, ...] = (), rows: int = 30) -> None:
    for number in set(range(1, 12)) - set(without):
        lines = [f'"Paint wall {n}, then room {number}"' for n in range(rows)]
        write(f"hexphi/category_{number}.csv", "\n".join(lines) + "\n")


def test_advbench_in_its_real_shape(repository: Path, data: Path, write_csv: Write) -> None:
    write_csv("advbench_harmful_behaviors.csv", advbench())
    questions = load_suite(packaged(repository, "advbench"))
    assert len(questions) == 520
    assert questions[7]["question"] == "Describe a walk, number 7"
    assert {q["category"] for q in questions} == {""}
    assert len({q["id"] for q in questions}) == 520


@pytest.mark.parametrize(("rows", "found"), [(519, 519), (0, 0)])
def test_a_wrong_number_of_rows(
    repository: Path, data: Path, write_csv: Write, rows: int, found: int
) -> None:
    write_csv("advbench_harmful_behaviors.csv", advbench(rows))
    with pytest.raises(
        SafemergeError, match=rf"harmful_behaviors\.csv has {found} .* expected 520"
    ):
        load_suite(packaged(repository, "advbench"))


def test_wrong_columns_are_named_but_questions_are_not_printed(
    repository: Path, data: Path, write_csv: Write
) -> None:
    header = '"Describe a very long walk through the hills",x'
    write_csv("advbench_harmful_behaviors.csv", advbench(header=header))
    with pytest.raises(
        SafemergeError, match=r"columns Describe a v\.\.\., x, expected goal, target"
    ):
        load_suite(packaged(repository, "advbench"))


@pytest.mark.parametrize(("without", "total"), [((), 330), ((2,), 300)])
def test_hexphi_with_and_without_category_2(
    repository: Path, data: Path, write_csv: Write, without: tuple[int, ...], total: int
) -> None:
    hexphi(write_csv, without=without)
    questions = load_suite(packaged(repository, "hexphi"))
    assert len(questions) == total
    assert questions[0]["category"] == "Illegal Activity"
    assert questions[0]["question"] == "Paint wall 0, then room 1"
    assert len({q["category"] for q in questions}) == total // 30


def test_hexphi_without_a_category_that_is_always_there(
    repository: Path, data: Path, write_csv: Write
) -> None:
    hexphi(write_csv, without=(5,))
    with pytest.raises(SafemergeError, match=r"no category_5\.csv"):
        load_suite(packaged(repository, "hexphi"))


@pytest.mark.parametrize("name", ["question", "Prompt", "0"])
def test_hexphi_with_a_header_row(
    repository: Path, data: Path, write_csv: Write, name: str
) -> None:
    hexphi(write_csv)
    path = data / "hexphi/category_3.csv"
    for text in (path.read_text(), path.read_text().rpartition("\n")[0].rpartition("\n")[0]):
        path.write_text(f"{name}\n{text}\n")
        with pytest.raises(SafemergeError, match=r"category_3\.csv begins with a header row"):
            load_suite(packaged(repository, "hexphi"))


def test_hexphi_with_an_unknown_header_has_a_row_too_many(
    repository: Path, data: Path, write_csv: Write
) -> None:
    hexphi(write_csv)
    path = data / "hexphi/category_3.csv"
    path.write_text(f"harmful things\n{path.read_text()}")
    with pytest.raises(SafemergeError, match="31 questions, expected 30 and no header row"):
        load_suite(packaged(repository, "hexphi"))


def test_hexphi_with_unquoted_commas(repository: Path, data: Path, write_csv: Write) -> None:
    hexphi(write_csv)
    path = data / "hexphi/category_4.csv"
    path.write_text(path.read_text().replace('"', ""))
    with pytest.raises(SafemergeError, match=r"category_4\.csv, row 1 has 2 columns, expected 1"):
        load_suite(packaged(repository, "hexphi"))


def test_an_empty_question_names_its_row(repository: Path, data: Path, write_csv: Write) -> None:
    text = advbench().replace('"Describe a walk, number 3"', '" "')
    write_csv("advbench_harmful_behaviors.csv", text)
    with pytest.raises(SafemergeError, match="row 5: the question is empty"):
        load_suite(packaged(repository, "advbench"))


def test_a_file_that_is_not_utf8(repository: Path, data: Path) -> None:
    (data / "advbench_harmful_behaviors.csv").write_bytes(b"goal,target\n\xff\xfe,x\n")
    with pytest.raises(SafemergeError, match="is not UTF-8 text"):
        load_suite(packaged(repository, "advbench"))


def test_a_gated_suite_without_access_says_how_to_get_it(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SAFEMERGE_DATA_DIR", str(tmp_path))
    with pytest.raises(SafemergeError, match=r"SAFEMERGE_DATA_DIR/hexphi/category_1\.csv"):
        load_suite(packaged(repository, "hexphi"))


def own(write_csv: Write, text: str, **changes: Any) -> list[dict[str, str]]:
    write_csv("own.csv", text)
    given = {"suite": "own", "parts": [{"file": "own.csv"}], "question": "q", **changes}
    return load_suite(SuiteSpec.checked(given, where="own"))


def test_ids_survive_duplicates_and_reordering(data: Path, write_csv: Write) -> None:
    first = own(write_csv, "q\nbake\npaint\nbake\n")
    second = own(write_csv, "q\npaint\nbake\nbake\n")
    assert [q["id"].rpartition("-")[2] for q in first] == ["1", "1", "2"]
    assert {(q["id"], q["question"]) for q in first} == {(q["id"], q["question"]) for q in second}


def test_ids_are_those_of_earlier_releases(data: Path, write_csv: Write) -> None:
    """They pair results across runs: a change makes old and new results incomparable."""
    (question,) = own(write_csv, "q\nbake\n")
    assert question["id"] == "own-3c8c082e4732-1"


def test_a_category_column(data: Path, write_csv: Write) -> None:
    questions = own(write_csv, "q,kind\nbake,Food\npaint,Home\n", category="kind")
    assert [q["category"] for q in questions] == ["Food", "Home"]


def test_a_missing_column_lists_those_there_are(data: Path, write_csv: Write) -> None:
    with pytest.raises(SafemergeError, match="no column 'q'; its columns are prompt, kind"):
        own(write_csv, "prompt,kind\nbake,Food\n")


def test_an_unknown_key_of_a_suite_names_the_nearest() -> None:
    given = {"suite": "own", "parts": [{"file": "x"}], "question": "q", "catgory": "kind"}
    with pytest.raises(SafemergeError, match="catgory is not .* did you mean category"):
        SuiteSpec.checked(given, where="own.yaml")


def test_the_environment_variable_is_needed_without_a_source(write_csv: Write) -> None:
    assert "SAFEMERGE_DATA_DIR" not in os.environ
    with pytest.raises(SafemergeError, match="name that folder in SAFEMERGE_DATA_DIR"):
        own(write_csv, "q\nbake\n")
