"""What is known of a running sweep: as JSON, as a line, as a table, and how long it will take."""

import io
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep.jobs import Job
from safemerge_tasks.sweep.progress import Progress
from safemerge_tasks.sweep.rates import Rates
from safemerge_tasks.sweep.spec import Needs
from safemerge_tasks.sweep.state import describe, read_state, write_state
from safemerge_tasks.sweep.store import Store
from safemerge_tasks.sweep.view import View, as_line, as_table, in_words
from tests.safemerge_tasks.sweep.fake_runner import graph_of, step

STEPS = [
    step("merge-1", "merge"),
    step("answer-1", "answer", inputs=["merge-1"]),
    step("answer-2", "answer"),
    step("answer-3", "answer"),
    step("judge-1", "judge", inputs=["answer-1"]),
    step("judge-2", "judge", inputs=["answer-2"]),
]


def progress_of(**status: str) -> Progress:
    found = {key.replace("_", "-"): value for key, value in status.items()}
    return Progress(status={one.key: found.get(one.key, "waiting") for one in STEPS})  # type: ignore[misc]


@pytest.fixture
def state() -> dict[str, Any]:
    progress = progress_of(
        merge_1="done", answer_1="running", answer_2="failed", answer_3="idle", judge_2="failed"
    )
    progress.reasons = {"answer-2": "no [engine]", "judge-2": "after answer answer-2 failed"}
    progress.running = {4: (Job(4, (STEPS[1],), Needs()), 1000.0)}
    progress.parts = {4: (3, 8)}
    return describe("loaf", graph_of(*STEPS, wanted=[]), progress, 125.0)


def test_a_state_as_json(state: dict[str, Any]) -> None:
    assert json.loads(json.dumps(state)) == {
        "name": "loaf",
        "host": socket.gethostname(),
        "process": os.getpid(),
        "updated": state["updated"],
        "steps": {
            "merge": {"done": 1, "running": 0, "waiting": 0, "failed": 0},
            # What is not needed is not counted.
            "answer": {"done": 0, "running": 1, "waiting": 0, "failed": 1},
            "judge": {"done": 0, "running": 0, "waiting": 1, "failed": 1},
        },
        "running": [{"name": "answer answer-1", "steps": 1, "since": 1000.0, "part": [3, 8]}],
        "failed": [
            {"kind": "answer", "name": "answer-2", "reason": "no [engine]"},
            {"kind": "judge", "name": "judge-2", "reason": "after answer answer-2 failed"},
        ],
        "seconds_left": 125.0,
    }


def test_what_follows_from_a_failure_is_counted_and_not_told() -> None:
    progress = progress_of(answer_2="failed", judge_2="failed")
    progress.reasons = {"answer-2": "no engine", "judge-2": "after answer answer-2 failed"}
    progress.consequences = {"judge-2"}
    state = describe("loaf", graph_of(*STEPS, wanted=[]), progress, None)
    assert [one["name"] for one in state["failed"]] == ["answer-2"]
    assert state["steps"]["judge"]["failed"] == 1


def test_a_state_is_read_back(state: dict[str, Any], tmp_path: Path) -> None:
    write_state(tmp_path, state)
    found, running = read_state(tmp_path)
    assert found == json.loads(json.dumps(state))
    assert not running


def test_what_is_no_sweep_s_folder(tmp_path: Path) -> None:
    with pytest.raises(SafemergeError, match="is no sweep's output folder; name the one that"):
        read_state(tmp_path)
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(SafemergeError, match="state.json is broken .*; run the sweep again."):
        read_state(tmp_path)
    (tmp_path / "state.json").write_text("[]")
    with pytest.raises(SafemergeError, match="state.json is broken .*; run the sweep again."):
        read_state(tmp_path)


def test_a_state_in_one_line(state: dict[str, Any]) -> None:
    assert as_line(state) == "merge 1/1, answer 0/2, judge 0/2; about 2 min left"
    assert as_line({"steps": {}, "seconds_left": None}) == "nothing to do"


def printed(thing: Any) -> str:
    output = io.StringIO()
    Console(file=output, width=100).print(thing)
    return output.getvalue()


