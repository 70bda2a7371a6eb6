"""Equality of prompts that says where they differ, never what they ask."""

import hashlib

import pytest


def assert_same(found: list[str], expected: list[str]) -> None:
    """Fail with the places that differ and hashes of the texts."""
    __tracebackhide__ = True
    if len(found) != len(expected):
        pytest.fail(f"{len(found)} prompts, expected {len(expected)}", pytrace=False)
    differ = [n for n, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1]]
    if differ:
        hashes = [
            hashlib.sha256(side[differ[0]].encode()).hexdigest()[:12] for side in (found, expected)
        ]
        pytest.fail(
            f"{len(differ)} of {len(found)} prompts differ: {differ[:10]}; hashes of the first: "
            f"{hashes[0]}, expected {hashes[1]}",
            pytrace=False,
        )
