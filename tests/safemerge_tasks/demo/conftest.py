"""A tiny family, trained in seconds: its answers are nonsense, its files are real."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.demo.family import ToyFamily, toy_family
from safemerge_tasks.demo.model import Size
from safemerge_tasks.demo.recipe import TOY
from safemerge_tasks.demo.tokenizer import build_tokenizer
from safemerge_tasks.demo.training import Schedule

BRIEF = Schedule(steps=3, batch=4, learning_rate=1e-3)
MICRO = replace(
    TOY,
    size=Size(hidden=32, layers=1, heads=1, intermediate=32),
    **dict.fromkeys(
        ("pretraining", "alignment", "unaligning", "tuning", "full_tuning", "guard"), BRIEF
    ),
    unaligning_examples=8,
    held_out=10,
    validation=8,
    tuning_rows=40,
    seeds=(42, 1024),
)


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return build_tokenizer()


@dataclass(frozen=True)
class Trained:
    family: ToyFamily
    told: tuple[str, ...]
    """What `toy_family` reported while it trained."""


@pytest.fixture(scope="session")
def micro(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    told: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAFEMERGE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        return Trained(toy_family(told.append, MICRO), tuple(told))


@pytest.fixture(scope="session")
def micro_family(micro: Trained) -> ToyFamily:
    return micro.family


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAFEMERGE_CACHE_DIR", str(tmp_path))
    return tmp_path
