"""Tests that take long and repeat what shorter ones show."""

import os

import pytest

SLOW = bool(os.environ.get("SAFEMERGE_SLOW_TESTS"))
slow = pytest.mark.skipif(not SLOW, reason="takes minutes; set SAFEMERGE_SLOW_TESTS=1")
"""Marks what repeats on another engine, at another size or for another step what others show."""
