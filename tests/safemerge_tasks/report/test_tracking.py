"""Figures go to a tracker through its own client, and no text of questions or answers with them.

Each client is asked for what it documents by a stand-in; where the real one is installed, it keeps
the runs in a folder here and they are read back.
"""

import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from safemerge_tasks.report.tracking._record import _record
from tests.command_line import Done

TRACKERS = ("wandb", "mlflow", "trackio")
Run = tuple[str, dict[str, str], dict[str, float]]


class Kept(SimpleNamespace):
    """A stand-in for any client, which keeps what it is given."""

    def __init__(self) -> None:
        super().__init__(runs=[])

    def __enter__(self) -> "Kept":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    # wandb and trackio
    def Settings(self, **given: Any) -> dict[str, Any]:  # noqa: N802 (the client's name)
        return given

    def init(self, *, project: str, name: str, config: dict[str, str], **more: Any) -> "Kept":
        assert project == "safemerge"
        self.more = more
        self.runs.append((name, config, {}))
        return self

    def log(self, metrics: dict[str, float]) -> None:
        self.runs[-1][2].update(metrics)

    def finish(self) -> None:
        pass

    # mlflow
    def set_experiment(self, name: str) -> None:
        assert name == "safemerge"

    def start_run(self, *, run_name: str) -> "Kept":
        self.runs.append((run_name, {}, {}))
        return self

    def log_params(self, params: dict[str, str]) -> None:
        self.runs[-1][1].update(params)

    def log_metrics(self, metrics: dict[str, float]) -> None:
        self.runs[-1][2].update(metrics)


@pytest.fixture(params=TRACKERS)
def stand_in(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a tracker's name and the stand-in for its client."""
    name = request.param
    kept = Kept()
    module = ModuleType(name)
    module.__spec__ = SimpleNamespace(name=name)  # type: ignore[assignment]
    module.__dict__.update({one: getattr(kept, one) for one in dir(kept) if one[0] != "_"})
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, f"safemerge_tasks.report.tracking.{name}", raising=False)
    yield name, kept
    sys.modules.pop(f"safemerge_tasks.report.tracking.{name}", None)


def write_both(write: Callable[..., Any]) -> None:
    write("base", [0.0] * 100)
    write("tuned", [1.0] * 40 + [0.0] * 60, accuracy=0.5)


CHECK = ("check", "--baseline", "base", "--candidate", "tuned")


def assert_right(run: Run) -> None:
    name, settings, figures = run
    assert name == "tuned"
    assert settings["outcome"] == "regression"
    assert settings["baseline"] == "base"
    assert figures["exit_status"] == 1
    assert figures["toy_asr/wildguard/asr/candidate"] == pytest.approx(0.4)
    assert figures["toy_asr/wildguard/asr/change"] == pytest.approx(0.4)
    assert 0.3 < figures["toy_asr/wildguard/asr/lower"] < 0.4
    assert 0.4 < figures["toy_asr/wildguard/asr/upper"] < 0.5
    kept = json.dumps(run)
    assert "loaf" not in kept
    assert "Knead" not in kept


def test_a_comparison_and_its_verdict(
    stand_in: Any, write: Callable[..., Any], safemerge: Callable[..., Done]
) -> None:
    name, kept = stand_in
    write_both(write)
    done = safemerge(*CHECK, "--tracking", name, "--show-text")
    assert done.status == 1, done.err
    (run,) = kept.runs
    assert_right(run)
    if name == "wandb":
        # What is printed has texts here; neither it nor the command line is sent.
        told = kept.more["settings"]
        assert told["console"] == "off"
        assert told["x_disable_meta"]


def test_every_model_of_a_report(
    stand_in: Any, write: Callable[..., Any], safemerge: Callable[..., Done]
) -> None:
    name, kept = stand_in
    write_both(write)
    done = safemerge("report", "base", "tuned", "--out", "r.html", "--tracking", name)
    assert done.status == 0, done.err
    assert [run[0] for run in kept.runs] == ["base", "tuned"]
    assert kept.runs[1][2]["toy_asr/wildguard/asr/value"] == pytest.approx(0.4)
    assert kept.runs[1][2]["arc/none/acc/value"] == pytest.approx(0.5)


