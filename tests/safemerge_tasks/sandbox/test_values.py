"""What crosses between a test and a candidate."""

import json
import math
import time
from collections import Counter, OrderedDict, namedtuple
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safemerge_tasks.sandbox.values import Opaque, decode, encode

_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters())
    | st.binary()
    | st.complex_numbers(allow_nan=False)
    | st.fractions()
)
_KEYS = st.integers() | st.text() | st.tuples(st.integers(), st.booleans())


def _same(value: Any) -> Any:
    return decode(json.loads(json.dumps(encode(value))))


@given(
    st.recursive(
        _LEAVES,
        lambda inner: (
            st.lists(inner)
            | st.tuples(inner, inner)
            | st.dictionaries(_KEYS, inner)
            | st.frozensets(_KEYS)
            | st.sets(_KEYS)
        ),
    )
)
def test_values_arrive_equal_and_of_the_same_type(value: Any) -> None:
    found = _same(value)
    assert found == value
    assert type(found) is type(value)


def test_equal_values_of_different_types_are_told_apart() -> None:
    value = [True, 1, 1.0, (1,), [1], "1", b"1", None, {1}, {1: (True,)}]
    assert repr(_same(value)) == repr(value)


def test_not_a_number_arrives() -> None:
    assert math.isnan(_same([float("nan")])[0])


def test_integers_beyond_decimal_limits_arrive() -> None:
    assert _same(10**6000) == 10**6000
    assert _same(-(2**64)) == -(2**64)


class Colour(IntEnum):
    RED = 1


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Counter("aab"), {"a": 2, "b": 1}),
        (OrderedDict(a=1), {"a": 1}),
        (namedtuple("P", "x y")(1, 2), (1, 2)),
        (Colour.RED, 1),
        (Decimal("0.1"), Decimal("0.1")),
        (Fraction(1, 3), Fraction(1, 3)),
        (range(1, 9, 2), range(1, 9, 2)),
        (bytearray(b"x"), b"x"),
        (np.float64(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
    ],
)
def test_derived_types_keep_what_they_equal(value: Any, plain: Any) -> None:
    assert _same(value) == plain


def test_an_iterator_equals_no_list_but_can_be_listed() -> None:
    found = _same(x * x for x in range(3))
    assert found != [0, 1, 4]
    assert list(found) == [0, 1, 4]


class AlwaysEqual:
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


class AlwaysEqualList(list[int]):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


def test_a_candidates_comparisons_do_not_arrive() -> None:
    assert isinstance(_same(AlwaysEqual()), Opaque)
    assert _same(AlwaysEqual()) != 4
    assert _same([AlwaysEqual()]) != [4]
    assert _same(AlwaysEqualList([1])) != [4]
    assert type(_same(AlwaysEqualList([1]))) is list


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (["range", [0, 60_000_000, 1]], "a range of more than 1,000,000 numbers"),
        (["range", [["int", "f" * 30], 0, -1]], "not an encoded value"),  # no length in C
        (["decimal", "1e999999999"], "a decimal with an exponent beyond 20,000"),
        (["decimal", "-1e-999999999"], "a decimal with an exponent beyond 20,000"),
        (["decimal", "0e999999999"], "a decimal with an exponent beyond 20,000"),
        (["decimal", "9" * 30_000], "a number of more than 20,000 digits"),
        (["decimal", [0, [1], 999999999]], "not an encoded value"),
        (["fraction", ["1e999999999"]], "not an encoded value"),
        (["fraction", [1.5]], "not an encoded value"),
        (["fraction", [1, ["int", "f" * 30_000]]], "a number of more than 20,000 digits"),
        (["int", "f" * 4_000_000], "a number of more than 20,000 digits"),
        (["list", [["dict", [[1, ["range", [0, 10**7, 1]]]]]]], "a range of more than"),
    ],
)
def test_what_is_small_here_and_huge_in_use_is_refused(data: Any, said: str) -> None:
    begun = time.monotonic()
    with pytest.raises(ValueError, match=said):
        decode(data)
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize(
    "value",
    [range(1_000_000), range(10**30, 10**30 + 5), range(0), Decimal("1e999"), Decimal("-Infinity"),
     Fraction(10**6000, 3), 2**60_000],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_is_large_and_can_be_used_arrives(value: Any) -> None:
    assert _same(value) == value


@pytest.mark.parametrize(
    "data", [{}, [], ["list"], ["no", 1], ["int", "zz"], ["set", [["list", []]]], ["range", ["x"]]]
)
def test_what_encode_never_returns_is_refused(data: Any) -> None:
    with pytest.raises(ValueError, match=r".*"):
        decode(data)
