"""What our own code is, for keys."""

import sys
from pathlib import Path

import pytest

from safemerge_tasks.sweep import steps
from safemerge_tasks.sweep.steps import KINDS, Kind, make_key, source_hash


def test_every_module_of_a_package_counts_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "bakery_of_this_test"
    (package / "oven").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path))

    def found(**files: str) -> str:
        for name, text in {"__init__.py": "", **files}.items():
            (package / name.replace("__in__", "/")).write_text(text)
        source_hash.cache_clear()
        sys.modules.pop(package.name, None)
        return source_hash(package.name)

    first = found(**{"oven__in__heat.py": "a = 1"})
    assert found(**{"notes.txt": "changed"}) == first
    second = found(**{"oven__in__heat.py": "a = 2"})
    assert second != first
    assert found(**{"oven__in__cold.py": ""}) != second
    source_hash.cache_clear()


def test_a_module_that_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    found = []
    for text in ("a = 1", "a = 2"):
        (tmp_path / "roll_of_this_test.py").write_text(text)
        source_hash.cache_clear()
        found.append(source_hash("roll_of_this_test"))
    assert found[0] != found[1]
    source_hash.cache_clear()


@pytest.mark.parametrize("kind", KINDS)
def test_our_own_code_and_libraries_are_in_the_keys_of_every_kind(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout has one version from commit to commit."""
    first = make_key(kind, {})
    for name in ("source_hash", "version_of"):
        own = getattr(steps, name)
        monkeypatch.setattr(steps, name, lambda _: "changed")
        assert make_key(kind, {}) != first
        monkeypatch.setattr(steps, name, own)
    assert make_key(kind, {}) == first