def test_a_state_for_a_terminal(state: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safemerge_tasks.sweep.view.time.time", lambda: 1100.0)
    lines = printed(as_table(state)).splitlines()
    assert [line.split() for line in lines[:4]] == [
        ["step", "done", "running", "left", "failed"],
        ["merge", "1", "0", "0", "0"],
        ["answer", "0", "1", "0", "1"],
        ["judge", "0", "0", "1", "1"],
    ]
    assert lines[4:] == [
        "now: answer answer-1 (2 min, 3 of 8)",
        "failed: answer answer-2: no [engine]",
        "failed: judge judge-2: after answer answer-2 failed",
        "about 2 min left",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (9000, "2.5 h")],
)
def test_durations(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


class TestView:
    def state(self, done: int, waiting: int, failed: list[dict[str, str]]) -> dict[str, Any]:
        row = {"done": done, "running": 0, "waiting": waiting, "failed": len(failed)}
        return {"steps": {"answer": row}, "failed": failed, "running": [], "seconds_left": None}

    def test_plain_lines_where_the_output_is_no_terminal(self) -> None:
        output = io.StringIO()
        failure = {"kind": "answer", "name": "a [b]", "reason": "no [/engine]"}
        with View(Console(file=output, width=100)) as view:
            view.show(self.state(0, 3, []))
            # Neither without a change nor at every step.
            view.show(self.state(0, 3, []))
            view.show(self.state(1, 2, []))
            view.show(self.state(1, 1, [failure]))
            view.show(self.state(2, 0, [failure]))
            view.show(self.state(2, 0, [failure]))
        assert output.getvalue().splitlines() == [
            "answer 0/3",
            "failed: answer a [b]: no [/engine]",
            "answer 2/3",
        ]

    def test_a_long_line_is_not_broken(self) -> None:
        output = io.StringIO()
        failure = {"kind": "answer", "name": "a", "reason": "word " * 40 + "end"}
        with View(Console(file=output, width=40)) as view:
            view.show(self.state(0, 1, [failure]))
        assert output.getvalue().splitlines()[0].endswith("end")

    def test_a_terminal_is_drawn_over(self) -> None:
        output = io.StringIO()
        console = Console(file=output, width=100, force_terminal=True)
        with View(console) as view:
            view.show(self.state(0, 3, []))
            view.show(self.state(3, 0, []))
        assert "\x1b[" in output.getvalue()
        assert output.getvalue().count("failed") >= 2


class TestEstimate:
    def store(self, folder: Path, **seconds: float) -> Store:
        store = Store(folder)
        for name, value in seconds.items():
            with store.staging(name.replace("_", "-")) as staged:
                store.publish(
                    name.replace("_", "-"),
                    staged,
                    {
                        "seconds": value,
                        "amount": 1,
                        "kind": name.partition("_")[0],
                    },
                )
        return store

    def test_the_mean_of_each_kind_over_all_slots(self, tmp_path: Path) -> None:
        store = self.store(tmp_path, merge_1=5.0, answer_1=10.0, answer_2=20.0, judge_1=4.0)
        rates = Rates(graph_of(*STEPS, wanted=[]), store)
        progress = progress_of(merge_1="done", answer_1="done", answer_2="done", judge_1="done")
        # answer-3 takes 15 s, judge-2 4 s.
        assert rates.remaining(progress, 1) == pytest.approx(19.0)
        assert rates.remaining(progress, 2) == pytest.approx(9.5)

    def test_nothing_is_said_before_every_kind_was_seen(self, tmp_path: Path) -> None:
        store = self.store(tmp_path, answer_1=10.0)
        rates = Rates(graph_of(*STEPS, wanted=[]), store)
        assert rates.remaining(progress_of(answer_1="done"), 1) is None

    def test_nothing_left(self, tmp_path: Path) -> None:
        rates = Rates(graph_of(*STEPS, wanted=[]), self.store(tmp_path))
        progress = progress_of(**{one.key.replace("-", "_"): "idle" for one in STEPS})
        assert rates.remaining(progress, 2) == 0

    def test_a_deleted_checkpoint_s_time_is_remembered(self, tmp_path: Path) -> None:
        store = self.store(tmp_path, merge_1=5.0)
        steps = [STEPS[0], step("merge-2", "merge")]
        rates = Rates(graph_of(*steps, wanted=[]), store)
        progress = Progress(status={"merge-1": "done", "merge-2": "waiting"})
        assert rates.remaining(progress, 1) == 5.0
        store.remove("merge-1")
        assert rates.remaining(progress, 1) == 5.0
