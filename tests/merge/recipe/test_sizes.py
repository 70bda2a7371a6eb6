"""Sizes as people write them."""

import pytest

from merge import MergeError
from merge.recipe.sizes import parse_size


def test_sizes():
    assert parse_size("5GB") == 5 * 10**9
    assert parse_size("1.5 mb") == 1_500_000
    assert parse_size("700") == 700
    for bad in ("", "-1GB", "GB", "5 apples", "0"):
        with pytest.raises(MergeError, match="such as 5GB"):
            parse_size(bad)
