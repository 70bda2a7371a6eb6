"""A sweep that asks test data of chosen grid points only, against one that asks all of them."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from safemerge_tasks.sweep.choosing import choose_from
from safemerge_tasks.sweep.manifest import Manifest
from safemerge_tasks.sweep.outcomes import read_sweep
from tests.e2e.sweeping import Sweeps, finished, outcome, small_sweep
from tests.slow import slow

if TYPE_CHECKING:
    from safemerge_tasks.toy.family import ToyFamily


@pytest.fixture(scope="module")
def sweeps(family: "ToyFamily", tmp_path_factory: pytest.TempPathFactory) -> Sweeps:
    content = small_sweep(family, test_points="chosen")
    return Sweeps(tmp_path_factory.mktemp("sweeps"), content)


@slow
def test_chosen_points_have_the_numbers_of_the_whole_sweep(
    sweeps: Sweeps, family: "ToyFamily"
) -> None:
    out, store = sweeps.folder / "chosen", sweeps.folder / "store"
    sweeps.run(out, store)
    manifest, first = Manifest.read(out), finished(store)
    chosen = {(one.label, one.point) for one in choose_from(read_sweep(manifest, out))}
    assert len(chosen) == 2
    tested = {one.id for one in manifest.variants if "test" in one.results}
    assert tested == {
        one.id
        for one in manifest.variants
        if one.kind != "merged" or (one.method, tuple(one.point.items())) in chosen
    }
    assert all("validation" in one.results for one in manifest.variants)
    report = (out / "report" / "report.md").read_text()
    assert "Missing results" not in report
    assert "validation data" in report

    sweeps.run(out, store)
    assert finished(store) == first

    # The whole sweep goes on from there, and finds the same.
    folder = sweeps.folder / "whole"
    folder.mkdir()
    whole = Sweeps(folder, small_sweep(family))
    everything = sweeps.folder / "everything"
    whole.run(everything, store)
    second = finished(store)
    assert {key: second[key] for key in first} == first
    assert len(second) > len(first)
    expected, found = outcome(everything), outcome(out)
    assert found["choices"] == expected["choices"]
    for place in found.keys() - {"variants", "agreement", "choices"}:
        assert found[place] == expected[place]


def test_the_plan_counts_one_point_of_each_method(sweeps: Sweeps) -> None:
    out, store = sweeps.folder / "planned", sweeps.folder / "planned-store"
    sweeps.run(out, store, "--plan")
    printed = max(sweeps.folder.glob("printed-*"), key=lambda path: path.stat().st_mtime)
    said = " ".join(printed.read_text().split())
    assert "test data are counted for the first point of each method's grid" in said
    # 6 models and 4 models, 2 tasks of 3 questions; the agreement's checkpoint once more.
    assert f"generations: {(6 + 4 + 1) * 2 * 3} " in said
    assert not Path(out).exists()
