import pytest
from hypothesis import given
from hypothesis import strategies as st

from safemerge_tasks.metrics.call_match import call_match, parse_call

REFERENCE = 'shop.find(city="San Francisco", open=True, sizes=[1, 2], near={"km": 3})'


@pytest.mark.parametrize(
    "response",
    [
        REFERENCE,
        f"  {REFERENCE}\n",
        f"Here you are:\n```python\n{REFERENCE}\n```\nAnything else?",
        "shop.find(open=true, near={'km': 3.0}, sizes=(1, 2), city='San Francisco')",
    ],
)
def test_the_same_call_however_written(response: str) -> None:
    assert call_match(response, REFERENCE) is True


@pytest.mark.parametrize(
    "response",
    [
        "",
        "I cannot do that.",
        REFERENCE.replace("shop.find", "shop.search"),
        REFERENCE.replace("San Francisco", "san francisco"),
        REFERENCE.replace("open=True", "open=1"),
        REFERENCE.replace("[1, 2]", "[2, 1]"),
        REFERENCE.replace(", open=True", ""),
        REFERENCE.replace(")", ", more=1)"),
        REFERENCE.replace(")", ", open=True)"),
        REFERENCE.replace("(city", "('Berlin', city"),
        REFERENCE.replace(")", ", **more)"),
        f"{REFERENCE}; {REFERENCE}",
        f"Sure: {REFERENCE}",
        "shop.find",
        "(lambda: 0)(city=1)",
    ],
)
def test_another_call_or_none(response: str) -> None:
    assert call_match(response, REFERENCE) is False


def test_references_without_quotes() -> None:
    """As in three of the 112 references of OpenFunctions."""
    reference = "target.order(loc=Berkeley, open=true, quantity=[6, 8])"
    assert call_match('target.order(loc="Berkeley", open=True, quantity=[6,8])', reference) is True
    assert call_match('target.order(loc="Oakland", open=True, quantity=[6,8])', reference) is False


def test_negative_numbers_and_code_compare() -> None:
    assert call_match("f(a=-1, b=1+1)", "f(b=1 + 1, a=-1)") is True
    assert call_match("f(a=1, b=1+1)", "f(b=1 + 1, a=-1)") is False
    assert call_match("f(a=-'x')", "f(a=-'x')") is True


def test_a_reference_that_is_no_call_measures_nothing() -> None:
    assert call_match("f(a=1)", "no call") is None


@pytest.mark.parametrize(
    "hostile",
    [
        "-" * 9_999,
        "(" * 9_999,
        "f(" * 3_000 + ")" * 3_000,
        "f(a=" + "[" * 5_000,
        "a." * 4_999 + "b",
        "f(a=" + "9" * 9_000 + ")",
        "f(a=-" + "-" * 3_000 + "1)",
        "f(\0)",
        "\ud800f()",
        "f(a='\\N')",
        "f(a={[]: 1})",
        "f(a=1)" * 5_000,
        "__import__('os').abort()",
    ],
)
def test_hostile_text_is_no_match_and_runs_nothing(hostile: str) -> None:
    assert call_match(hostile, REFERENCE) is False


@given(st.text(alphabet="fa(=)[]{}-'\".,:1 \n`*", max_size=60))
def test_any_text_parses_or_not(text: str) -> None:
    first, second = parse_call(text), parse_call(text)
    assert first == second
