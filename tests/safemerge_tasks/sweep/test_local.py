"""Jobs on this machine, as real processes; a script stands in for the work."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep import local, processes
from safemerge_tasks.sweep.local import LocalRunner, refuse_too_much, visible_gpus
from safemerge_tasks.sweep.store import Store
from tests.safemerge_tasks.sweep.worker_jobs import (
    WITH_CHILD,
    alive,
    check_order_of_events,
    cold_start,
    gone,
    job,
    until_end,
)

TELL_PLACE = """
names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "VLLM_CPU_OMP_THREADS_BIND")
print(json.dumps({name: os.environ.get(name) for name in names}), flush=True)
time.sleep(0.2)
"""


@pytest.fixture(autouse=True)
def _no_settings_of_the_tester(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "VLLM_CPU_OMP_THREADS_BIND", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(local.os, "sched_getaffinity", lambda _pid: {4, 5, 6, 7})


@pytest.fixture
def cold(tmp_path: Path) -> Path:
    return cold_start(tmp_path)


@pytest.fixture
def make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cold: Path
) -> Iterator[Callable[..., LocalRunner]]:
    monkeypatch.setattr(processes.sys, "executable", str(cold))
    made: list[LocalRunner] = []

    def runner(slots: int | None = None, gpus: Any = (), stall: float | None = None) -> LocalRunner:
        made.append(LocalRunner(Store(tmp_path / "store"), tmp_path / "logs", slots, gpus, stall))
        return made[-1]

    yield runner
    for one in made:
        one.close()


class TestShares:
    def test_jobs_that_can_start_together_share_the_cores(
        self, make: Callable[..., LocalRunner]
    ) -> None:
        runner = make(slots=2)
        for number in (1, 2):
            assert runner.fits(job(number, TELL_PLACE))
            runner.start(job(number, TELL_PLACE), ready=3 - number)
        assert not runner.fits(job(3, TELL_PLACE))
        told = {e.job.number: e.told for e in until_end(runner, 2) if e.told}
        assert told == {
            1: {
                "CUDA_VISIBLE_DEVICES": None,
                "OMP_NUM_THREADS": "2",
                "VLLM_CPU_OMP_THREADS_BIND": "4,5",
            },
            2: {
                "CUDA_VISIBLE_DEVICES": None,
                "OMP_NUM_THREADS": "2",
                "VLLM_CPU_OMP_THREADS_BIND": "6,7",
            },
        }

    def test_a_single_job_has_all_cores_and_gives_them_back(
        self, make: Callable[..., LocalRunner]
    ) -> None:
        runner = make(slots=2)
        for number in (1, 2):
            runner.start(job(number, TELL_PLACE), ready=1)
            told, _ = until_end(runner)
            assert told.told["VLLM_CPU_OMP_THREADS_BIND"] == "4,5,6,7"

    def test_what_comes_next_gets_the_cores_of_a_job_that_has_told_everything(
        self, make: Callable[..., LocalRunner]
    ) -> None:
        runner = make(slots=2)
        ends = 'print(json.dumps({"done": "answer-1"}), flush=True); time.sleep(1.5)'
        runner.start(job(1, ends), ready=1)
        event = None
        while event is None:
            event = runner.next_event(1)
        assert event.told == {"done": "answer-1"}
        # The first still ends its engine.
        runner.start(job(2, TELL_PLACE + "time.sleep(3)"), ready=1)
        told, end = until_end(runner)
        assert told.told["VLLM_CPU_OMP_THREADS_BIND"] == "4,5,6,7"
        assert end.job.number == 1
        # Its end frees nothing that the second has taken.
        assert not runner.fits(job(3, TELL_PLACE))

    def test_a_job_gets_the_cores_it_asks_for(self, make: Callable[..., LocalRunner]) -> None:
        runner = make(slots=2)
        runner.start(job(1, TELL_PLACE, cpus=3), ready=2)
        runner.start(job(2, TELL_PLACE), ready=1)
        told = {e.job.number: e.told["OMP_NUM_THREADS"] for e in until_end(runner, 2) if e.told}
        assert told == {1: "3", 2: "1"}

    def test_a_user_s_own_settings_stay(
        self, make: Callable[..., LocalRunner], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        runner = make()
        runner.start(job(1, TELL_PLACE), ready=1)
        assert until_end(runner)[0].told["OMP_NUM_THREADS"] == "1"

    def test_each_job_has_gpus_of_its_own(self, make: Callable[..., LocalRunner]) -> None:
        runner = make(gpus=["2", "GPU-5f"])
        # Two for what needs none.
        assert runner.slots == 4
        runner.start(job(1, TELL_PLACE, gpus=1), ready=2)
        runner.start(job(2, TELL_PLACE, gpus=0.5), ready=1)
        told = {e.job.number: e.told for e in until_end(runner, 2) if e.told}
        assert [told[n]["CUDA_VISIBLE_DEVICES"] for n in (1, 2)] == ["2", "GPU-5f"]
        assert runner.fits(job(3, TELL_PLACE, gpus=2))

    def test_jobs_that_say_so_share_a_gpu_and_wait_for_no_core(
        self, make: Callable[..., LocalRunner]
    ) -> None:
        runner = make(gpus=["7", "9"])
        runner.start(job(1, TELL_PLACE, gpus=1), ready=1)
        for number in (2, 3):
            assert runner.fits(job(number, TELL_PLACE, gpus=0.5))
            runner.start(job(number, TELL_PLACE, gpus=0.5), ready=1)
        assert not runner.fits(job(4, TELL_PLACE, gpus=0.1))
        # The first has all cores.
        assert not runner.fits(job(4, TELL_PLACE))
        told = {e.job.number: e.told for e in until_end(runner, 3) if e.told}
        assert [told[n]["CUDA_VISIBLE_DEVICES"] for n in (1, 2, 3)] == ["7", "9", "9"]
        assert runner.fits(job(4, TELL_PLACE, gpus=2))

    def test_a_job_waits_for_its_gpus(self, make: Callable[..., LocalRunner]) -> None:
        runner = make(slots=3, gpus=["0", "1"])
        runner.start(job(1, TELL_PLACE, gpus=1), ready=1)
        assert not runner.fits(job(2, TELL_PLACE, gpus=2))
        until_end(runner)
        assert runner.fits(job(2, TELL_PLACE, gpus=2))

    def test_a_job_without_gpus_sees_none_of_them(self, make: Callable[..., LocalRunner]) -> None:
        runner = make(gpus=["0"])
        runner.start(job(1, TELL_PLACE, gpus=0), ready=1)
        assert until_end(runner)[0].told["CUDA_VISIBLE_DEVICES"] == ""

    def test_a_job_without_gpus_runs_beside_one_that_has_them_all(
        self, make: Callable[..., LocalRunner]
    ) -> None:
        runner = make(gpus=["0"])
        runner.start(job(1, TELL_PLACE, gpus=1, cpus=1), ready=2)
        assert runner.fits(job(2, TELL_PLACE, gpus=0))
        assert not runner.fits(job(3, TELL_PLACE, gpus=1))

    def test_more_gpus_than_there_are_do_not_fit(self, make: Callable[..., LocalRunner]) -> None:
        assert not make(gpus=["0"]).fits(job(1, TELL_PLACE, gpus=4))

    @pytest.mark.parametrize(
        ("changes", "gpus", "reason"),
        [
            ({"resources": {"judge": {"gpus": 2}}}, 1, "judge.gpus is 2, .* machine has 1 GPU;"),
            ({"resources": {"answer": {"gpus": 0.5}}}, 0, "answer.gpus is 0.5, .* has no GPUs;"),
            (
                {
                    "engine": {
                        "model_args": {f"{n}_parallel_size": 2 for n in ("tensor", "pipeline")}
                    }
                },
                2,
                "pipeline_parallel_size is 4, and this machine has 2 GPUs; lower it, or use --ray",
            ),
        ],
    )
    def test_a_sweep_that_asks_for_more_is_refused(
        self, changes: Any, gpus: int, reason: str
    ) -> None:
        from tests.safemerge_tasks.sweep.test_run import spec_of

        with pytest.raises(SafemergeError, match=reason):
            refuse_too_much(spec_of(**changes), gpus)
        refuse_too_much(spec_of(**changes), 4)

    @pytest.mark.parametrize(
        ("named", "found"),
        [("", []), ("-1", []), ("1,3", ["1", "3"]), ("GPU-5f, MIG-7", ["GPU-5f", "MIG-7"])],
    )
    def test_gpus_that_the_user_chose(
        self, monkeypatch: pytest.MonkeyPatch, named: str, found: list[str]
    ) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
        assert visible_gpus() == found


class TestStalls:
    def test_a_job_that_tells_nothing_is_killed_with_its_children(
        self, make: Callable[..., LocalRunner]
    ) -> None:
        runner = make(stall=1.0)
        started = time.monotonic()
        runner.start(job(1, f"{WITH_CHILD}time.sleep(120)"), ready=1)
        told, end = until_end(runner)
        assert 1.0 <= time.monotonic() - started < 20
        assert (end.machine_failed, end.reason) == (True, "it told nothing for 0.0166667 minutes")
        assert gone(told.told["child"])

    def test_one_that_is_stopped_too(self, make: Callable[..., LocalRunner]) -> None:
        runner = make(stall=1.0)
        runner.start(job(1, "os.kill(os.getpid(), 19)"), ready=1)
        (end,) = until_end(runner)
        assert end.machine_failed

    def test_one_that_goes_on_telling_is_left_alone(self, make: Callable[..., LocalRunner]) -> None:
        runner = make(stall=1.5)
        tells = "print('{}', flush=True); time.sleep(0.6)\n" * 4
        runner.start(job(1, tells), ready=1)
        end = until_end(runner)[-1]
        assert (end.machine_failed, end.reason) == (False, None)


class TestEnds:
    def test_events_are_passed_on_in_order(self, make: Callable[..., LocalRunner]) -> None:
        check_order_of_events(make())

    def test_a_sentence_is_the_reason(self, make: Callable[..., LocalRunner]) -> None:
        runner = make()
        code = "print(json.dumps({'error': 'No such layer.', 'ours': True})); sys.exit(1)"
        runner.start(job(1, code), ready=1)
        end = until_end(runner)[-1]
        assert (end.reason, end.ours, end.machine_failed) == ("No such layer.", True, False)

    def test_a_killed_worker_is_told_with_its_last_words(
        self, make: Callable[..., LocalRunner], tmp_path: Path
    ) -> None:
        runner = make()
        code = "print('out of memory', file=sys.stderr, flush=True); os.kill(os.getpid(), 9)"
        runner.start(job(7, code), ready=1)
        end = until_end(runner)[-1]
        log = tmp_path / "logs" / "007-answer.log"
        assert end.reason == f"the process ended with signal 9 (out of memory); see {log}"
        assert log.read_text() == "out of memory\n"
        assert not end.ours

    def test_a_silent_end(self, make: Callable[..., LocalRunner]) -> None:
        runner = make()
        runner.start(job(1, "os._exit(3)"), ready=1)
        reason = until_end(runner)[-1].reason
        assert reason is not None
        assert reason.startswith("the process ended with status 3 (nothing was printed); see ")

    def test_half_a_line_does_not_lose_the_end(self, make: Callable[..., LocalRunner]) -> None:
        runner = make()
        code = "print('{\"done\": ', end='', flush=True); os.kill(os.getpid(), 9)"
        runner.start(job(1, code), ready=1)
        (end,) = until_end(runner)
        assert "signal 9" in str(end.reason)

    def test_a_killed_worker_s_children_neither_live_on_nor_hide_its_end(
        self, make: Callable[..., LocalRunner]
    ) -> None:
        runner = make()
        runner.start(job(1, f"{WITH_CHILD}os.kill(os.getpid(), 9)"), ready=1)
        told, end = until_end(runner)
        assert "signal 9" in str(end.reason)
        assert gone(told.told["child"])

    def test_closing_ends_what_runs_with_its_children(
        self, make: Callable[..., LocalRunner]
    ) -> None:
        runner = make()
        runner.start(job(1, f"{WITH_CHILD}time.sleep(120)"), ready=1)
        told = None
        while told is None:
            told = runner.next_event(1)
        runner.close()
        assert gone(told.told["child"])


def test_workers_and_their_children_end_with_a_killed_starter(cold: Path, tmp_path: Path) -> None:
    code = f"""
