"""A judge with weights in a job of its own, beside the engine: earlier verdicts, and the same."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.sweeping import Sweeps, outcome, small_sweep

if TYPE_CHECKING:
    from safemerge_tasks.toy.family import ToyFamily

CORES = {"answer": {"cpus": 1}, "judge": {"cpus": 1}}


@pytest.fixture(scope="module")
def folder(family: "ToyFamily", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two sweeps, in one of which engine and judge share the cores."""
    root = tmp_path_factory.mktemp("sweeps")
    content = small_sweep(
        family,
        methods=[{"method": "linear", "lambda": [0.4, 0.8]}],
        judge={
            "judge": "wildguard",
            "judge_engine": "hf",
            "judge_model": str(family.guard),
            "judge_dtype": "float32",
            # Kept verdicts would be the other sweep's.
            "judge_cache": False,
        },
        agreement=False,
    )
    content["engine"] |= {"engines": 1}
    for name, resources in (("together", {}), ("apart", CORES)):
        (root / name).mkdir()
        sweeps = Sweeps(root / name, {**content, "resources": resources})
        sweeps.run(root / name / "out", root / name / "store")
    return root


def test_it_begins_before_the_last_answer(folder: Path) -> None:
    assert list((folder / "together/out/logs").glob("*-judge.json")) == []
    begun = [path.stat().st_mtime for path in (folder / "apart/out/logs").glob("*-judge.json")]
    assert len(begun) > 1
    answers = (folder / "apart/store/steps").glob("answer-*/step.json")
    assert min(begun) < max(path.stat().st_mtime for path in answers)


def test_every_number_is_the_same(folder: Path) -> None:
    assert outcome(folder / "apart" / "out") == outcome(folder / "together" / "out")
