"""Every format and shape that question sets are published in gives the same questions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.suites import Question, SuiteSpec, load_suite

Shapes = dict[str, Callable[..., Any]]
SpecOf = Callable[[str], SuiteSpec]

ROWS = [{"q": "Bake bread?", "kind": "Food"}, {"q": "Paint a wall?", "kind": "Home:"}]


def own(folder: Path, name: str, **changes: Any) -> list[Question]:
    """Load a suite of the user's own, named in full."""
    given = {"suite": "own", "parts": [{"file": str(folder / name)}], "question": "q", **changes}
    return load_suite(SuiteSpec.checked(given, where="own"))


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows in the format of the file's extension."""
    match path.suffix:
        case ".json":
            path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
        case ".jsonl":
            lines = [json.dumps(row, ensure_ascii=False) for row in rows]
            path.write_text("\n".join([*lines, "", ""]), encoding="utf-8")
        case ".parquet":
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        case ".csv":
            lines = [",".join(rows[0])]
            lines += [",".join(f'"{value}"' for value in row.values()) for row in rows]
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize("extension", ["csv", "json", "jsonl", "parquet"])
def test_rows_in_every_format(tmp_path: Path, extension: str) -> None:
    write(tmp_path / f"own.{extension}", ROWS)
    questions = own(tmp_path, f"own.{extension}", category="kind")
    assert [(q["question"], q["category"]) for q in questions] == [
        ("Bake bread?", "Food"),
        ("Paint a wall?", "Home"),
    ]
    assert set(questions[0]) == {
        "id",
        "question",
        "category",
        "subcategory",
        "language",
        "cluster",
    }


def test_the_content_tells_json_from_json_lines(tmp_path: Path) -> None:
    write(tmp_path / "own.jsonl", ROWS)
    (tmp_path / "own.jsonl").rename(tmp_path / "lines.json")
    (tmp_path / "array.jsonl").write_text(json.dumps(ROWS, indent=1))
    assert own(tmp_path, "lines.json") == own(tmp_path, "array.jsonl")
    assert len(own(tmp_path, "lines.json")) == 2


def test_columns_of_either_name_and_a_field_that_may_be_absent(tmp_path: Path) -> None:
    write(tmp_path / "own.json", [{"ask": "Bake?", "say": "Bread."}])
    keys: dict[str, Any] = {"question": ["q", "ask"], "fields": {"reference": ["a", "say"]}}
    keys["fields"]["function"] = ["f", None]
    (found,) = own(tmp_path, "own.json", **keys)
    assert (found["question"], found["reference"], found["function"]) == ("Bake?", "Bread.", "")
    write(tmp_path / "own.json", [{"prompt": "Bake?"}])
    with pytest.raises(SafemergeError, match="no column 'q' or 'ask'; its columns are prompt"):
        own(tmp_path, "own.json", **keys)


def test_outer_spaces_are_sent_but_do_not_make_another_question(tmp_path: Path) -> None:
    write(tmp_path / "own.json", [{"q": " Bake?\n"}])
    (spaced,) = own(tmp_path, "own.json")
    write(tmp_path / "own.json", [{"q": "Bake?"}])
    (bare,) = own(tmp_path, "own.json")
    assert (spaced["question"], bare["question"]) == (" Bake?\n", "Bake?")
    assert spaced["id"] == bare["id"]


def test_the_format_can_be_given(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text('{"q": "Bake bread?"}\n')
    assert own(tmp_path, "own.txt", format="jsonl")[0]["question"] == "Bake bread?"
    with pytest.raises(SafemergeError, match=r"own\.txt has no extension that tells its format"):
        own(tmp_path, "own.txt")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (["Bake?", "Paint?"], [("Bake?", "", ""), ("Paint?", "", "")]),
        ({"Food": ["Bake?"], "Home": ["Paint?"]}, [("Bake?", "Food", ""), ("Paint?", "Home", "")]),
        (
            {"Food ": {"Bread: ": ["Bake?"]}, "Home": {"Walls": ["Paint?"]}},
            [("Bake?", "Food", "Bread"), ("Paint?", "Home", "Walls")],
        ),
    ],
)
def test_json_shapes(tmp_path: Path, content: Any, found: list[tuple[str, str, str]]) -> None:
    (tmp_path / "own.json").write_text(json.dumps(content))
    columns: dict[str, str] = {}
    if isinstance(content, dict):
        columns["category"] = "kind"
        if any(isinstance(below, dict) for below in content.values()):
            columns["subcategory"] = "part"
    questions = own(tmp_path, "own.json", **columns)
    assert [(q["question"], q["category"], q["subcategory"]) for q in questions] == found


