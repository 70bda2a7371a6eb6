"""The scheduler, on steps that are done in memory and results in a real store."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from safemerge_tasks.sweep import scheduler as scheduler_module
from safemerge_tasks.sweep.graph import ADAPTERS, MERGED_ADAPTERS, ServedBothWays
from safemerge_tasks.sweep.jobs import Job
from safemerge_tasks.sweep.progress import Progress
from safemerge_tasks.sweep.scheduler import HOPELESS, MACHINE_TRIES, Scheduler
from safemerge_tasks.sweep.spec import Needs, Resources
from safemerge_tasks.sweep.store import Store
from tests.safemerge_tasks.sweep.fake_runner import (
    FakeRunner,
    JobFailedError,
    MachineFailedError,
    graph_of,
    merged_grid,
    run,
    step,
)


@pytest.fixture
def runner(tmp_path: Path) -> FakeRunner:
    return FakeRunner(Store(tmp_path / "store"))


def group_of(count: int) -> Any:
    steps = [step(f"answer-{n}") for n in range(count)]
    return graph_of(*steps, wanted=[one.key for one in steps])


def pipeline(count: int = 2) -> Any:
    """Return cells that are merged, answered, scored and judged."""
    steps = []
    for n in range(count):
        steps += [
            step(f"merge-{n}", "merge", "pass"),
            step(f"answer-{n}", "answer", inputs=[f"merge-{n}"]),
            step(f"score-{n}", "score", inputs=[f"answer-{n}"]),
            step(f"judge-{n}", "judge", inputs=[f"score-{n}"]),
        ]
    return graph_of(*steps, wanted=[f"judge-{n}" for n in range(count)])


def failing(*keys: str, reason: str = "no such layer", ours: bool = True) -> Any:
    def before(job: Job) -> None:
        if {one.key for one in job.steps} & set(keys):
            raise JobFailedError(reason, ours=ours)

    return before


def only_failed(progress: Progress) -> set[str]:
    return {key for key, status in progress.status.items() if status == "failed"}


class TestOrder:
    def test_each_group_is_one_job_and_waits_for_all_of_its_inputs(
        self, runner: FakeRunner
    ) -> None:
        progress = run(pipeline(3), runner)
        assert runner.started == [
            [f"{kind}-{n}" for n in range(3)] for kind in ("merge", "answer", "score", "judge")
        ]
        assert set(progress.status.values()) == {"done"}
        assert progress.reasons == {}

    def test_what_nothing_wants_is_not_done(self, runner: FakeRunner) -> None:
        graph = graph_of(step("answer-1"), step("answer-2"), wanted=["answer-2"])
        progress = run(graph, runner)
        assert runner.started == [["answer-2"]]
        assert progress.status["answer-1"] == "idle"

    def test_later_kinds_go_first(self, runner: FakeRunner) -> None:
        steps = [
            step("merge-late", "merge", "a"),
            step("answer-early", "answer", "b"),
            step("judge-early", "judge", "c", inputs=["answer-early"]),
            step("answer-late", "answer", "d", inputs=["merge-late"]),
        ]
        run(graph_of(*steps, wanted=["judge-early", "answer-late"]), runner)
        assert runner.done == ["answer-early", "judge-early", "merge-late", "answer-late"]

    def test_a_second_run_does_nothing_again(self, runner: FakeRunner) -> None:
        run(pipeline(), runner)
        again = FakeRunner(runner.store)
        progress = run(pipeline(), again)
        assert again.jobs == []
        assert {key for key in progress.found if key.startswith("judge")} == {"judge-0", "judge-1"}
        assert progress.status["merge-0"] == "done"

    def test_a_run_goes_on_where_the_last_one_was_killed(self, runner: FakeRunner) -> None:
        graph = pipeline(3)
        for key in ("merge-0", "answer-0", "merge-1"):
            runner.publish(key)
        runner.done.clear()
        run(graph, runner)
        assert "answer-0" not in runner.done
        assert "merge-0" not in runner.done
        assert "merge-1" not in runner.done
        assert Counter(runner.done).most_common(1)[0][1] == 1

    def test_needs_come_from_the_sweep_and_a_gpu_for_models(self, runner: FakeRunner) -> None:
        scheduler = Scheduler(
            pipeline(1),
            runner.store,
            runner,
            resources=Resources(answer=Needs(cpus=3), judge=Needs(gpus=2)),
            gpus=1,
        )
        scheduler.run()
        assert {job.kind: job.needs for job in runner.jobs} == {
            "merge": Needs(cpus=None, gpus=0),
            "answer": Needs(cpus=3, gpus=1),
            "score": Needs(cpus=None, gpus=0),
            "judge": Needs(cpus=None, gpus=2),
        }

    def test_progress_is_passed_on_and_every_job_ends(self, runner: FakeRunner) -> None:
        seen: list[tuple[int, int]] = []

        def changed(progress: Progress) -> None:
            running = sum(status == "running" for status in progress.status.values())
            seen.append((len(progress.running), running))

        run(pipeline(), runner, changed=changed)
        assert (1, 2) in seen
        assert seen[-1] == (0, 0)


class TestEngines:
    def graph(self) -> Any:
        """Return four models of two fine-tunings, each asked, scored and judged."""
        steps = []
        for n in range(4):
            group = f"{ADAPTERS}t{n // 2}"
            steps += [
                step(f"answer-{n}", group=group, model=f"m{n}", requests=9_000),
                step(f"score-{n}", "score", group, [f"answer-{n}"]),
                step(f"judge-{n}", "judge", group, [f"score-{n}"]),
            ]
        return graph_of(*steps, wanted=[f"judge-{n}" for n in range(4)])

    def of(self, *numbers: int) -> list[str]:
        return [f"{kind}-{n}" for n in numbers for kind in ("answer", "score", "judge")]

    def test_a_job_goes_from_answers_to_verdicts_and_engines_share_the_models(
        self, runner: FakeRunner
    ) -> None:
        runner.slots = 2
        run(self.graph(), runner, engines=2)
        assert runner.started == [self.of(0, 1), self.of(2, 3)]

    def test_so_much_for_one_engine_that_verdicts_do_not_wait_for_all(
        self, runner: FakeRunner
    ) -> None:
        run(self.graph(), runner)
        # 36,000 requests, of which at most 20,000 go together.
        assert runner.started == [self.of(0, 1), self.of(2, 3)]

    def test_never_more_than_models(self, runner: FakeRunner) -> None:
        runner.slots = 9
        run(self.graph(), runner, engines=9)
        assert runner.started == [self.of(n) for n in range(4)]

    def test_a_fine_tuned_model_waits_for_no_other(self, runner: FakeRunner) -> None:
        steps = []
        for n in range(2):
            made = [f"finetune-{n}"]
            steps += [
                step(f"finetune-{n}", "finetune", f"f{n}"),
                step(f"merge-{n}", "merge", f"{MERGED_ADAPTERS}t{n}", made),
                step(f"answer-{n}", "answer", f"{ADAPTERS}t{n}", [f"merge-{n}"], model=f"m{n}"),
                step(f"judge-{n}", "judge", f"{ADAPTERS}t{n}", [f"answer-{n}"]),
            ]
        run(graph_of(*steps, wanted=["judge-0", "judge-1"]), runner)
        assert runner.done[:4] == ["finetune-0", "merge-0", "answer-0", "judge-0"]

    def of_merges(self, tunings: int) -> Any:
        """Return the base and two merged adapters of each fine-tuned model, all judged."""
        asked = [("base", ADAPTERS + "base", [])]
        steps = []
        for number in range(tunings):
            for merge in (f"{number}a", f"{number}b"):
                steps.append(step(f"merge-{merge}", "merge", f"{MERGED_ADAPTERS}t{number}"))
                asked.append((merge, f"{ADAPTERS}t{number}", [f"merge-{merge}"]))
        for name, group, inputs in asked:
            steps += [
                step(f"answer-{name}", "answer", group, inputs, model=name),
                step(f"judge-{name}", "judge", group, [f"answer-{name}"]),
            ]
        return graph_of(*steps, wanted=[f"judge-{name}" for name, *_ in asked])

    def test_the_base_waits_for_adapters_that_are_being_merged(self, runner: FakeRunner) -> None:
        """Merges are told one by one, and make no group of answers an engine of its own."""
        runner.slots = 2
        run(self.of_merges(3), runner, engines=2)
        merges, *engines = runner.started
        assert {one.partition("-")[0] for one in merges} == {"merge"}
        assert len(engines) == 2
        assert sorted(len(each) for each in engines) == [6, 8]

    def asked(self, requests: dict[str, int], **inputs: list[str]) -> Any:
        steps = [
            step(f"answer-{x}", "answer", ADAPTERS + x, inputs.get(x, []), model=x, requests=count)
            for x, count in requests.items()
        ]
        return graph_of(*steps, wanted=[one.key for one in steps])

    def test_what_waits_for_a_place_is_not_divided_once_more(self, runner: FakeRunner) -> None:
        run(self.asked({"x": 1, "y": 1, "z": 1}), runner, engines=2)
        assert runner.started == [["answer-y", "answer-z"], ["answer-x"]]

    def test_what_waits_goes_with_what_is_ready_since(self, runner: FakeRunner) -> None:
        run(self.asked({"x": 15_000, "y": 15_000, "new": 1_000}, new=["answer-x"]), runner)
        assert runner.started == [["answer-x"], ["answer-y", "answer-new"]]

    def test_a_merge_that_fails_holds_nothing_up(self, runner: FakeRunner) -> None:
        runner.refuse = {"merge-0a": "no such layer"}
        progress = run(self.of_merges(1), runner)
        assert progress.status["judge-base"] == progress.status["judge-0b"] == "done"
        assert only_failed(progress) == {"merge-0a", "answer-0a", "judge-0a"}

    def test_adapters_that_are_ready_together_are_merged_by_one_process(
        self, runner: FakeRunner
    ) -> None:
        steps = [step(f"merge-{n}", "merge", f"{MERGED_ADAPTERS}t{n}") for n in range(3)]
        run(graph_of(*steps, wanted=[one.key for one in steps]), runner, engines=2)
        assert runner.started == [["merge-0", "merge-1", "merge-2"]]

    def test_an_engine_over_two_gpus_asks_for_both(self, runner: FakeRunner) -> None:
        run(self.graph(), runner, gpus=4, ranks=2, engines=2)
        assert {job.needs.gpus for job in runner.jobs} == {2}


class TestJudgedApart:
    """A judge that loads weights, where it has room beside engines."""

    def graph(self, *models: int) -> Any:
        """Return fine-tuned models, each with so many variants."""
        steps = []
        for tuned, count in enumerate(models):
            for n in (f"{tuned}{letter}" for letter in "abc"[:count]):
                group = f"answer {tuned}"
                steps += [
                    step(f"answer-{n}", group=group, model=n),
                    step(f"score-{n}", "score", group, [f"answer-{n}"]),
                    step(f"judge-{n}", "judge", group, [f"score-{n}"], accelerated=True),
                ]
        wanted = [one.key for one in steps if one.kind == "judge"]
        return graph_of(*steps, wanted=wanted)

    def test_reads_what_is_scored_while_an_engine_answers(self, runner: FakeRunner) -> None:
        runner.slots = 2
        together: list[list[str]] = []

        def changed(progress: Progress) -> None:
            together.append([job.kind for job, _ in progress.running.values()])

        run(self.graph(3), runner, gpus=2, changed=changed)
        # What comes while a judge is at work waits for the next.
        assert runner.started == [
            [f"{kind}-0{n}" for n in "abc" for kind in ("answer", "score")],
            ["judge-0a"],
            ["judge-0b", "judge-0c"],
        ]
        assert ["answer", "judge"] in together
        assert [job.needs.gpus for job in runner.jobs] == [1, 1, 1]

    def test_takes_no_place_that_an_engine_could_have(self, runner: FakeRunner) -> None:
        for key in ("answer-0a", "score-0a"):
            runner.publish(key)
        run(self.graph(2, 1), runner, gpus=2)
        assert runner.started == [
            ["answer-0b", "score-0b"],
            ["judge-0a", "judge-0b"],
            ["answer-1a", "score-1a"],
            ["judge-1a"],
        ]

    @pytest.mark.parametrize(
        ("options", "apart"),
        [
            ({"gpus": 1}, False),
            ({"gpus": 2, "ranks": 2}, False),
            ({"gpus": 3, "ranks": 2}, True),
            ({"gpus": 1, "resources": {"answer": {"gpus": 0.5}, "judge": {"gpus": 0.5}}}, True),
            ({"gpus": 0}, False),
            ({"gpus": 0, "resources": {"judge": {"cpus": 2}}}, False),
            ({"gpus": 0, "resources": {"answer": {"cpus": 6}, "judge": {"cpus": 2}}}, True),
        ],
    )
    def test_else_it_waits_for_the_end_of_the_engine(
        self, runner: FakeRunner, options: Any, apart: bool
    ) -> None:
        resources = Resources.model_validate(options.pop("resources", {}))
        graph = self.graph(1)
        Scheduler(graph, runner.store, runner, resources=resources, **options).run()
        assert len(runner.jobs) == 1 + apart

    def test_one_without_weights_judges_in_the_engine_s_job_and_needs_no_gpu(
        self, runner: FakeRunner
    ) -> None:
        steps = [
            step("score-0", "score"),
            step("judge-0", "judge", "answers", ["score-0"], accelerated=False),
        ]
        runner.publish("score-0")
        run(graph_of(*steps, wanted=["judge-0"]), runner, gpus=2)
        assert [job.needs.gpus for job in runner.jobs] == [0]


class TestFailures:
    def test_a_step_that_says_so_fails_alone(self, runner: FakeRunner) -> None:
        runner.refuse = {"score-1": "no such metric"}
        progress = run(pipeline(3), runner)
        assert only_failed(progress) == {"score-1", "judge-1"}
        assert progress.reasons["score-1"] == "no such metric"
        assert runner.store.done("judge-0")
        assert runner.store.done("judge-2")

    def test_what_depends_on_it_names_the_first_cause(self, runner: FakeRunner) -> None:
        runner.before = failing("merge-0", reason="a layer is missing")
        progress = run(pipeline(1), runner)
        after = "after merge merge-0 failed: a layer is missing"
        assert progress.reasons == {
            "merge-0": "a layer is missing",
            **dict.fromkeys(("answer-0", "score-0", "judge-0"), after),
        }
        assert progress.consequences == {"answer-0", "score-0", "judge-0"}
        assert runner.started == [["merge-0"]]

    @pytest.mark.parametrize("bad", [0, 5, 7])
    def test_a_step_that_brings_down_every_job_is_found(self, runner: FakeRunner, bad: int) -> None:
        runner.before = failing(f"answer-{bad}", ours=False)
        progress = run(group_of(8), runner)
        assert only_failed(progress) == {f"answer-{bad}"}
        assert len(runner.done) == 7

    def test_two_of_them_for_reasons_of_their_own(self, runner: FakeRunner) -> None:
        reasons = {"answer-1": "rank 3", "answer-2": "rank 5"}

        def before(job: Job) -> None:
            for one in job.steps:
                if one.key in reasons:
                    raise JobFailedError(reasons[one.key])

        runner.before = before
        progress = run(group_of(8), runner)
        assert progress.reasons == reasons
        assert len(runner.done) == 6

    def test_what_brings_down_everything_is_believed_soon(self, runner: FakeRunner) -> None:
        def before(job: Job) -> None:
            raise JobFailedError(f"signal 9; see {job.number}.log", ours=False)

        runner.before = before
        progress = run(group_of(64), runner)
        assert len(progress.reasons) == 64
        assert len(runner.jobs) == HOPELESS

    def test_what_follows_in_the_same_job_is_a_consequence(self, runner: FakeRunner) -> None:
        steps = [
            step("answer-0", group="g"),
            step("score-0", "score", "g", ["answer-0"]),
            step("judge-0", "judge", "g", ["score-0"]),
            step("answer-1", group="g"),
        ]
        runner.refuse = {
            "answer-0": "is a DoRA adapter",
            **dict.fromkeys(("score-0", "judge-0"), ""),
        }
        quiet = runner.next_event

        def next_event(timeout: float) -> Any:
            event = quiet(timeout)
            # The worker tells nothing of what it could not begin.
            return None if event and event.told.get("failed") in ("score-0", "judge-0") else event

        runner.next_event = next_event  # type: ignore[method-assign]
        progress = run(graph_of(*steps, wanted=["judge-0", "answer-1"]), runner)
        after = "after answer answer-0 failed: is a DoRA adapter"
        assert progress.reasons == {
            "answer-0": "is a DoRA adapter",
            "score-0": after,
            "judge-0": after,
        }
        assert progress.consequences == {"score-0", "judge-0"}
        assert len(runner.jobs) == 1

    def test_what_was_published_before_a_crash_counts(self, runner: FakeRunner) -> None:
        def before(job: Job) -> None:
            if len(job.steps) == 4:
                runner.publish("answer-0")
                runner.publish("answer-1")
                raise JobFailedError("signal 9", ours=False)

        runner.before = before
        progress = run(group_of(4), runner)
        assert set(progress.status.values()) == {"done"}
        assert Counter(runner.done) == {f"answer-{n}": 1 for n in range(4)}

    def test_a_job_that_ends_well_without_a_result_fails(self, runner: FakeRunner) -> None:
        runner.store.done = lambda _key: False  # type: ignore[method-assign]
        graph = group_of(1)

        def next_event(timeout: float) -> Any:
            from safemerge_tasks.sweep.jobs import Event

            return Event(runner.jobs[-1], ended=True)

        runner.next_event = next_event  # type: ignore[method-assign]
        progress = Scheduler(graph, runner.store, runner, resources=Resources()).run()
        assert progress.reasons == {"answer-0": "it ended without a result"}


class TestMachines:
    def test_a_lost_machine_or_a_stall_is_tried_twice_more(self, runner: FakeRunner) -> None:
        def before(job: Job) -> None:
            raise MachineFailedError("its machine failed (NodeDiedError)")

        runner.before = before
        progress = run(group_of(1), runner)
        assert [job.tries for job in runner.jobs] == list(range(MACHINE_TRIES + 1)) == [0, 1, 2]
        assert progress.reasons == {"answer-0": "its machine failed (NodeDiedError)"}

    def test_only_what_is_left_is_tried_again(self, runner: FakeRunner) -> None:
        def before(job: Job) -> None:
            if job.tries == 0:
                runner.publish("answer-0")
                raise MachineFailedError("gone")

        runner.before = before
        progress = run(group_of(3), runner)
        assert runner.started == [["answer-0", "answer-1", "answer-2"], ["answer-1", "answer-2"]]
        assert set(progress.status.values()) == {"done"}

    def test_a_lost_machine_does_not_hide_what_is_to_blame(self, runner: FakeRunner) -> None:
        def before(job: Job) -> None:
            if len(job.steps) == 3 and job.tries == 0:
                raise MachineFailedError("gone")
            failing("answer-3")(job)

        runner.before = before
        progress = run(group_of(4), runner)
        assert only_failed(progress) == {"answer-3"}


class TestStages:
    """A graph that grew out of one that was run already."""

    def test_what_failed_is_not_tried_again(self, runner: FakeRunner) -> None:
        runner.before = failing("answer-0")
        graph = pipeline(2)
        first = run(graph, runner)
        more = [step("answer-x", inputs=["merge-1"]), step("answer-y", inputs=["merge-0"])]
        graph.steps |= {one.key: one for one in more}
        graph.outcomes |= graph_of(wanted=["answer-x", "answer-y"]).outcomes
        tried, jobs = list(runner.done), len(runner.jobs)
        progress = run(graph, runner, earlier=first)
        assert sorted(runner.done[len(tried) :]) == ["answer-x", "answer-y"]
        assert progress.reasons == first.reasons
        assert progress.consequences == first.consequences == {"score-0", "judge-0"}
        assert [job.number for job in runner.jobs] == list(range(1, len(runner.jobs) + 1))
        assert len(runner.jobs) > jobs
        assert progress.found == first.found


class TestSharedStores:
    def test_a_step_that_another_sweep_finished_is_not_done_again(self, runner: FakeRunner) -> None:
        def before(job: Job) -> None:
            if job.kind == "answer":
                runner.publish("answer-1")
                runner.done.remove("answer-1")

        runner.before = before
        progress = run(merged_grid(2), runner)
        assert set(progress.status.values()) == {"done"}
        assert "answer-1" not in runner.done


class TestSharedEngines:
    """What another sweep of the same store works on."""

    def test_is_left_to_it_and_everything_else_done(
        self, runner: FakeRunner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(scheduler_module, "BUSY_SECONDS", 0.0)
        locks = runner.store.root / "locks"
        locks.mkdir(parents=True)
        held = FileLock(locks / "answer-0.lock")
        held.acquire()
        looks = []
        taken = runner.next_event

        def next_event(timeout: float) -> Any:
            event = taken(timeout)
            if event is None:
                looks.append(list(runner.done))
                if len(looks) == 3:
                    runner.publish("answer-0")
                    runner.done.remove("answer-0")
                    held.release()
            return event

        runner.next_event = next_event  # type: ignore[method-assign]
        steps = []
        for n in range(2):
            steps += [
                step(f"answer-{n}", group="g", model=f"m{n}"),
                step(f"judge-{n}", "judge", "g", [f"answer-{n}"]),
            ]
        progress = run(graph_of(*steps, wanted=["judge-0", "judge-1"]), runner)
        # All that is free is done before the first look without news.
        assert looks[0] == ["answer-1", "judge-1"]
        assert set(progress.status.values()) == {"done"}
        assert runner.done == ["answer-1", "judge-1", "judge-0"]

    def test_is_done_here_if_the_other_gives_it_up(
        self, runner: FakeRunner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(scheduler_module, "BUSY_SECONDS", 0.0)
        (runner.store.root / "locks").mkdir(parents=True)
        held = FileLock(runner.store.root / "locks" / "answer-0.lock")
        held.acquire()
        taken = runner.next_event

        def next_event(timeout: float) -> Any:
            event = taken(timeout)
            if event is None and held.is_locked:
                held.release()
            return event

        runner.next_event = next_event  # type: ignore[method-assign]
        assert set(run(group_of(2), runner).status.values()) == {"done"}
        assert runner.done == ["answer-1", "answer-0"]


class TestTheAgreement:
    """Checkpoints that only say how well adapters agree with merging come last."""

    @pytest.fixture
    def graph(self) -> Any:
        steps = [
            step("merge-a", "merge", f"{MERGED_ADAPTERS}a"),
            step("merge-c", "merge", "merge checkpoint"),
            *(
                step(f"answer-a{n}", group=f"{ADAPTERS}a", inputs=["merge-a"], model=n)
                for n in range(2)
            ),
            step("answer-c", group="answer checkpoint", inputs=["merge-c"]),
            *(step(f"score-{n}", "score", f"{ADAPTERS}a", [f"answer-a{n}"]) for n in range(2)),
        ]
        graph = graph_of(*steps, wanted=["score-0", "score-1"])
        graph.pairs.append(ServedBothWays("a", "test", "answer-a1", "answer-c"))
        return graph

    def test_comes_after_the_cells(self, runner: FakeRunner, graph: Any) -> None:
        runner.publish("merge-c")
        run(graph, runner)
        assert runner.done.index("answer-c") > runner.done.index("answer-a1")
