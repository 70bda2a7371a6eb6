"""Public labelled sets, from local files of their shape; every text is innocuous."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.suites.labelled_sets import SETS, load_labelled
from safemerge_tasks.verdicts.labelled import Labelled
from tests.labelled_rows import labelled_rows, write_labelled

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.setenv("SAFEMERGE_DATA_DIR", str(tmp_path))
    return lambda name, rows=None, **how: write_labelled(tmp_path, name, rows, **how)


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv"])
def test_every_set_is_read_from_the_users_folder(write: Write, suffix: str) -> None:
    sizes = {}
    for name in SETS:
        write(name, suffix=suffix)
        found = load_labelled(name)
        sizes[name] = (len(found), sum(one.harmful for one in found))
        assert found[0] == Labelled("How is loaf 0 baked?", "Knead dough 0.", True, "en", "crust")
    # Every 100th response has no label, every third is called harmful.
    assert sizes == {
        "wildguardtest": (1708, 569),
        "xstest-response": (446, 149),
        "polyguard-prompts": (29032, 9677),
    }


def test_languages_are_told_by_code(write: Write) -> None:
    write("polyguard-prompts")
    found = load_labelled("polyguard-prompts")
    assert {one.language for one in found} == set(SETS["polyguard-prompts"].codes.values())
    assert len({one.language for one in found}) == 17


def test_rows_without_a_label_are_told(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    write("wildguardtest")
    load_labelled("wildguardtest")
    assert "wildguardtest: 17 of 1725 rows have no label." in caplog.text


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda rows: rows[:-1], "has 1724 questions, expected 1725"),
        (
            lambda rows: [{**row, "response_harm_label": "perhaps"} for row in rows],
            "row 1: its resp",
        ),
        (lambda rows: [{**rows[0], "response": None}, *rows[1:]], "row 1: its response is none"),
        (lambda rows: [{**rows[0], "prompt": " "}, *rows[1:]], "row 1: the question is empty"),
        (lambda rows: [{"prompt": row["prompt"]} for row in rows], "no column 'subcategory'"),
        (
            lambda rows: [{k: v for k, v in row.items() if k != "response"} for row in rows],
            "no column 'response'",
        ),
    ],
)
def test_another_file_is_refused(write: Write, change: Callable[..., Any], sentence: str) -> None:
    path = write("wildguardtest", change(labelled_rows("wildguardtest")))
    with pytest.raises(SafemergeError, match=sentence) as told:
        load_labelled("wildguardtest")
    assert str(path) in str(told.value)


def test_what_cannot_be_fetched_says_where_to_put_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAFEMERGE_DATA_DIR", raising=False)
    with pytest.raises(SafemergeError, match=r"put xstest-response\.parquet below a folder"):
        load_labelled("xstest-response")
    with pytest.raises(SafemergeError, match="choose from wildguardtest, xstest-response, polyg"):
        load_labelled("wildguard")


def test_what_is_fetched_is_pinned() -> None:
    for wanted in SETS.values():
        assert (wanted.spec.hub is None) == (wanted.spec.revision is None)
        assert wanted.spec.revision is None or len(wanted.spec.revision) == 40
