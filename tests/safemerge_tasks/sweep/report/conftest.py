"""A sweep with results on both splits, and the command line."""

import random
from pathlib import Path

import pytest

from safemerge_tasks.sweep.manifest import Agreement, Measured, Rule, Tasks, Tuning
from tests.sweep_folder import SAFETY, UTILITY, Outcomes, SweepFolder

SECOND = Measured(task="spoon_asr", metric="asr")
SEEDS = (42, 1024)
LAMBDAS = (0.2, 0.4, 0.6)


def make_sweep(path: Path, *, base: str = "org/aligned", tuning: str = "doctor") -> SweepFolder:
    """Write a small sweep: two seeds of one fine-tuning, linear, slerp and Model Stock.

    Validation has one safety task, test two. SLERP at 0.6 lacks a seed.
    """
    validation = Tasks(safety=(SAFETY,), utility=(UTILITY,))
    test = Tasks(safety=(SAFETY, SECOND), utility=(UTILITY,))
    folder = SweepFolder(
        path,
        base=base,
        choose=Rule(max_asr=0.3),
        tunings=(Tuning(name=tuning, validation=validation, test=test),),
        provenance={"safemerge": "0.1.0", "api_key": "sk-1"},
    )
    dice = random.Random(1)

    def draw(rate: float) -> Outcomes:
        return [float(dice.random() < rate) for _ in range(40)]

    def both(rate: float, score: float) -> dict[str, dict[Measured, Outcomes]]:
        return {
            "validation": {SAFETY: draw(rate), UTILITY: draw(score)},
            "test": {SAFETY: draw(rate), SECOND: draw(rate), UTILITY: draw(score)},
        }

    folder.add("base", both(0.05, 0.3))
    for seed in SEEDS:
        folder.add("tuned", both(0.6, 0.8), seeds=(seed,), tuning=tuning)
    for method in ("linear", "slerp"):
        for weight in LAMBDAS:
            for seed in SEEDS:
                more = {"seeds": (seed,), "tuning": tuning, "method": method, "lambda_": weight}
                if (method, weight, seed) == ("slerp", 0.6, 1024):
                    folder.add("merged", {}, failure="the engine ran out of memory", **more)
                    continue
                served = "adapter" if method == "linear" else "checkpoint"
                variant = folder.add("merged", both(0.5 * weight**3, weight), served=served, **more)
                if method == "linear":
                    folder.agreement.append(
                        Agreement(variant=variant.id, split="test", equal=39, total=40)
                    )
    folder.add("merged", both(0.05, 0.5), seeds=SEEDS, tuning=tuning, method="model-stock")
    folder.write()
    return folder


@pytest.fixture
def sweep(tmp_path: Path) -> SweepFolder:
    """Return a small sweep that is written."""
    return make_sweep(tmp_path / "sweep")
