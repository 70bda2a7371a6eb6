"""The output folder of a sweep: held by one process, and never somebody else's."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep.graph import Graph
from safemerge_tasks.sweep.manifest import Manifest
from safemerge_tasks.sweep.models import Source, Sources
from safemerge_tasks.sweep.prepare import Prepared
from safemerge_tasks.sweep.progress import Progress
from safemerge_tasks.sweep.questions import Questions
from safemerge_tasks.sweep.run import Finished, run_sweep
from safemerge_tasks.sweep.spec import SweepSpec
from safemerge_tasks.sweep.state import LOCK, is_running, read_state
from safemerge_tasks.sweep.store import Store

HOLD = """
import sys, time
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def spec_of(**changes: object) -> SweepSpec:
    content = {
        "name": "loaf",
        "base": "base",
        "tunings": [{"name": "bread", "models": {42: "tuned"}}],
        "methods": [{"method": "linear", "lambda": 0.5}],
        "tasks": {"validation": {"safety": ["v"]}, "test": {"safety": ["t"]}},
        "judge": {"judge": "keywords"},
        **changes,
    }
    return SweepSpec.model_validate(content)


def run_nothing(tmp_path: Path, out: Path) -> Finished:
    """Run a sweep of which everything is done."""
    base = Source("base", "b", adapter=False)
    prepared = Prepared(
        spec_of(),
        Store(tmp_path / "store"),
        Sources(base, {}, {}),
        [],
        Questions({}, {}),
        Graph(),
    )
    return run_sweep(prepared, out, Console(file=io.StringIO()))


def test_a_new_folder_and_a_rerun(tmp_path: Path) -> None:
    out = tmp_path / "a" / "out"
    done = run_nothing(tmp_path, out)
    assert done.manifest == Manifest.read(out)
    assert done.progress.reasons == {}
    state, running = read_state(out)
    assert (state["name"], running) == ("loaf", False)
    assert run_nothing(tmp_path, out).manifest == done.manifest


def test_what_was_being_written_when_a_run_was_killed_does_not_stop_the_next(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    run_nothing(tmp_path, out)
    halves = [out / ".state.json.123.tmp", out / ".sweep.json.123.tmp"]
    for half in halves:
        half.write_text("{")
    run_nothing(tmp_path, out)
    assert not any(half.exists() for half in halves)


def test_leftovers_in_the_store_are_tidied(tmp_path: Path) -> None:
    left = tmp_path / "store" / "staging" / "merge-0123-abc"
    left.mkdir(parents=True)
    run_nothing(tmp_path, tmp_path / "out")
    assert not left.exists()


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(SafemergeError, match="out holds thesis.tex, which is no sweep's; give ano"):
        run_nothing(tmp_path, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(SafemergeError, match="out is a file; give another --out."):
        run_nothing(tmp_path, tmp_path / "out")
    with pytest.raises(SafemergeError, match="below cannot be written .Not a directory.; give ano"):
        run_nothing(tmp_path, tmp_path / "out" / "below")


def test_a_folder_is_held_by_one_run(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_nothing(tmp_path, out)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(out / LOCK)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert is_running(out)
        assert read_state(out)[1]
        with pytest.raises(SafemergeError, match="is being written by another run of this sweep"):
            run_nothing(tmp_path, out)
    finally:
        holder.kill()
        holder.wait()
    assert not is_running(out)
    run_nothing(tmp_path, out)


def test_looking_at_a_folder_writes_nothing_into_it(tmp_path: Path) -> None:
    assert not is_running(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("gpus", "engine", "count"),
    [
        (8, {}, 8),
        (8, {"model_args": {"tensor_parallel_size": 4}}, 2),
        (8, {"engines": 3}, 3),
        # Without a GPU as many as jobs at once.
        (0, {}, 5),
    ],
)
def test_adapters_are_divided_over_all_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: int, engine: object, count: int
) -> None:
    from safemerge_tasks.sweep import run as run_module
    from safemerge_tasks.sweep.graph import ADAPTERS
    from tests.safemerge_tasks.sweep.fake_runner import FakeRunner, graph_of, step

    steps = [step(f"answer-{n}", group=f"{ADAPTERS}{n}", model=f"m{n}") for n in range(9)]
    runner = FakeRunner(Store(tmp_path / "store"), slots=5)
    monkeypatch.setattr(run_module, "_runner", lambda *_: (runner, gpus))
    monkeypatch.setattr(run_module, "assemble", lambda *_: None)
    base = Source("base", "b", adapter=False)
    graph = graph_of(*steps, wanted=[one.key for one in steps])
    spec = spec_of(engine=engine)
    prepared = Prepared(spec, runner.store, Sources(base, {}, {}), [], Questions({}, {}), graph)
    run_sweep(prepared, tmp_path / "out", Console(file=io.StringIO()))
    assert len(runner.jobs) == count


def test_results_are_put_together_while_the_sweep_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a report can be drawn at any moment."""
    from safemerge_tasks.sweep import run as run_module
    from tests.safemerge_tasks.sweep.fake_runner import FakeRunner, graph_of, step

    seen: list[int] = []

    def assemble(_prepared: Prepared, progress: Progress, _out: Path) -> None:
        seen.append(sum(status == "done" for status in progress.status.values()))

    monkeypatch.setattr(run_module, "assemble", assemble)
    monkeypatch.setattr(run_module, "_SHOW_EVERY", 0.0)
    monkeypatch.setattr(run_module, "_ASSEMBLE_EVERY", 0.0)
    steps = [step(f"judge-{n}", "judge", f"g{n}") for n in range(3)]
    store = Store(tmp_path / "store")
    monkeypatch.setattr(run_module, "_runner", lambda *_: (FakeRunner(store), 0))
    base = Source("base", "b", adapter=False)
    graph = graph_of(*steps, wanted=[one.key for one in steps])
    prepared = Prepared(spec_of(), store, Sources(base, {}, {}), [], Questions({}, {}), graph)
    run_sweep(prepared, tmp_path / "out", Console(file=io.StringIO()))
    assert seen[:3] == [1, 2, 3]
