"""Small sweeps on the toy family as real processes, and what is compared of their results."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import yaml

from safemerge_tasks.sweep.choosing import choose_from
from safemerge_tasks.sweep.manifest import Manifest
from safemerge_tasks.sweep.outcomes import read_sweep

if TYPE_CHECKING:
    from safemerge_tasks.toy.family import ToyFamily

REFUSALS = "compliance_rate"


def small_sweep(family: "ToyFamily", **changes: Any) -> dict[str, Any]:
    """Return a sweep without a judge model and without vLLM: linear and slerp of one adapter."""
    tasks = Path(__file__).parents[2] / "safemerge_tasks" / "toy" / "tasks"
    content = {
        "name": "small",
        "base": str(family.aligned),
        "data_dir": str(family.questions),
        "tunings": [{"name": "toy-task", "models": {42: str(family.tuned[42])}}],
        "methods": [
            {"method": "linear", "lambda": [0.4, 0.8]},
            {"method": "slerp", "lambda": [0.4, 0.8]},
        ],
        "tasks": {
            "include_path": str(tasks),
            "limit": 3,
            "validation": {
                "safety": [{"task": "toy_val_asr", "metric": REFUSALS}],
                "utility": ["toy_task_val"],
            },
            "test": {
                "safety": [{"task": "toy_asr", "metric": REFUSALS}],
                "utility": ["toy_task"],
            },
        },
        "judge": {"judge": "keywords"},
        "engine": {"model": "hf", "model_args": {"dtype": "float32"}},
        "choose": {"rule": "best-utility", "max_asr": 1.0},
    }
    return {**content, **changes}


class Sweeps:
    """Starts sweeps whose files are in a folder of their own."""

    def __init__(self, folder: Path, content: Mapping[str, Any]) -> None:
        self.folder = folder
        self.file = folder / "sweep.yaml"
        self.file.write_text(yaml.safe_dump(dict(content)))
        self._count = 0

    def start(
        self, out: Path, store: Path, *more: str, environment: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        """Start `safemerge sweep`; what it prints goes to a file."""
        self._count += 1
        settings = {
            "HF_HUB_OFFLINE": "1",
            "SAFEMERGE_CACHE_DIR": str(self.folder / "cache"),
            # Sums of one thread are the same in every run.
            "OMP_NUM_THREADS": "1",
        }
        with (self.folder / f"printed-{self._count}").open("wb") as printed:
            return subprocess.Popen(
                [
                    *(sys.executable, "-m", "safemerge_tasks", "sweep", str(self.file)),
                    *("--out", str(out), "--store", str(store), *more),
                ],
                stdout=printed,
                stderr=subprocess.STDOUT,
                env={**os.environ, **settings, **(environment or {})},
            )

    def run(self, out: Path, store: Path, *more: str) -> None:
        """Run a sweep that must succeed."""
        self.must_succeed(self.start(out, store, *more))

    def must_succeed(self, process: "subprocess.Popen[bytes]") -> None:
        """Wait for a sweep."""
        status = process.wait(600)
        assert status == 0, "\n".join(
            path.read_text() for path in sorted(self.folder.glob("printed-*"))
        )


def outcome(out: Path) -> dict[str, Any]:
    """Return what a sweep found out: every number and sample, and the choice."""
    manifest = Manifest.read(out)
    found: dict[str, Any] = {
        "variants": [
            one.model_dump(include={"id", "served", "results", "failure"})
            for one in manifest.variants
        ],
        "agreement": [one.model_dump() for one in manifest.agreement],
        "choices": [
            (one.tuning, one.label, one.point, one.asr, one.utility)
            for one in choose_from(read_sweep(manifest, out))
        ],
    }
    for path in sorted((out / "results").rglob("results_*.json")):
        results = json.loads(path.read_text())
        found[str(path.parent.relative_to(out))] = (results["results"], results["n-samples"])
    for path in sorted((out / "results").rglob("samples_*.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        key = f"{path.parent.relative_to(out)} samples"
        found[key] = sorted(rows, key=lambda row: str(row["doc_id"]))
    assert len(found) > 3
    return found


def finished(store: Path) -> dict[str, tuple[int, str]]:
    """Return every finished step with the number of its folder and when it was finished."""
    found = {}
    for folder in (store / "steps").glob("*"):
        record = json.loads((folder / "step.json").read_text())
        found[folder.name] = (folder.stat().st_ino, record["finished"])
    return found


def workers(out: Path) -> list[psutil.Process]:
    """Return the live workers of the sweep that writes to a folder, and their children."""
    found = []
    for process in psutil.process_iter():
        try:
            # They and their engines print to their job's log.
            log = Path(f"/proc/{process.pid}/fd/2").readlink()
            alive = process.status() != psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, OSError):
            continue
        if alive and log.parent == (out / "logs").resolve():
            found.append(process)
    return found


def wait_for(what: Callable[[], Any], seconds: float = 120, every: float = 0.05) -> Any:
    """Return what a function finds as soon as it finds something."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"{what} found nothing in {seconds:.0f} s"
        time.sleep(every)
    return found
