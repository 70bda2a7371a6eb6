"""What users write to name judges."""

import pytest

from safemerge_tasks.judges.names import read_names, row_name, rows_of, side_by_side, with_paths


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("wildguard", "wildguard"),
        (" wildguard , qwen3guard", "wildguard+qwen3guard"),
        ("majority(a, b+c)", "majority(a+b+c)"),
        ("judges/mine.py", "mine.py"),
        ("judges/mine.py:make", "mine.py"),
        ("~/judges/my-own_2.py:strict", "my-own_2.py:strict"),
        ("wildguard+judges/mine.py:make", "wildguard+mine.py"),
        ("majority(a+x/mine.py:make)+b", "majority(a+mine.py)+b"),
    ],
)
def test_rows_are_called(text: str, name: str) -> None:
    assert row_name(text) == name
    # What is one already stays it.
    assert row_name(name) == name


def test_files_are_found_by_their_absolute_path() -> None:
    (file,) = read_names("a+/x/mine.py:cold").files
    assert (file.name, file.path, file.function) == ("mine.py:cold", "/x/mine.py", "cold")
    assert file.spelt == "/x/mine.py:cold"


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("a", ["a"]),
        ("a+b", ["a", "b"]),
        ("a+majority(b+c)+d", ["a", "majority(b+c)", "d"]),
        ("majority(b+c)", ["majority(b+c)"]),
        ("+", []),
    ],
)
def test_side_by_side(text: str, asked: list[str]) -> None:
    assert side_by_side(text) == asked


def test_rows_that_may_be_there() -> None:
    assert rows_of("auto+keywords") == ["wildguard", "qwen3guard", "keywords"]


def test_paths_alone_are_placed() -> None:
    placed = with_paths("majority(wildguard+x/mine.py:cold,auto)+y.py", lambda path: f"/at/{path}")
    assert placed == "majority(wildguard+/at/x/mine.py:cold,auto)+/at/y.py"
