"""A merge's errors name a sweep's keys."""

import pytest

from merge import MergeError
from safemerge_tasks.sweep.merge_words import in_sweep_words


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("write a wider --dtype such as bfloat16", "write a wider merge.dtype such as bfloat16"),
        ("--vocabulary base drops them", "merge.vocabulary base drops them"),
        ("or --allow-nonfinite to merge it", "or merge.allow_nonfinite to merge it"),
        (
            "free space there or choose another --out.",
            "free space there or choose another --store.",
        ),
        (
            "needs k; give --set nuslerp-flatten=…, or --drop-rate",
            "needs k; give nuslerp_flatten, or drop_rate",
        ),
        ("needs either --unaligned or --safe.", "needs either unaligned or safe."),
        ("of --unknown-flag and a--b", "of --unknown-flag and a--b"),
    ],
)
def test_flags_become_keys(said: str, meant: str) -> None:
    assert in_sweep_words(MergeError(said)) == meant
