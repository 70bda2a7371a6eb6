"""Jobs on a Ray cluster on this machine, as real processes; a script stands in for the work."""

import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep import ray_cluster, ray_machines, ray_runner
from safemerge_tasks.sweep.jobs import Event, Job
from safemerge_tasks.sweep.ray_machines import Machines
from safemerge_tasks.sweep.ray_runner import RayRunner, passed_on
from safemerge_tasks.sweep.spec import Needs
from safemerge_tasks.sweep.steps import Step
from safemerge_tasks.sweep.store import Store
from tests.safemerge_tasks.sweep.worker_jobs import (
    WITH_CHILD,
    check_order_of_events,
    cold_start,
    gone,
    job,
    until_end,
)

ray = pytest.importorskip("ray")

TELL_STARTED = "print(json.dumps({'progress': [0, 1]}), flush=True); "


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Return a cluster whose one machine has 2 cores and 2 GPUs (so it says)."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        for name in ("OMP_NUM_THREADS", "VLLM_CPU_OMP_THREADS_BIND", "CUDA_VISIBLE_DEVICES"):
            patch.delenv(name, raising=False)
        made = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 2,
                "num_gpus": 2,
                "include_dashboard": False,
            },
        )
        try:
            yield made
        finally:
            ray.shutdown()
            made.shutdown()


@pytest.fixture
def make(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], RayRunner]]:
    script = cold_start(tmp_path)
    monkeypatch.setattr(ray_runner, "run_on_machine", with_executable(str(script)))
    made: list[RayRunner] = []

    def runner(stall: float | None = None) -> RayRunner:
        store, logs = Store(tmp_path / "store"), tmp_path / "logs"
        made.append(RayRunner(store, logs, cluster.address, stall))
        return made[-1]

    yield runner
    for one in made:
        one.close()


@pytest.fixture
def runner(
    cluster: Any, make: Callable[[], RayRunner], monkeypatch: pytest.MonkeyPatch
) -> RayRunner:
    # Ray starts processes of its own for everyone who connects, which takes it seconds.
    if not ray.is_initialized():
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    monkeypatch.setattr(ray, "init", lambda **_arguments: None)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    return make()


def test_a_job_that_tells_nothing_is_struck_and_may_be_tried_again(
    runner: RayRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_runner, "_LOOK_EVERY", 0.1)
    runner._stall = 1.0
    runner.start(job(1, f"{WITH_CHILD}time.sleep(120)"), ready=1)
    told, end = until_end(runner)
    assert (end.machine_failed, end.reason) == (True, "it told nothing for 0.0166667 minutes")
    assert gone(told.told["child"])


def with_executable(script: str) -> Callable[..., int]:
    # Nested, so that Ray sends it instead of the name of a module that its workers lack.
    def run(*arguments: Any) -> int:

        from safemerge_tasks.sweep.ray_runner import run_on_machine

        sys.executable = script
        return run_on_machine(*arguments)

    return run


def first(runner: RayRunner) -> Event:
    return until(runner, lambda _event: True)


def until(runner: RayRunner, wanted: Callable[[Event], bool]) -> Event:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        event = runner.next_event(0.2)
        if event and wanted(event):
            return event
    raise AssertionError("nothing happened")


