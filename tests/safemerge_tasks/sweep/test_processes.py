"""Workers forked from a server with their libraries loaded; test_local.py has what both share."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from safemerge_tasks.sweep.processes import WarmStart, WorkerProcess
from tests.safemerge_tasks.sweep.worker_jobs import ROOT, STAND_IN, stop_fork_server

Work = Callable[[str], tuple[Path, Path, dict[str, str]]]


@pytest.fixture(autouse=True)
def _own_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    # The server finds its modules as any new Python does.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(tmp_path)]))
    stop_fork_server()
    yield
    stop_fork_server()


@pytest.fixture
def work(tmp_path: Path) -> Work:
    def made(code: str) -> tuple[Path, Path, dict[str, str]]:
        job = tmp_path / "job.json"
        job.write_text(json.dumps({"store": str(tmp_path), "steps": [{"work": {"code": code}}]}))
        return job, tmp_path / "log", {**os.environ, "OMP_NUM_THREADS": "1", "LOAF": "rye"}

    return made


def told(worker: WorkerProcess) -> list[str]:
    lines = worker.told.read().splitlines()
    assert worker.wait() == 0
    worker.let_go()
    return lines


def test_modules_are_there_before_the_job_and_print_into_nothing(
    work: Work, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "noisy.py").write_text("import os; os.write(1, b'out'); os.write(2, b'err')")
    started = WarmStart(["noisy", "no_such_module", STAND_IN]).start(
        *work("print('noisy' in sys.modules, os.environ['LOAF'])")
    )
    assert told(started) == ["True rye"]
    assert capfd.readouterr() == ("", "")


def test_a_job_computes_with_its_own_cores(work: Work) -> None:
    code = "import torch; print(torch.get_num_threads(), torch.ones(999, 999).sum().item())"
    assert told(WarmStart(["torch", STAND_IN]).start(*work(code))) == ["1 998001.0"]


def test_each_worker_leads_a_group_of_its_own(work: Work) -> None:
    warm = WarmStart([STAND_IN])
    code = "print(os.getpgid(0) == os.getpid(), os.getsid(0) == os.getpid())"
    assert [told(warm.start(*work(code))) for _ in range(2)] == [["True True"]] * 2


def test_a_worker_can_be_killed_before_it_leads_its_group(work: Work) -> None:
    warm = WarmStart([STAND_IN])
    for _ in range(20):
        worker = warm.start(*work("time.sleep(60)"))
        worker.kill()
        assert worker.wait() == -signal.SIGKILL


def test_a_server_that_dies_over_its_imports_costs_time_only(work: Work, tmp_path: Path) -> None:
    (tmp_path / "deadly.py").write_text("import os; os._exit(1)")
    job, log, environment = work("")
    # The real worker: the server did not live to import the one that stands in.
    job.write_text(json.dumps({"store": str(tmp_path / "store"), "steps": []}))
    assert told(WarmStart(["deadly", STAND_IN]).start(job, log, environment)) == []


def test_what_a_worker_leaves_behind_is_no_matter_of_the_sweep(work: Work, tmp_path: Path) -> None:
    code = """
import multiprocessing
left = multiprocessing.get_context("spawn").Lock()
print("made", flush=True)
os._exit(0)
"""
    job, log, environment = work(code)
    script = f"""
from pathlib import Path
from safemerge_tasks.sweep.processes import WarmStart
worker = WarmStart(["{STAND_IN}"]).start(Path({str(job)!r}), Path({str(log)!r}), {environment!r})
print(worker.told.read(), worker.wait())
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("made\n 0\n", "")
    # The tracker outlives the worker for a moment.
    deadline = time.monotonic() + 20
    while "leaked semaphore" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "1 leaked semaphore" in log.read_text()
