"""SARIF of what got worse: valid, known again, and without any text."""

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.results import Run
from tests.public_schemas import validate
from tests.safemerge_tasks.report.parsed import CONTROL

from .conftest import sample

CALM = [0.0] * 300


def worse_in(kind: int, first: int = 0, last: int = 300) -> list[float]:
    return [float(n % 3 == kind and first <= n < last) for n in range(300)]


@pytest.fixture
def scan(write: Callable[..., Run], safemerge: Callable, tmp_path: Path) -> Callable[..., Any]:
    def run(outcomes: list[float], status: int, **more: Any) -> Any:
        rows = [sample(n, one, doc={"language": "en"}, **more) for n, one in enumerate(outcomes)]
        write(
            "a", rows=[sample(n, one, doc={"language": "en"}, **more) for n, one in enumerate(CALM)]
        )
        write("b", rows=rows)
        done = safemerge("check", "--baseline", "a", "--candidate", "b", "--sarif", "s.json")
        assert done.status == status, done.err
        found = json.loads((tmp_path / "s.json").read_text())
        assert "loaf" not in json.dumps(found)
        return found

    return run


def results(found: Any) -> list[tuple[str, str, str]]:
    return [
        (one["ruleId"], one["level"], one["locations"][0]["logicalLocations"][0]["name"])
        for one in found["runs"][0]["results"]
    ]


def test_a_result_for_each_group_that_got_worse(scan: Callable[..., Any]) -> None:
    found = scan(worse_in(0), 1)
    # Of one language there is nothing to tell apart.
    assert results(found) == [
        ("check-regression", "error", "toy_asr"),
        ("category-worse", "error", "baking"),
    ]
    said = found["runs"][0]["results"][1]["message"]["text"]
    assert "+100.0% (" in said
    assert "100 are worse and 0 better" in said


def test_what_may_be_chance_is_a_note(scan: Callable[..., Any]) -> None:
    assert results(scan(worse_in(1, 0, 4), 0)) == [("category-worse", "note", "gardening")]


def test_nothing_worse_is_an_empty_run(scan: Callable[..., Any]) -> None:
    assert results(scan(CALM, 0)) == []


def test_it_is_known_again_by_its_questions(scan: Callable[..., Any]) -> None:
    def prints(outcomes: list[float]) -> Any:
        return scan(outcomes, 1)["runs"][0]["results"][1]["partialFingerprints"]

    first, again, other = (prints(worse_in(0, 0, last)) for last in (300, 300, 280))
    assert first == again
    assert first["about/v1"] == other["about/v1"]
    assert first["questions/v1"] != other["questions/v1"]


@pytest.mark.parametrize("outcomes", [worse_in(0), CALM])
def test_it_is_what_the_standard_describes(scan: Callable[..., Any], outcomes: list[float]) -> None:
    validate(scan(outcomes, int(any(outcomes))), "sarif-schema-2.1.0.json")


@pytest.mark.parametrize("text", ["<b>\x1b[2J\u202e", "a/b %20 ü", "\ud800"])
def test_hostile_labels_control_nothing(
    scan: Callable[..., Any],
    text: str,
    write: Callable[..., Run],
    safemerge: Callable,
    tmp_path: Path,
) -> None:
    def side(harmful: bool) -> list[Any]:
        return [
            sample(n, float(harmful and n % 2), doc={"category": f"{text}{n % 2}", "language": ""})
            for n in range(100)
        ]

    write("a", rows=side(False))
    write("b", rows=side(True))
    words = ("check", "--baseline", "a", "--candidate", "b", "--sarif", "s.json")
    assert safemerge(*words).status == 1
    found = json.loads((tmp_path / "s.json").read_text(encoding="ascii"))
    said = json.dumps(found, ensure_ascii=False)
    assert not {unicodedata.category(char) for char in said} & CONTROL
    validate(found, "sarif-schema-2.1.0.json")
