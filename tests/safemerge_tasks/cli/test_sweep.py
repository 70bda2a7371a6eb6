"""`safemerge sweep`, up to what needs no model."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from safemerge_tasks.cli import main
from safemerge_tasks.report.document import Document
from safemerge_tasks.sweep import prepare as prepare_module
from safemerge_tasks.sweep import run as run_module
from safemerge_tasks.sweep.progress import Progress
from safemerge_tasks.sweep.report import document, files, findings
from safemerge_tasks.sweep.state import write_state
from tests.safemerge_tasks.sweep.fake_runner import graph_of, step
from tests.safemerge_tasks.sweep.test_spec import smallest

Run = Callable[..., int]


@pytest.fixture
def safemerge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Return a function that runs the command line in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    # The engine that every environment has.
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({**smallest(), "engine": {"model": "hf"}}))

    def run(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["safemerge", *words])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0)

    return run


@pytest.fixture
def sweeping(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Put a sweep that is over at once in place of the real one; what it was given is noted."""
    noted: dict[str, Any] = {"reasons": {}}
    steps = [step("answer-1"), step("judge-1", "judge", inputs=["answer-1"])]
    graph = graph_of(*steps, wanted=["judge-1"])
    prepared = SimpleNamespace(graph=graph, notes=("loaf [b]rises[/b]",))

    def prepare(spec: Any, store: Any, *, read: bool = True) -> Any:
        noted.update(spec=spec, store=store, read=read)
        return prepared

    def run_sweep(_prepared: Any, out: Path, _console: Any, ray: str | None = None) -> Any:
        noted.update(out=out, ray=ray)
        if noted.get("interrupt"):
            raise KeyboardInterrupt
        follows = {key for key in noted["reasons"] if key.startswith("judge")}
        progress = Progress(reasons=noted["reasons"], consequences=follows)
        return run_module.Finished(SimpleNamespace(name="loaf"), progress, prepared.graph)

    monkeypatch.setattr(prepare_module, "prepare", prepare)
    monkeypatch.setattr(run_module, "run_sweep", run_sweep)
    monkeypatch.setattr(files, "write_report", lambda _folder, out: [out / "report.md"])
    monkeypatch.setattr(findings, "find", lambda *_: None)
    monkeypatch.setattr(document, "summary_document", lambda _: Document("", ()))
    return noted


def test_all_cells_are_there(
    safemerge: Run, sweeping: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert safemerge("sweep", "sweep.yaml", "--store", "kept") == 0
    assert sweeping["out"] == Path("sweeps/loaf")
    assert sweeping["store"].root == tmp_path / "kept"
    assert (sweeping["ray"], sweeping["read"]) == (None, True)
    said = capsys.readouterr().out
    assert "note: loaf [b]rises[/b]" in said
    assert "wrote sweeps/loaf/report/report.md" in said


def test_the_store_is_in_the_cache(
    safemerge: Run,
    sweeping: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("SAFEMERGE_CACHE_DIR", str(tmp_path / "cache"))
    assert safemerge("sweep", "sweep.yaml", "--out", "here") == 0
    assert sweeping["store"].root == tmp_path / "cache" / "sweep"
    assert sweeping["out"] == Path("here")


def test_a_ray_cluster(safemerge: Run, sweeping: dict[str, Any]) -> None:
    assert safemerge("sweep", "sweep.yaml", "--ray") == 0
    assert sweeping["ray"] == "auto"
    assert safemerge("sweep", "sweep.yaml", "--ray", "--ray-address", "10.0.0.1:6379") == 0
    assert sweeping["ray"] == "10.0.0.1:6379"


def test_an_address_without_ray_is_a_mistake(
    safemerge: Run, sweeping: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert safemerge("sweep", "sweep.yaml", "--ray-address", "10.0.0.1:6379") == 2
    assert "--ray-address needs --ray" in capsys.readouterr().err


def test_failed_cells(
    safemerge: Run, sweeping: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    sweeping["reasons"] = {
        "answer-1": "no [engine]",
        "judge-1": "after answer answer-1 failed: no [engine]",
    }
    assert safemerge("sweep", "sweep.yaml") == 1
    # What follows from it is not said again.
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("failed")]
    assert lines == ["failed: answer answer-1: no [engine]"]


def test_an_outcome_as_json(
    safemerge: Run, sweeping: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    sweeping["reasons"] = {"answer-1": "no engine"}
    assert safemerge("sweep", "sweep.yaml", "--json") == 1
    assert json.loads(capsys.readouterr().out) == {
        "out": "sweeps/loaf",
        "failed": {"answer-1": "no engine"},
        "written": ["sweeps/loaf/report/report.md"],
    }


def test_an_interrupt(
    safemerge: Run, sweeping: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    sweeping["interrupt"] = True
    assert safemerge("sweep", "sweep.yaml") == 130
    assert "run the same command again to go on" in capsys.readouterr().out


def test_an_interrupt_while_it_is_prepared(
    safemerge: Run,
    sweeping: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def prepare(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare_module, "prepare", prepare)
    assert safemerge("sweep", "sweep.yaml") == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["gone.yaml"], "safemerge: gone.yaml does not exist; correct it."),
        (["status", "."], "safemerge: . is no sweep's output folder; name the one that"),
        (["sweep.yaml"], "safemerge: base: no such folder; check the path, or give a Hub id."),
        (["sweep.yaml", "--plan"], "safemerge: base: no such folder; check the path, or give a"),
    ],
)
def test_bad_input(
    safemerge: Run, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert safemerge("sweep", *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(sentence)


def test_status(safemerge: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    row = {"done": 1, "running": 1, "waiting": 0, "failed": 0}
    state = {
        "name": "loaf",
        "host": "oven",
        "process": 7,
        "updated": 1.0,
        "steps": {"merge": row},
        "running": [{"name": "merge x", "steps": 1, "since": 1.0, "part": None}],
        "failed": [],
        "seconds_left": 60.0,
    }
    write_state(tmp_path, state)
    assert safemerge("sweep", "status", ".") == 0
    out = capsys.readouterr().out
    assert out.startswith("loaf: not running\n")
    # Nothing runs and nothing is about to end.
    assert "merge x" not in out
    assert "left" not in out.splitlines()[-1]
    assert safemerge("sweep", "status", ".", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {**state, "is_running": False}
