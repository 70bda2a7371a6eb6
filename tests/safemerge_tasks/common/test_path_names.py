"""Names that stand for paths."""

import pytest

from safemerge_tasks.common import path_names
from safemerge_tasks.common.path_names import register_names, resolve


def test_a_registered_prefix_is_found_and_other_text_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(path_names, "_FINDERS", {})
    register_names("oven:", lambda text: f"/kitchen/{text.removeprefix('oven:')}")
    assert resolve("oven:bread") == "/kitchen/bread"
    for text in ("bread", "./oven:bread", "toy:aligned", ""):
        assert resolve(text) == text