class TestEnds:
    def test_events_are_passed_on_in_order(self, runner: RayRunner) -> None:
        check_order_of_events(runner)

    def test_jobs_beside_each_other_keep_their_events(self, runner: RayRunner) -> None:
        for number in (1, 2):
            code = f"print(json.dumps({{'done': 'answer-{number}'}}))"
            runner.start(job(number, code), ready=1)
        events = until_end(runner, 2)
        told = {event.job.number: event.told["done"] for event in events if event.told}
        assert told == {1: "answer-1", 2: "answer-2"}

    def test_a_line_is_passed_on_once_it_is_whole(self, runner: RayRunner, tmp_path: Path) -> None:
        go_on = tmp_path / "go-on"
        code = f"""
print('{{"progress": [1, 2]}}', flush=True)
print('{{"done": ', end='', flush=True)
while not os.path.exists({str(go_on)!r}): time.sleep(0.05)
print('"answer-1"}}', flush=True)
"""
        runner.start(job(1, code), ready=1)
        assert first(runner).told == {"progress": [1, 2]}
        events = tmp_path / "logs" / "001-answer.events"
        while not events.read_text().endswith('{"done": '):
            time.sleep(0.05)
        assert runner.next_event(0) is None
        go_on.touch()
        assert [event.told for event in until_end(runner)] == [{"done": "answer-1"}, {}]

    def test_what_was_passed_on_is_not_read_again(self, runner: RayRunner, tmp_path: Path) -> None:
        code = f"{TELL_STARTED}time.sleep(1); print(json.dumps({{'done': 'answer-1'}}))"
        runner.start(job(1, code), ready=1)
        first(runner)
        # Were it read from its beginning, this would not be JSON.
        events = tmp_path / "logs" / "001-answer.events"
        size = events.stat().st_size
        with events.open("r+b") as file:
            file.write(b"x" * (size - 1))
        assert [event.told for event in until_end(runner)] == [{"done": "answer-1"}, {}]

    def test_an_earlier_run_s_events_are_not_this_one_s(
        self, runner: RayRunner, tmp_path: Path
    ) -> None:
        (tmp_path / "logs").mkdir()
        (tmp_path / "logs" / "001-answer.events").write_text('{"failed": "answer-1"}\n')
        runner.start(job(1, "print(json.dumps({'done': 'answer-1'}))"), ready=1)
        # It is not yet at work.
        assert runner.next_event(0) is None
        assert [event.told for event in until_end(runner)] == [{"done": "answer-1"}, {}]

    def test_a_sentence_is_the_reason(self, runner: RayRunner) -> None:
        code = f"""
{TELL_STARTED}
time.sleep(0.5)
print(json.dumps({{'error': 'No such layer.', 'ours': True}}), flush=True)
sys.exit(1)
"""
        runner.start(job(1, code), ready=1)
        end = until_end(runner)[-1]
        assert (end.reason, end.ours, end.machine_failed) == ("No such layer.", True, False)

    def test_a_silent_end(self, runner: RayRunner) -> None:
        runner.start(job(1, "os._exit(3)"), ready=1)
        reason = until_end(runner)[-1].reason
        assert reason is not None
        assert reason.startswith("the process ended with status 3 (nothing was printed); see ")

    def test_half_a_line_does_not_lose_the_end(self, runner: RayRunner) -> None:
        code = "print('{\"done\": ', end='', flush=True); os.kill(os.getpid(), 9)"
        runner.start(job(1, code), ready=1)
        (end,) = until_end(runner)
        assert "signal 9" in str(end.reason)
        assert not end.machine_failed

    def test_a_killed_worker_s_children_do_not_live_on(self, runner: RayRunner) -> None:
        runner.start(job(1, f"{WITH_CHILD}os.kill(os.getpid(), 9)"), ready=1)
        told, end = until_end(runner)
        assert "signal 9" in str(end.reason)
        assert gone(told.told["child"])


