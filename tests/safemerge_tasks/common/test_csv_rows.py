"""CSV as spreadsheets of several countries save it."""

import csv
from pathlib import Path

import pytest

from safemerge_tasks.common.csv_rows import csv_rows
from safemerge_tasks.common.errors import SafemergeError

ROWS = [["question", "topic"], ["Bake, please; now?", "Food"]]


@pytest.mark.parametrize(
    ("content", "delimiter"),
    [
        (b'question,topic\n"Bake, please; now?",Food\n', ","),
        (b'question;topic\r\n"Bake, please; now?";Food\r\n', ";"),
        (b"\xef\xbb\xbfquestion\ttopic\nBake, please; now?\tFood\n", "\t"),
        (b'sep=;\r\nquestion;topic\r\n"Bake, please; now?";Food\r\n', ";"),
        (b"sep=\t\nquestion\ttopic\nBake, please; now?\tFood\n", "\t"),
        (b'question,topic\r"Bake, please; now?",Food\r', ","),
        (b'question;topic\n\n"Bake, please; now?";Food\n\n', ";"),
    ],
)
def test_the_delimiter_is_found(tmp_path: Path, content: bytes, delimiter: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    assert csv_rows(path) == (ROWS, delimiter)


def test_a_column_on_its_own_is_not_divided_by_what_its_cells_hold(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("question\nBake; then eat?\n")
    assert csv_rows(path) == ([["question"], ["Bake; then eat?"]], ",")


def test_without_a_header_questions_do_not_tell_the_delimiter(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('"Bake, please?"\nMix; stir; bake?\n')
    assert csv_rows(path, header=False)[0] == [["Bake, please?"], ["Mix; stir; bake?"]]
    path.write_text("sep=;\nBake;Food\n")
    assert csv_rows(path, header=False)[0] == [["Bake", "Food"]]


def test_a_cell_may_be_as_long_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"question\n{'bake ' * 60_000}\n")
    limit = csv.field_size_limit()
    assert len(csv_rows(path)[0][1][0]) == 300_000
    assert csv.field_size_limit() == limit


def test_odd_line_ends_stay_inside_cells(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('question,topic\n"Bake\u2028it\x1c\nnow",Food\x0b\n', newline="")
    assert csv_rows(path)[0][1] == ["Bake\u2028it\x1c\nnow", "Food\x0b"]


def test_nothing_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    assert csv_rows(tmp_path / "a.csv")[0] == []


def test_another_encoding_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("Küche\n".encode("cp1252"))
    with pytest.raises(SafemergeError, match=r"a\.csv is not UTF-8 text .byte 1.; convert it"):
        csv_rows(tmp_path / "a.csv")
