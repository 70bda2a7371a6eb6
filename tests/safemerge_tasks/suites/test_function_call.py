import json
from typing import Any

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.suites.function_call import FIRST, LAST, prompt

BOOK = {
    "name": "Flight Booking",
    "api_call": "flight.book",
    "description": "Book a flight.",
    "parameters": {
        "type": "object",
        "properties": {
            "origin": {"type": "string", "description": "Departure city."},
            "seats": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["origin"],
    },
}


def rendered(function: Any) -> list[str]:
    doc = {"id": "x-1", "question": "Book one from Rome?"}
    text = prompt(
        {**doc, "function": function if isinstance(function, str) else json.dumps(function)}
    )
    first, *between, last = text.split("\n")
    assert (first, last) == (FIRST, LAST)
    assert (between[0], between[2]) == ("", "")
    return [between[1], *between[3:]]


def test_the_papers_form() -> None:
    assert rendered(BOOK) == [
        "Question: Book one from Rome?",
        "Function to be used: flight.book",
        "Description: Book a flight.",
        "Parameters:",
        "1. origin (type: string) - Departure city.",
        "2. seats (type: array)",
        "Required: [origin]",
        "",
    ]


def test_a_function_without_parameters() -> None:
    empty = {"type": "object", "properties": {}, "required": []}
    assert rendered({**BOOK, "parameters": empty})[-2:] == ["Parameters:", ""]
    assert rendered({**BOOK, "parameters": {}})[-3:] == ["Parameters:", "No parameters", ""]


def test_without_required_no_blank_line_follows_the_parameters() -> None:
    schema = {"type": "object", "properties": BOOK["parameters"]["properties"]}  # type: ignore[index]
    assert rendered({**BOOK, "parameters": schema})[-1] == "2. seats (type: array)"


def test_a_question_that_is_the_whole_turn_already() -> None:
    assert prompt({"id": "x-1", "question": "Call it.", "function": ""}) == "Call it."


def test_required_beside_the_parameters() -> None:
    schema = {"type": "object", "properties": BOOK["parameters"]["properties"]}  # type: ignore[index]
    lines = rendered({**BOOK, "parameters": schema, "required": ["seats"]})
    assert lines[-2:] == ["Required: [seats]", ""]


def test_the_nulls_of_a_parquet_file() -> None:
    schema = {"properties": {"origin": {"type": "string"}, "other": None}, "required": None}
    assert rendered({**BOOK, "parameters": schema})[-2:] == [
        "Parameters:",
        "1. origin (type: string)",
    ]


@pytest.mark.parametrize(
    "parameters",
    [
        [{"name": "city", "type": "string", "description": "Where."}],
        {"required": [{"name": "city", "type": "string", "description": "Where."}], "optional": []},
    ],
)
def test_the_training_sets_notations(parameters: Any) -> None:
    function = str(
        {"name": "Map", "api_name": "map.show", "description": "A map.", "parameters": parameters}
    )
    lines = rendered([function + "\n"])
    assert "Function to be used: map.show" in lines
    assert "1. city (type: string) - Where." in lines


@pytest.mark.parametrize("function", ["not an object", "[]", "3", "{" * 3000])
def test_no_function(function: str) -> None:
    with pytest.raises(SafemergeError, match="x-1: its function is not described"):
        rendered(function)