class TestMachines:
    def test_what_keeps_one_from_working_is_told(
        self, runner: RayRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # As if the machine did not share it.
        own = ray_runner.write_job
        monkeypatch.setattr(ray_runner, "write_job", lambda _logs, *what: own(tmp_path, *what))
        monkeypatch.setattr(runner, "_logs", tmp_path / "elsewhere")
        runner.start(job(1, "pass"), ready=1)
        end = first(runner)
        assert end.machine_failed
        assert str(end.reason).startswith("its machine failed (FileNotFoundError: ")
        assert "elsewhere/001-answer.log" in str(end.reason)

    def test_a_machine_that_is_lost(
        self, cluster: Any, runner: RayRunner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ray_runner, "_LOOK_EVERY", 0.5)
        monkeypatch.setattr(ray_machines, "_PATIENCE", 3)
        asking = [job(number, f"{WITH_CHILD}time.sleep(120)", cpus=4) for number in (1, 2, 3)]
        machine = cluster.add_node(num_cpus=4)
        cluster.wait_for_nodes()
        runner.start(asking[0], ready=2)
        child = first(runner).told["child"]
        runner.start(asking[1], ready=1)
        # The runner has to have seen it alive with the second job in the queue.
        assert runner.next_event(1) is None
        cluster.remove_node(machine)

        # What was at work can be tried again; what waits does so in vain after a while.
        lost = first(runner)
        assert (lost.job.number, lost.machine_failed, lost.ours) == (1, True, False)
        assert gone(child)
        lost_at = time.monotonic()
        refused = first(runner)
        assert 0.5 < time.monotonic() - lost_at < 15
        assert (refused.job.number, refused.machine_failed, refused.ours) == (2, False, True)
        reason = (
            "it asks for 4 CPUs of one machine, and none in the Ray cluster has more than 2 CPUs; "
        )
        assert str(refused.reason).startswith(reason)

        # Nobody has to wait as long for the same machine again.
        runner.start(asking[2], ready=1)
        again = runner.next_event(0)
        assert again is not None
        assert again.reason == refused.reason
        assert runner.next_event(0) is None


def test_keys_and_the_way_out_are_passed_on() -> None:
    given = {
        "OPENAI_API_KEY": "a",
        "https_proxy": "b",
        "NO_PROXY": "c",
        "OVEN_KEY": "d",
        "SERVER_KEY": "h",
        "OTHER_KEY": "e",
        "SAFEMERGE_JUDGE": "f",
        "HOME": "g",
    }
    judge = Step("judge-1", "judge", "x", "judge", (), {"judge": {"judge_api_key_env": "OVEN_KEY"}})
    answer = Step("answer-1", "answer", "x", "x", (), {"engine": {"api_key_env": "SERVER_KEY"}})
    assert passed_on(Job(1, (answer, judge), Needs()), given) == {
        name: value for name, value in given.items() if name not in ("OTHER_KEY", "HOME")
    }


class TestShares:
    def test_a_job_has_its_share_and_the_starter_s_settings(
        self, runner: RayRunner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SAFEMERGE_DATA_DIR", "/bread")
        names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "SAFEMERGE_DATA_DIR")
        code = f"print(json.dumps({{name: os.environ.get(name) for name in {names}}}))"
        runner.start(job(1, code, cpus=2, gpus=0.5), ready=1)
        assert first(runner).told in [
            {"CUDA_VISIBLE_DEVICES": gpu, "OMP_NUM_THREADS": "2", "SAFEMERGE_DATA_DIR": "/bread"}
            for gpu in "01"
        ]

    def test_gpus_are_shared_out_whole_above_one(self, runner: RayRunner) -> None:
        runner.start(job(1, "print(json.dumps(os.environ['CUDA_VISIBLE_DEVICES']))", gpus=1.5), 1)
        assert sorted(str(first(runner).told).split(",")) == ["0", "1"]


class TestTooBig:
    @pytest.mark.parametrize(
        ("asking", "reason"),
        [
            (
                job(1, "pass", gpus=4),
                "it asks for 4 GPUs of one machine, and none in the Ray cluster has more than "
                "2 GPUs; lower resources.answer.gpus in the file of the sweep, or start a machine "
                "that has them",
            ),
            (
                job(1, "pass", gpus=4, cpus=3),
                "it asks for 3 CPUs and 4 GPUs of one machine, and none in the Ray cluster has "
                "more than 2 CPUs and 2 GPUs; lower resources.answer.cpus and "
                "resources.answer.gpus in the file of the sweep, or start a machine that has them",
            ),
        ],
    )
    def test_it_ends_at_once_with_one_sentence(
        self, runner: RayRunner, asking: Job, reason: str
    ) -> None:
        runner.start(asking, ready=1)
        event = runner.next_event(0)
        assert event == Event(asking, ended=True, reason=reason, ours=True)
        assert runner.next_event(0) is None

    def test_no_machine_has_all_of_it(self) -> None:
        nodes = [
            {"NodeID": number, "Alive": True, "Resources": resources}
            for number, resources in enumerate([{"CPU": 16.0}, {"CPU": 4.0, "GPU": 1.0}])
        ]
        machines = Machines(SimpleNamespace(cluster_resources=dict, nodes=lambda: nodes))
        machines.look()
        assert machines.refusal(job(1, "pass", cpus=8, gpus=0.5)) == (
            "it asks for 8 CPUs and 0.5 GPUs of one machine, and none in the Ray cluster has all "
            "of that; lower resources.answer.cpus or resources.answer.gpus in the file of the "
            "sweep, or start a machine that has them"
        )

    def test_what_only_has_to_wait_its_turn_waits(
        self, runner: RayRunner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ray_runner, "_LOOK_EVERY", 0)
        monkeypatch.setattr(ray_machines, "_PATIENCE", 0)
        runner.start(job(1, f"{TELL_STARTED}time.sleep(1)", gpus=2), ready=2)
        first(runner)
        runner.start(job(2, "pass", gpus=2), ready=1)
        ends = [event for event in until_end(runner, 2) if event.ended]
        assert [(end.job.number, end.reason) for end in ends] == [(1, None), (2, None)]


class TestNoCluster:
    def test_one_that_is_gone_is_told_at_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Where Ray notes which cluster was the last.
        monkeypatch.setenv("RAY_ADDRESS", "")
        monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
        (tmp_path / "ray").mkdir()
        address = f"127.0.0.1:{free_port()}"
        (tmp_path / "ray" / "ray_current_cluster").write_text(address)
        monkeypatch.setattr("ray._private.services.find_gcs_addresses", frozenset)
        port = address.rpartition(":")[2]
        started = time.monotonic()
        with pytest.raises(SafemergeError, match=rf"no Ray cluster at \S+:{port} \(Connection"):
            RayRunner(Store(tmp_path / "store"), tmp_path / "logs")
        assert time.monotonic() - started < 10

    @pytest.mark.parametrize("address", ["here", "here:there", "nowhere.invalid:6379"])
    def test_an_address_that_cannot_be(self, tmp_path: Path, address: str) -> None:
        with pytest.raises(SafemergeError, match=f"no Ray cluster at {address} .*ray start --head"):
            RayRunner(Store(tmp_path / "store"), tmp_path / "logs", address)

    def test_one_that_cannot_be_used_says_why(
        self, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def init(**_arguments: Any) -> None:
            raise RuntimeError("Version mismatch: Ray: 2.50\nPython: 3.12")

        monkeypatch.setattr("ray.init", init)
        reason = f"The Ray cluster at {cluster.address} cannot be used: Version mismatch: Ray: 2.50"
        with pytest.raises(SafemergeError, match=reason):
            RayRunner(Store(tmp_path / "store"), tmp_path / "logs", cluster.address)

    def test_the_address_in_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RAY_ADDRESS", "ray://10.0.0.1:10001")
        assert ray_cluster.resolved("auto") == "ray://10.0.0.1:10001"
        assert ray_cluster.resolved("10.0.0.2:6379") == "10.0.0.2:6379"


def test_closing_ends_what_runs_with_its_children(make: Callable[[], RayRunner]) -> None:
    ray.shutdown()
    runner = make()
    runner.start(job(1, f"{WITH_CHILD}time.sleep(120)"), ready=1)
    child = first(runner).told["child"]
    runner.close()
    assert gone(child)
    assert not ray.is_initialized()
