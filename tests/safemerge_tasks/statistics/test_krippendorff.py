"""The worked examples of Krippendorff 2011, Computing Krippendorff's Alpha-Reliability."""

import pytest

from safemerge_tasks.statistics.krippendorff import nominal_alpha

# One line an observer, one column a unit; a dot is a missing value.
BINARY = ("0100000010", "1110010000")
NOMINAL = ("aabbdcccedda", "babbbccceddd")
MISSING = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")


def units(observers: tuple[str, ...]) -> list[list[str]]:
    return [[value for value in unit if value != "."] for unit in zip(*observers, strict=True)]


@pytest.mark.parametrize(
    ("observers", "alpha"), [(BINARY, 0.095), (NOMINAL, 0.692), (MISSING, 0.743)]
)
def test_published_examples(observers: tuple[str, ...], alpha: float) -> None:
    assert nominal_alpha(units(observers)) == pytest.approx(alpha, abs=5e-4)


def test_systematic_disagreement_is_below_chance() -> None:
    """Of 4 values 2 are equal: D_o = 1 and D_e = 2*2*2/(4*3) = 2/3, so alpha is -1/2."""
    assert nominal_alpha([["a", "b"], ["b", "a"]]) == pytest.approx(-0.5)


def test_units_with_one_value_do_not_count() -> None:
    assert nominal_alpha([["a"], [], ["b"]]) is None
    assert nominal_alpha([["a", "a"], ["b"]]) == 1.0


def test_the_order_of_units_and_values_is_nothing() -> None:
    found = units(MISSING)
    turned = [unit[::-1] for unit in found[::-1]]
    assert nominal_alpha(turned) == nominal_alpha(found)
