"""Names for the toy family's parts."""

from pathlib import Path

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.toy import family as family_module
from safemerge_tasks.toy.family import ToyFamily
from safemerge_tasks.toy.references import resolve


def test_any_other_text_is_left_alone() -> None:
    for text in ("model/toy", "./toy:aligned", "toy", ""):
        assert resolve(text) == text


def test_parts_of_the_family(micro_family: ToyFamily, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(family_module, "toy_family", lambda: micro_family)
    assert resolve("toy:aligned") == str(micro_family.aligned)
    assert resolve("toy:tuned-1024") == str(micro_family.tuned[1024])
    for name in ("unaligned", "guard", "data", "tuning-data", "tuned-full", "tuned-42"):
        assert Path(resolve(f"toy:{name}")).exists()


def test_the_tasks_need_no_family(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(family_module, "toy_family", None)
    assert (Path(resolve("toy:tasks")) / "toy_val_asr.yaml").is_file()


def test_an_unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(family_module, "toy_family", None)
    with pytest.raises(SafemergeError, match=r"'toy:alined' is not part .* has aligned, .*tasks"):
        resolve("toy:alined")