@pytest.mark.parametrize(
    "content", ["12", '["Bake?", {"q": "Paint?"}]', '{"data": [{"q": "Bake?"}]}', '{"q": "Bake?"}']
)
def test_json_of_another_shape(tmp_path: Path, content: str) -> None:
    (tmp_path / "own.json").write_text(content)
    with pytest.raises(SafemergeError, match=r"own\.json is not a list of strings, a list of obj"):
        own(tmp_path, "own.json")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("own.json", b'["Bake?"', r"own\.json is not JSON \(line 1: .*; replace it\."),
        ("own.json", b'{"q": "Bake?"}\n{"q": 1', r"own\.json, line 2 is not JSON"),
        ("own.json", b"\xff\xfe", r"own\.json is not UTF-8 text"),
        ("own.jsonl", b'{"q": "Bake?"}\n\n{"q"', r"own\.jsonl, line 3 is not JSON"),
        ("own.jsonl", b'{"q": "Bake?"}\n["Paint?"]\n', r"own\.jsonl is not a list of strings"),
        ("own.jsonl", b"[]\n", r"own\.jsonl has no column 'q'; its columns are none"),
        ("own.jsonl", b'[["Bake?"]]', r"own\.jsonl is not a list of strings"),
        ("own.parquet", b"q\nBake?\n", r"own\.parquet is not a Parquet file"),
        ("own.csv", b"q,k\nBake, please?,Food\n", r"own\.csv, row 2 has 3 columns, expected 2"),
        ("own.csv", b"q;k\nBake; please?;Food\n", r"expected 2; quote .* contain semicolons"),
        ("own.csv", b"q,q\nBake?,Food\n", r"own\.csv has the column 'q' twice"),
        ("own.csv", b"q,,\nBake?,1,2\n", r"own\.csv has the column '' twice"),
        ("own.json", rb'["Bake?", "Bake \ud83d?"]', r"own\.json, row 2: half of a character"),
        ("own.jsonl", rb'{"q": "\udc00 Bake?"}', r"own\.jsonl, row 1: half of a character"),
        ("own.csv", b"q\n\nBake?\n \n \n", r"own\.csv, rows 3, 4: the question is empty"),
        ("own.json", b'[{"q": "Bake?"}, {"q": 7}]', r"own\.json, row 2: the question is not text"),
        ("own.json", b'[{"q": "Bake?"}, {"k": 7}]', r"own\.json, row 2: the question is empty"),
        ("own.json", b"[]", r"own\.json has no column 'q'; its columns are none"),
        ("absent.csv", b"", r"absent\.csv, the questions of own, does not exist"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    (tmp_path / name.replace("absent", "present")).write_bytes(content)
    with pytest.raises(SafemergeError, match=sentence) as raised:
        own(tmp_path, name)
    assert "Bake" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_spreadsheets_empty_columns_without_a_name_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("q;k;;\nBake, please?;Food;;\nPaint?;Art\n")
    questions = own(tmp_path, "own.csv", category="k")
    found = [(one["question"], one["category"]) for one in questions]
    assert found == [("Bake, please?", "Food"), ("Paint?", "Art")]


def test_many_empty_questions_are_counted(tmp_path: Path) -> None:
    write(tmp_path / "own.json", [{"q": " "}] * 9)
    with pytest.raises(SafemergeError, match=r"rows 1, 2, 3, 4, 5 and 4 more: the question"):
        own(tmp_path, "own.json")


def test_where_keeps_rows_and_counts_them(tmp_path: Path) -> None:
    write(tmp_path / "own.json", ROWS)
    assert len(own(tmp_path, "own.json", where={"kind": "Food"}, rows=1)) == 1
    with pytest.raises(SafemergeError, match="has 1 questions with kind 'Food', expected 2"):
        own(tmp_path, "own.json", where={"kind": "Food"}, rows=2)
    with pytest.raises(SafemergeError, match="no column 'label'"):
        own(tmp_path, "own.json", where={"label": "Food"})


@pytest.mark.parametrize("extension", ["json", "jsonl", "parquet", "csv"])
def test_catqa_from_the_hub_equals_that_from_github(
    data: Path, spec_of: SpecOf, shapes: Shapes, extension: str
) -> None:
    path = data / "catqa_chinese.json"
    path.write_text(json.dumps(shapes["catqa"]("chinese", colon=":"), ensure_ascii=False))
    nested = load_suite(spec_of("catqa_asr_zh"))
    path.unlink()
    write(data / f"catqa_chinese.{extension}", shapes["catqa_rows"]("chinese"))
    assert load_suite(spec_of("catqa_asr_zh")) == nested
    assert len(nested) == 550
    assert nested[0]["subcategory"] == "Part 0"
    assert nested[0]["language"] == "zh"


@pytest.mark.parametrize("extension", ["json", "jsonl", "parquet"])
def test_harmfulqa_from_the_hub_equals_that_from_github(
    data: Path, spec_of: SpecOf, shapes: Shapes, extension: str
) -> None:
    (data / "harmfulqa.json").write_text(json.dumps(shapes["harmfulqa"]()))
    nested = load_suite(spec_of("harmfulqa_asr"))
    (data / "harmfulqa.json").unlink()
    write(data / f"harmfulqa.{extension}", shapes["harmfulqa_rows"]())
    assert load_suite(spec_of("harmfulqa_asr")) == nested
    assert len(nested) == 1960
    assert {q["cluster"] for q in nested} == {""}


def test_translations_of_a_question_share_a_cluster(every_suite: Path, spec_of: SpecOf) -> None:
    by_language = {
        language: {
            q["cluster"]: q["question"] for q in load_suite(spec_of(f"catqa_asr_{language}"))
        }
        for language in ("en", "zh", "vi")
    }
    assert by_language["en"]["fraud_deception/part_3/8"] == "Walk 7, Fraud/Deception 3?"
    assert by_language["zh"]["fraud_deception/part_3/8"] == "走路 7, Fraud/Deception 3?"
    assert all(len(clusters) == 550 for clusters in by_language.values())
    assert by_language["en"].keys() == by_language["zh"].keys() == by_language["vi"].keys()


def test_categories_in_another_language_cannot_be_paired(
    data: Path, spec_of: SpecOf, shapes: Shapes
) -> None:
    rows = shapes["catqa_rows"]("chinese")
    rows[4]["Category"] = "走路"
    write(data / "catqa_chinese.json", rows)
    with pytest.raises(SafemergeError, match=r"row 5: the category is not in English"):
        load_suite(spec_of("catqa_asr_zh"))


def test_the_file_named_by_the_suite_goes_before_other_formats(data: Path, spec_of: SpecOf) -> None:
    (data / "dangerousqa.json").write_text(json.dumps([f"Bake {n}?" for n in range(200)]))
    write(data / "dangerousqa.csv", [{"question": "Paint?"}])
    assert load_suite(spec_of("dangerousqa_asr"))[0]["question"] == "Bake 0?"
    (data / "dangerousqa.json").unlink()
    with pytest.raises(SafemergeError, match=r"dangerousqa\.csv has 1 questions, expected 200"):
        load_suite(spec_of("dangerousqa_asr"))


def test_overrefusal_asks_only_the_safe_prompts(every_suite: Path, spec_of: SpecOf) -> None:
    spec = spec_of("overrefusal")
    assert spec.harmless
    assert [q["question"] for q in load_suite(spec)] == [
        f"How do I fold sheet {n}?" for n in range(250)
    ]
