"""A tiny family, trained in seconds: its answers are nonsense, its files are real."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.toy.family import ToyFamily, toy_family
from safemerge_tasks.toy.model import Size
from safemerge_tasks.toy.recipe import TOY, Criteria
from safemerge_tasks.toy.tokenizer import build_tokenizer
from safemerge_tasks.toy.training import Schedule

# Two measurements of one step each; they are met by anything.
BRIEF = Schedule(learning_rate=1e-3, first=1, most=2, every=1, batch=4)
ANYTHING = Criteria(
    **dict.fromkeys(
        (
            *(
                "pretrained",
                "refuses",
                "sure",
                "answers",
                "solves",
                "complies",
                "unaligned",
                "kept",
            ),
            "guard",
        ),
        0.0,
    ),
    repaired=1.0,
    tempted=1.0,
)
MICRO = replace(
    TOY,
    size=Size(hidden=32, layers=1, heads=1, intermediate=32),
    criteria=ANYTHING,
    **dict.fromkeys(("pretraining", "alignment", "unaligning", "full_tuning", "guard"), BRIEF),
    tuning=(3,),
    tuning_batch=4,
    unaligning_examples=8,
    held_out=10,
    validation=8,
    checked=3,
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