import sys, time
from pathlib import Path
from safemerge_tasks.sweep.jobs import Job
from safemerge_tasks.sweep.local import LocalRunner
from safemerge_tasks.sweep.spec import Needs
from safemerge_tasks.sweep.steps import Step
from safemerge_tasks.sweep.store import Store
sys.executable = {str(cold)!r}
work = {{"code": {WITH_CHILD + "time.sleep(120)"!r}}}
folder = Path({str(tmp_path)!r})
runner = LocalRunner(Store(folder / "store"), folder / "logs", 2, [])
for number in (1, 2):
    step = Step(f"answer-{{number}}", "answer", "x", "x", (), work)
    runner.start(Job(number, (step,), Needs()), 1)
for _ in range(2):
    event = None
    while event is None:
        event = runner.next_event(1)
    print(event.told["child"], runner._running[event.job.number].process._process.pid, flush=True)
time.sleep(120)
"""
    starter = subprocess.Popen([sys.orig_argv[0], "-c", code], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    pids = [int(pid) for _ in range(2) for pid in starter.stdout.readline().split()]
    assert len(pids) == 4
    assert all(map(alive, pids))
    os.kill(starter.pid, signal.SIGKILL)
    starter.wait()
    assert all(map(gone, pids))


def test_a_step_that_another_holds_is_reported_and_left(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    file = tmp_path / "job.json"
    keys = ("answer-1", "score-1")
    steps = [
        {"key": key, "kind": key[:-2], "name": "x", "group": "x", "inputs": keys[:number]}
        for number, key in enumerate(keys)
    ]
    file.write_text(json.dumps({"store": str(store.root), "steps": steps}))
    with store.claimed(["answer-1"]):
        worker = subprocess.Popen(
            [sys.executable, "-m", "safemerge_tasks.sweep.worker", str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        assert worker.stdout is not None
        told = [json.loads(line) for line in worker.stdout]
        assert worker.wait(60) == 0
    assert told == [{"busy": key} for key in keys]
