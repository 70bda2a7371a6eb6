"""What a part of a suite, drawn once for all models, says of the whole."""

import numpy as np
import pytest
from scipy import stats

from safemerge_tasks.statistics.fixed_part import fixed_part_effect

MANY = 1e9


def test_by_hand() -> None:
    """420/519 for the questions left, 1 + (1.644854 / 1.959964)^2 for sharing the part."""
    assert fixed_part_effect(100, 5.2) == pytest.approx(0.8092486 * 1.7043009, abs=1e-6)
    # 2.326348 and 2.575829 for 99 %.
    assert fixed_part_effect(100, MANY, 0.99) == pytest.approx(1.8156710, abs=1e-6)


@pytest.mark.parametrize(("whole", "part", "harmful"), [(520, 100, 156), (1960, 37, 20)])
def test_the_variance_is_that_of_a_draw_without_replacement(
    whole: int, part: int, harmful: int
) -> None:
    rate = harmful / whole
    exact = stats.hypergeom(whole, harmful, part).var() / part**2
    tolerance = fixed_part_effect(part, MANY)
    assert fixed_part_effect(part, whole / part) == pytest.approx(
        tolerance * exact / (rate * (1 - rate) / part)
    )


def models_inside(reach: float, shared: float, luck: float) -> float:
    """Return the share of models whose error, of variance 1, is within reach.

    Args:
        reach: of the interval, in standard errors.
        shared: the share of the variance that all models have in common.
        luck: the part's common error, in its own standard deviations.
    """
    own = stats.norm(luck * np.sqrt(shared), np.sqrt(1 - shared))
    return float(own.cdf(reach) - own.cdf(-reach))


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_enough_models_lie_inside_for_enough_parts(confidence: float) -> None:
    two_sided = float(stats.norm.ppf((1 + confidence) / 2))
    reach = two_sided * np.sqrt(fixed_part_effect(100, MANY, confidence))
    # The more luck the fewer models: what holds at this luck holds for enough of the parts.
    inside = [models_inside(reach, shared, two_sided) for shared in np.arange(0, 1, 0.001)]
    assert min(inside) >= confidence - 1e-6
    # No wider than that takes; the ordinary interval does not do.
    assert min(inside) == pytest.approx(confidence, abs=1e-4)
    ordinary = [models_inside(two_sided, shared, two_sided) for shared in np.arange(0, 1, 0.001)]
    assert min(ordinary) < 0.52


def test_never_narrower_than_for_other_questions_of_the_kind() -> None:
    assert fixed_part_effect(100, 1) == 1
    assert fixed_part_effect(100, 2) == 1
    for stands_for in (1.5, 5.2, 19.6):
        effects = [fixed_part_effect(number, stands_for) for number in (0.1, 1, 2, 100)]
        assert effects == sorted(effects, reverse=True)
        assert effects[0] == effects[1] == pytest.approx(fixed_part_effect(1, MANY))
