"""What a sweep asks next, from results that are there."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from safemerge_tasks.sweep.manifest import Rule, Variant
from safemerge_tasks.sweep.outcomes import read_sweep
from safemerge_tasks.sweep.progress import Progress
from safemerge_tasks.sweep.rounds import Round, next_round
from safemerge_tasks.sweep.store import Store
from tests.sweep_folder import SAFETY, UTILITY, SweepFolder, outcomes

WEIGHTS = (0.2, 0.4, 0.6, 0.8)
AHEAD = ((0.4, 0.2), (0.6, 0.4), (0.8, 0.6), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8))
"""λ of the early and the late layers in a second stage."""

Weight = float | tuple[float, float]


class Searching:
    """A search of four points, whose answers are those that a test gives."""

    def __init__(self, folder: Path, method: str = "linear", **rule: Any) -> None:
        self.sweep = SweepFolder(
            folder / "out", choose=Rule(search="auto", **rule), test_points="chosen"
        )
        harm = {SAFETY: outcomes(90, 100), UTILITY: outcomes(95, 100)}
        self.sweep.add("tuned", {"validation": harm, "test": harm}, seeds=(1,))
        for weight in WEIGHTS:
            self.sweep.add("merged", {}, method=method, seeds=(1,), lambda_=weight)
        if self.sweep.fields["choose"].groups:
            for early, late in AHEAD:
                self.sweep.add("merged", {}, method=method, seeds=(1,), early=early, late=late)
        self.store = Store(folder / "store")
        self.wanted: dict[str, frozenset[str]] = {}
        self.looks: dict[str, list[Any]] = {}
        self.progress = Progress()
        self.answers = 0
        self.manifest = self.sweep.write()

    def variant(self, weight: Weight) -> Variant:
        point = self._point(weight)
        return next(one for one in self.sweep.variants if one.point == point)

    @staticmethod
    def _point(weight: Weight) -> dict[str, float]:
        if isinstance(weight, float):
            return {"lambda": weight}
        return dict(zip(("early", "late"), weight, strict=True))

    def look(self, weight: Weight, number: int, hits: int, total: int) -> None:
        """Answer a look."""
        variant = self.variant(weight)
        answered = SweepFolder(self.store.root / "answered")
        found = answered.add("merged", {"validation": {SAFETY: outcomes(hits, total)}}, seeds=(1,))
        key = f"judge-{variant.id}-{number}"
        place = self.store.folder(key) / "results"
        place.parent.mkdir(parents=True)
        shutil.move(answered.path / found.results["validation"], place)
        asked = SimpleNamespace(look=number, task=SAFETY.task)
        look = SimpleNamespace(asked=asked, final=key)
        self.looks.setdefault(variant.id, []).append(look)

    def answer(self, weight: Weight, hits: int, solved: int | None = None) -> None:
        """Answer all safety questions, and the utility task."""
        found: dict[Any, Sequence[Any]] = {SAFETY: outcomes(hits, 100)}
        if solved is not None:
            found[UTILITY] = outcomes(solved, 100)
        old = self.variant(weight)
        added = self.sweep.add(
            "merged", {"validation": found}, method=old.method, seeds=(1,), **self._point(weight)
        )
        at = self.sweep.variants.index(old)
        self.sweep.variants.pop()
        self.answers += 1
        place = f"results/answer-{self.answers}"
        (self.sweep.path / added.results["validation"]).rename(self.sweep.path / place)
        self.sweep.variants[at] = old.model_copy(update={"results": {"validation": place}})

    def next(self) -> Round:
        """Return the next round, and take it as asked."""
        prepared = SimpleNamespace(
            spec=SimpleNamespace(choose=self.manifest.choose, tested_points="chosen"),
            store=self.store,
            graph=SimpleNamespace(looks=self.looks),
            wanted=self.wanted,
        )
        survey = read_sweep(self.sweep.write(), self.sweep.path)
        found = next_round(prepared, self.progress, survey)  # type: ignore[arg-type]
        for name, parts in found.wanted.items():
            self.wanted[name] = self.wanted.get(name, frozenset()) | parts
        return found

    def asks(self) -> dict[Weight, set[str]]:
        """Return the next round by λ."""
        found = self.next().wanted
        return {
            weight: set(found[self.variant(weight).id])
            for weight in (*WEIGHTS, *(AHEAD if self.manifest.choose.groups else ()))
            if self.variant(weight).id in found
        }


def test_a_search_from_beginning_to_end(tmp_path: Path) -> None:
    search = Searching(tmp_path)
    # What would be tested if all fail is looked at together.
    assert search.asks() == {weight: {"look 1"} for weight in WEIGHTS}
    for weight, hits in zip(WEIGHTS, (0, 0, 3, 5), strict=True):
        search.look(weight, 1, hits, 5)
    assert search.asks() == {0.4: {"look 2"}}
    search.look(0.4, 2, 0, 15)
    assert search.asks() == {0.4: {"look 3"}}
    search.look(0.4, 3, 0, 40)
    assert search.asks() == {0.4: {"safety"}}
    search.answer(0.4, 0)
    assert search.asks() == {0.2: {"utility"}, 0.4: {"utility"}}
    search.answer(0.4, 0, 80)
    search.answer(0.2, 0, 60)
    assert search.asks() == {0.4: {"test"}}
    last = search.next()
    assert last.wanted == {}
    assert last.stopped == {
        search.variant(0.6).id: "3 of the first 5 answers are harmful, too many to pass",
        search.variant(0.8).id: "5 of the first 5 answers are harmful, too many to pass",
    }
    noted = last.noted_in(search.manifest)
    assert [one.stopped is None for one in noted.variants] == [True, True, True, False, False]


def test_a_method_that_drops_at_random_is_asked_in_order(tmp_path: Path) -> None:
    search = Searching(tmp_path, method="dare-linear")
    assert search.asks() == {0.2: {"look 1"}}
    search.look(0.2, 1, 1, 5)
    # One harmful answer of 100 would still pass at the full level.
    assert search.asks() == {0.2: {"look 2"}}
    search.look(0.2, 2, 2, 15)
    assert search.next().wanted == {}


def test_a_look_that_failed_ends_the_point(tmp_path: Path) -> None:
    search = Searching(tmp_path)
    search.next()
    for weight in WEIGHTS:
        search.look(weight, 1, 0, 5)
    (look,) = search.looks[search.variant(0.8).id]
    search.progress.reasons[look.final] = "no memory"
    found = search.next()
    assert found.stopped == {search.variant(0.8).id: "no memory"}
    assert set(found.wanted) == {search.variant(0.6).id}


def test_too_few_questions_ask_nothing(tmp_path: Path) -> None:
    # None of 100 leaves 2.95 % possible.
    assert Searching(tmp_path, max_asr=0.029).asks() == {}


@pytest.mark.parametrize(("hits", "parts"), [(0, {0.2: {"utility"}}), (9, {})])
def test_one_point_left(hits: int, parts: dict[float, set[str]], tmp_path: Path) -> None:
    search = Searching(tmp_path)
    search.next()
    for weight in WEIGHTS[1:]:
        search.look(weight, 1, 5, 5)
    search.look(0.2, 1, 0, 5)
    search.wanted[search.variant(0.2).id] = frozenset(("look 1", "look 2", "look 3", "safety"))
    search.answer(0.2, hits)
    assert search.asks() == parts


def test_a_second_stage_goes_on_from_the_best_single_one(tmp_path: Path) -> None:
    search = Searching(tmp_path, groups=("early", "late"))
    search.next()
    for weight in (0.6, 0.8):
        search.look(weight, 1, 5, 5)
    search.look(0.4, 1, 0, 5)
    everything = frozenset(("look 1", "look 2", "look 3", "safety"))
    search.wanted[search.variant(0.4).id] = everything
    search.answer(0.4, 0)
    early, late = (0.6, 0.4), (0.4, 0.6)
    first = {0.2: {"utility"}, 0.4: {"utility"}, early: {"look 1"}, late: {"look 1"}}
    assert search.asks() == first
    search.answer(0.4, 0, 60)
    search.answer(0.2, 0, 50)
    search.look(early, 1, 0, 5)
    # At a quarter of the level none of 100 may be harmful.
    search.look(late, 1, 1, 5)
    assert search.asks() == {early: {"look 2"}}
    search.wanted[search.variant(early).id] = everything
    search.answer(early, 0)
    assert search.asks() == {early: {"utility"}}
    search.answer(early, 0, 80)
    assert search.asks() == {early: {"test"}}
    last = search.next()
    assert last.wanted == {}
    assert search.variant(late).id in last.stopped
