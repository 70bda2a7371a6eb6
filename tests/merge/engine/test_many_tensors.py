"""Models of many small tensors: planning is linear, and memory does not grow with their number."""

import gc
import subprocess
import sys
import time

import pytest
import torch
from merge_models import copy_with, weights

from merge import MergeError, Options, build_recipe, merge
from merge.api import check
from merge.engine.blocks import threads_for
from merge.engine.plan import make_plan
from merge.formats.stored_tensor import StoredTensor

COUNT = 1500
FEW = 15
LIMIT = 150  # MB that 1,500 tensors may take beyond 15
PEAK = """
import resource, sys
from merge import merge
merge("ties", base=sys.argv[1], tuned=[sys.argv[2], sys.argv[3]], out=sys.argv[4],
      parameters={"density": 0.5, "whole_model": float(sys.argv[5])})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def many(models, tmp_path, count, seed):
    extra = {
        f"model.layers.0.experts.{index}.w": torch.full((2, 3), float(seed + index))
        for index in range(count)
    }
    return copy_with(models(seed), tmp_path / f"{seed}-{count}", extra)


@pytest.mark.parametrize("whole_model", [0, 1])
def test_peak_memory_of_ties(tmp_path, models, whole_model):
    peaks = []
    for count in (FEW, COUNT):
        base, tuned = (many(models, tmp_path, count, seed) for seed in (0, 1))
        out, other = tmp_path / f"out-{count}", tmp_path / f"other-{count}"
        other.symlink_to(tuned)
        ran = subprocess.run(
            [sys.executable, "-c", PEAK, base, tuned, other, out, str(whole_model)],
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(ran.stdout))
    assert peaks[1] - peaks[0] < LIMIT, peaks
    assert len(weights(out)) > COUNT


def test_planning_is_linear(tmp_path, models):
    """Four times the tensors take about four times as long; were it quadratic, sixteen."""
    seconds = []
    for count in (2000, 8000):
        recipe = build_recipe(
            method="linear",
            base=str(many(models, tmp_path, count, 0)),
            tuned=[{"model": str(many(models, tmp_path, count, 1))}],
            lambdas=(0.5,),
        )
        runs = []
        for _ in range(3):
            begun = time.process_time()
            check(recipe)
            runs.append(time.process_time() - begun)
        seconds.append(min(runs))
    assert seconds[1] < 12 * seconds[0]


@pytest.mark.parametrize("was_on", [True, False])
def test_no_garbage_is_collected_while_planning(models, monkeypatch, was_on):
    seen = []

    def planning(recipe, inputs):
        seen.append(gc.isenabled())
        if len(seen) > 1:
            raise MergeError("no plan")
        return make_plan(recipe, inputs)

    monkeypatch.setattr("merge.api.make_plan", planning)
    recipe = build_recipe(
        method="linear", base=str(models(0)), tuned=[{"model": str(models(1))}], lambdas=(0.5,)
    )
    try:
        gc.enable() if was_on else gc.disable()
        check(recipe)
        with pytest.raises(MergeError, match="no plan"):
            check(recipe)
        assert gc.isenabled() == was_on
    finally:
        gc.enable()
    assert seen == [False, False]


def test_ties_takes_a_few_times_what_linear_takes(tmp_path, models):
    """Its work is the tensors' and not that of 65,536 bins for each; with those it was 8 times."""
    base, tuned = (many(models, tmp_path, COUNT, seed) for seed in (0, 1))
    seconds = {}
    for method, given in (("linear", {"lambdas": [0.5]}), ("ties", {"parameters": {"density": 1}})):
        runs = []
        for number in range(2):
            begun = time.process_time()
            out = tmp_path / f"{method}{number}"
            merge(method, base=base, tuned=[tuned], out=out, **given)
            runs.append(time.process_time() - begun)
        seconds[method] = min(runs)
    assert seconds["ties"] < 5 * seconds["linear"], seconds


def test_small_tensors_are_for_one_thread(tmp_path, models):
    """Two of them would wait for each other's Python; larger blocks are shared."""
    base, tuned = (str(many(models, tmp_path, 300, seed)) for seed in (0, 1))
    plan = check(build_recipe(method="linear", base=base, tuned=[{"model": tuned}], lambdas=(0.5,)))
    everything = range(len(plan.tensors))
    for block, expected in ((262_144, 1), (100, 1), (5, 3)):
        options = Options(threads=3, block_elements=block)
        assert threads_for(plan, everything, options) == expected


def test_a_stored_head_of_a_tied_model_is_compared_once(tmp_path, models, monkeypatch):
    base = models(0, tie_word_embeddings=True)
    embedding = weights(base)["model.embed_tokens.weight"]
    copy = copy_with(base, tmp_path / "copy", {"lm_head.weight": embedding})
    read = []
    original = StoredTensor.read_bytes

    def counting(self, *arguments):
        read.append(self.name)
        return original(self, *arguments)

    monkeypatch.setattr(StoredTensor, "read_bytes", counting)
    check(
        build_recipe(method="linear", base=str(copy), tuned=[{"model": str(base)}], lambdas=(0.5,))
    )
    assert sorted(read) == ["lm_head.weight", "model.embed_tokens.weight"]


def test_runs_at_the_same_time_leave_torch_as_it_was():
    import threading

    from merge.engine.threads import single_threaded_torch

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    inside, leave = threading.Event(), threading.Event()

    def hold():
        with single_threaded_torch():
            inside.set()
            leave.wait(10)

    other = threading.Thread(target=hold)
    try:
        with single_threaded_torch():
            other.start()
            inside.wait(10)
        leave.set()
        other.join()
        assert torch.get_num_threads() == 3
    finally:
        leave.set()
        torch.set_num_threads(before)