def test_a_client_that_fails_is_one_sentence_after_the_report(
    stand_in: Any, write: Callable[..., Any], safemerge: Callable[..., Done], tmp_path: Path
) -> None:
    name, _ = stand_in
    write_both(write)

    def fail(**_: Any) -> None:
        raise RuntimeError("no server\nat all")

    sys.modules[name].__dict__.update(init=fail, start_run=fail)
    done = safemerge(*CHECK, "--tracking", name, "--json", "report.json")
    assert done.status == 2
    assert f"--tracking {name} failed (" in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert json.loads((tmp_path / "report.json").read_text())["exit_status"] == 1


def test_what_is_not_there_is_refused_before_anything_is_read(
    safemerge: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = safemerge(*CHECK, "--tracking", "notebook")
    assert "--tracking notebook is not known; known are mlflow, trackio, wandb." in done.err
    assert done.status == 2
    monkeypatch.setattr("safemerge_tasks.report.tracking.find_spec", lambda _: None)
    done = safemerge("report", "base", "--out", "r.html", "--tracking", "mlflow")
    assert "needs the package mlflow; pip install 'safemerge[mlflow]'." in done.err
    assert done.status == 2


def test_names_of_figures_are_what_every_tracker_takes() -> None:
    """Of MLflow: no brackets, no `..`, 250 characters; two that are written alike stay two."""
    figures = {
        ("a@prefill:5", "judge.py:make", "asr", "C++"): 0.1,
        ("a@prefill:5", "judge.py:make", "asr", "C#!"): 0.2,
        ("..", "", "x" * 999, "\x1b[2J"): 0.3,
        ("infinite",): float("inf"),
        (*(part * 70 for part in "abcd"), "baseline"): 0.4,
        (*(part * 70 for part in "abcd"), "candidate"): 0.5,
    }
    found = _record("n", {}, figures).figures
    assert list(found.values()) == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert [key.rpartition("/")[2] for key in list(found)[-2:]] == ["baseline", "candidate"]
    assert list(found)[:2] == [
        "a_prefill_5/judge_py_make/asr/C__",
        "a_prefill_5/judge_py_make/asr/C__-2",
    ]
    assert all(len(key) <= 250 and ".." not in key and "\x1b" not in key for key in found)


def real(name: str) -> Any:
    return pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed")


@real("wandb")
def test_wandb_itself_offline(
    write: Callable[..., Any],
    safemerge: Callable[..., Done],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_both(write)
    for variable, value in (("MODE", "offline"), ("DIR", str(tmp_path / "w")), ("SILENT", "true")):
        monkeypatch.setenv(f"WANDB_{variable}", value)
    (tmp_path / "w").mkdir()
    done = safemerge(*CHECK, "--tracking", "wandb", "--show-text")
    assert done.status == 1, done.err
    import wandb

    wandb.teardown()
    (kept,) = (tmp_path / "w").rglob("*.wandb")
    content = kept.read_bytes()
    assert b"toy_asr/wildguard/asr/candidate" in content
    assert b"regression" in content
    for path in (tmp_path / "w").rglob("*"):
        if path.is_file():
            assert b"loaf" not in path.read_bytes(), path
            assert b"Knead" not in path.read_bytes(), path


@real("mlflow")
def test_mlflow_itself_in_a_folder(
    write: Callable[..., Any],
    safemerge: Callable[..., Done],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import mlflow

    write_both(write)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    done = safemerge(*CHECK, "--tracking", "mlflow")
    assert done.status == 1, done.err
    (run,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert_right((run.info.run_name, run.data.params, run.data.metrics))


@real("trackio")
@pytest.mark.skipif("TRACKIO_DIR" not in os.environ, reason="TRACKIO_DIR has to name a folder")
def test_trackio_itself_on_this_machine(
    write: Callable[..., Any],
    safemerge: Callable[..., Done],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import trackio.utils

    write_both(write)
    done = safemerge(*CHECK, "--tracking", "trackio")
    assert done.status == 1, done.err
    assert "Trackio" not in done.out
    (kept,) = trackio.utils.TRACKIO_DIR.glob("safemerge*.db")
    rows = sqlite3.connect(kept).execute("select metrics from metrics").fetchall()
    assert json.loads(rows[-1][0])["toy_asr/wildguard/asr/candidate"] == pytest.approx(0.4)
