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
    return between


def test_the_papers_form() -> None:
    assert rendered(BOOK) == [
        "Question: Book one from Rome?",
        "Function to be used: flight.book",
        "Description: Book a flight.",
        "Parameters:",
        "1. origin (type: string) - Departure city.",
        "2. seats (type: array)",
        "Required: [origin]",
    ]


@pytest.mark.parametrize("parameters", [{}, {"type": "object", "properties": {}, "required": []}])
def test_a_function_without_parameters(parameters: dict[str, Any]) -> None:
    lines = rendered({**BOOK, "parameters": parameters})
    assert lines[-2:] == ["Parameters:", "Required: []"]


def test_required_beside_the_parameters() -> None:
    schema = {"type": "object", "properties": BOOK["parameters"]["properties"]}  # type: ignore[index]
    assert (
        rendered({**BOOK, "parameters": schema, "required": ["seats"]})[-1] == "Required: [seats]"
    )


def test_the_nulls_of_a_parquet_file() -> None:
    schema = {"properties": {"origin": {"type": "string"}, "other": None}, "required": None}
    assert rendered({**BOOK, "parameters": schema})[-2:] == [
        "1. origin (type: string)",
        "Required: []",
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
