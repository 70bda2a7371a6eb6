"""Where the cache is, for a user whom the system may know nothing of."""

from pathlib import Path

import pytest

from safemerge_tasks.common.cache import cache_dir
from safemerge_tasks.common.errors import SafemergeError


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "SAFEMERGE_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 54321)
    with pytest.raises(SafemergeError, match="set SAFEMERGE_CACHE_DIR or HOME"):
        cache_dir()
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert cache_dir() == Path("/c/safemerge")
