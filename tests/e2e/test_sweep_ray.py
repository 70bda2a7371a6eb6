"""A sweep on a Ray cluster of two machines, one of which dies while it works."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.e2e.sweeping import Sweeps, finished, outcome, small_sweep, wait_for, workers

if TYPE_CHECKING:
    from safemerge_tasks.toy.family import ToyFamily

# A dead machine is noticed in seconds and not in a minute.
IMPATIENT = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}


@pytest.fixture(scope="module")
def sweeps(family: "ToyFamily", tmp_path_factory: pytest.TempPathFactory) -> Sweeps:
    methods = [{"method": "linear", "lambda": [0.4, 0.8]}, {"method": "slerp", "lambda": [0.4]}]
    return Sweeps(tmp_path_factory.mktemp("sweeps"), small_sweep(family, methods=methods))


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a cluster whose head takes no jobs, and two raylets of one core each."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # What the workers of this cluster see.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "include_dashboard": False,
            "_system_config": IMPATIENT,
        },
    )
    try:
        for _ in range(2):
            made.add_node(num_cpus=1)
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


def raylet_of(cluster: Any, worker: psutil.Process) -> Any:
    """Return the raylet that a worker of ours runs under, if it still does."""
    raylets = {
        entry.process.pid: entry.process
        for node in cluster.worker_nodes
        for entry in node.all_processes["raylet"]
    }
    try:
        return next((raylets[one.pid] for one in worker.parents() if one.pid in raylets), None)
    except psutil.NoSuchProcess:
        return None


def steps_of(worker: psutil.Process) -> set[str]:
    """Return the answers that a worker of ours was told to give."""
    try:
        job = Path(worker.cmdline()[-1])
    except (psutil.NoSuchProcess, IndexError):
        return set()
    if not job.name.endswith("-answer.json"):
        return set()
    return {step["key"] for step in json.loads(job.read_text())["steps"]}


def test_a_machine_that_dies_changes_nothing(sweeps: Sweeps, cluster: Any) -> None:
    out, store = sweeps.folder / "ray", sweeps.folder / "ray-store"
    process = sweeps.start(out, store, "--ray", "--ray-address", cluster.address)

    def answering() -> tuple[psutil.Process, Any] | None:
        assert process.poll() is None, "the sweep ended before its machine could be killed"
        there = finished(store).keys()
        for worker in workers(out):
            keys = steps_of(worker)
            # In the middle of its answers: one is there, and several are not.
            if keys & there and len(keys - there) >= 3:
                raylet = raylet_of(cluster, worker)
                if raylet is not None:
                    return worker, raylet
        return None

    worker, raylet = wait_for(answering, seconds=300)
    before = finished(store)
    raylet.kill()
    # Ray's workers take a zombie for a living parent.
    raylet.wait()
    # Nobody is left to tell it to stop, and it must not go on beside its second try.
    psutil.wait_procs([worker], timeout=60)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
    sweeps.must_succeed(process)
    assert workers(out) == []
    after = finished(store)
    assert before.items() <= after.items()

    # What the dead machine had left was given out again, and to nobody before.
    # What is left of a job may begin with a score.
    jobs = [json.loads(path.read_text()) for path in (out / "logs").glob("*.json")]
    given = Counter(step["key"] for job in jobs for step in job["steps"])
    again = {key for key, times in given.items() if times == 2}
    assert again
    assert max(given.values()) == 2

    undisturbed = sweeps.folder / "undisturbed"
    sweeps.run(undisturbed, sweeps.folder / "undisturbed-store")
    assert outcome(out) == outcome(undisturbed)


def test_no_cluster_is_one_sentence(sweeps: Sweeps, tmp_path: Path) -> None:
    # Ray notes in its temporary folder where a cluster was last, and would try that for minutes.
    process = sweeps.start(
        tmp_path / "out",
        tmp_path / "store",
        "--ray",
        environment={"RAY_ADDRESS": "", "RAY_TMPDIR": str(tmp_path)},
    )
    assert process.wait(300) == 2
    printed = sorted(sweeps.folder.glob("printed-*"), key=lambda path: path.stat().st_mtime)[-1]
    last = printed.read_text().splitlines()[-1]
    assert last.startswith("safemerge: There is no Ray cluster at auto")
    assert "`ray start --head`" in last
