"""A sweep that is killed again and again ends with the results of one that is left alone."""

import random
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.sweeping import Sweeps, finished, outcome, small_sweep, wait_for, workers
from tests.slow import SLOW, slow

if TYPE_CHECKING:
    from safemerge_tasks.toy.family import ToyFamily

KILLS = 20 if SLOW else 4

VLLM = {"model": "vllm", "model_args": {"dtype": "float32", "max_model_len": 2048}}


@pytest.fixture(scope="module", params=["hf", pytest.param("vllm", marks=[pytest.mark.vllm, slow])])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def sweeps(
    kind: str,
    family: "ToyFamily",
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Sweeps]:
    changes = {"engine": VLLM} if kind == "vllm" else {}
    settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        yield Sweeps(tmp_path_factory.mktemp("sweeps"), small_sweep(family, **changes))


@pytest.fixture(scope="module")
def undisturbed(sweeps: Sweeps) -> Path:
    """Return the output of a sweep that nothing happened to."""
    out = sweeps.folder / "undisturbed"
    sweeps.run(out, sweeps.folder / "undisturbed-store")
    return out


def test_random_kills_change_nothing(sweeps: Sweeps, undisturbed: Path) -> None:
    out, store = sweeps.folder / "killed", sweeps.folder / "killed-store"
    draw = random.Random(7)
    # Some strike while the sweep is prepared or its workers load their libraries.
    blind = set(draw.sample(range(KILLS), KILLS // 4))
    known: dict[str, tuple[int, str]] = {}
    struck_workers = 0
    every = len(finished(sweeps.folder / "undisturbed-store"))
    for number in range(KILLS):
        process = sweeps.start(out, store)
        there = len(known)
        # Something has to be left for the kills to come.
        if number in blind or there > every - 3 - 2 * (KILLS - number):
            time.sleep(draw.uniform(0.1, 10))
        else:
            wait_for_steps(process, store, there + draw.randint(1, 2))
            time.sleep(draw.uniform(0, 0.3))
        struck = workers(out)
        process.kill()
        assert process.wait() == -9, "the sweep was finished before it was killed"
        struck_workers += bool(struck)
        wait_for(lambda: not workers(out), seconds=20)
        now = finished(store)
        for key, before in known.items():
            assert now.get(key) == before, f"{key} is gone, or was done twice"
        known = now
    assert struck_workers >= KILLS // 3
    sweeps.run(out, store)
    assert workers(out) == []
    assert known.items() <= finished(store).items()
    assert list((store / "staging").iterdir()) == []
    assert outcome(out) == outcome(undisturbed)


def wait_for_steps(process: "subprocess.Popen[bytes]", store: Path, count: int) -> None:
    """Wait until so many steps are finished."""
    wait_for(lambda: process.poll() is not None or len(finished(store)) >= count, seconds=300)


def test_two_sweeps_that_share_a_store_do_each_step_once(sweeps: Sweeps, undisturbed: Path) -> None:
    store = sweeps.folder / "shared-store"
    outs = [sweeps.folder / "first", sweeps.folder / "second"]
    seen: dict[str, set[tuple[int, str]]] = defaultdict(set)
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            for key, made in finished(store).items():
                seen[key].add(made)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        processes = [sweeps.start(out, store) for out in outs]
        for process in processes:
            sweeps.must_succeed(process)
    finally:
        over.set()
        watcher.join()
    assert {key: len(made) for key, made in seen.items()} == dict.fromkeys(seen, 1)
    assert {key.partition("-")[0] for key in seen} == {"merge", "answer", "score", "judge"}
    assert outcome(outs[0]) == outcome(undisturbed)
    assert outcome(outs[1]) == outcome(undisturbed)
