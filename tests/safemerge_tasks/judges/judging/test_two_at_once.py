"""Two judges at work on one folder: both judges' rows stay, and a kill loses nothing."""

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.judges import JudgeSettings, Verdict, make_judge
from safemerge_tasks.judges.judging import saved_results
from safemerge_tasks.judges.judging.saved_results import BACKUP_SUFFIX, judge_folder
from safemerge_tasks.results import HARMFUL_QUESTIONS, Run, find_runs, write_run
from safemerge_tasks.results.rewriting import LOCK
from tests.lm_eval_files import sample_row, summary_of
from tests.safemerge_tasks.judges.judging.test_verdict_cache import Counting

JUDGES = ("keywords", "flour")
ROWS = 60
MOMENTS = 50


class Flour(Counting):
    """Calls what mentions flour harmful."""

    name = "flour"

    def identity(self) -> dict[str, Any]:
        return {"name": self.name}

    def cache_key(self) -> None:
        """Nothing is kept: every judging is a whole one."""

    def judge(self, questions: Sequence[str], responses: Sequence[str]) -> list[Verdict]:
        return [Verdict(harmful="flour" in text, complied=True) for text in responses]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder as lm-eval left it, judging deferred."""
    monkeypatch.setattr(
        saved_results,
        "make_judge",
        lambda settings: Flour() if settings.name == "flour" else make_judge(settings),
    )
    monkeypatch.setenv("SAFEMERGE_CACHE_DIR", str(tmp_path / "cache"))
    rows = [
        sample_row(
            number,
            "deferred",
            {"unscored_rate": 1.0},
            {"language": "en"},
            resps=[["Mix flour." if number % 3 else "I'm sorry, no."]],
        )
        for number in range(ROWS)
    ]
    summary = summary_of(
        {"kitchen_asr": {"unscored_rate,deferred": 1.0}},
        ours={"kitchen_asr": {"kind": HARMFUL_QUESTIONS}},
        questions=ROWS,
    )
    write_run(tmp_path / "lm-eval", "2020-01-01", summary, {"kitchen_asr": rows})
    return tmp_path / "lm-eval"


def started(folder: Path, name: str) -> int:
    """Return the process in which a judge is at work, with everything imported already."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        judge_folder(folder, JudgeSettings(name=name, cache=False))
        status = 0
    finally:
        os._exit(status)


def assert_both_judged(run: Run) -> None:
    assert sorted(row["filter"] for row in run.rows("kitchen_asr")) == sorted(JUDGES * ROWS)
    summary = run.summary()
    row = summary["results"]["kitchen_asr"]
    assert (row["asr,flour"], row["refusal_rate,keywords"]) == pytest.approx((2 / 3, 1 / 3))
    judges = summary["configs"]["kitchen_asr"]["metadata"]["safemerge"]["judges"]
    assert sorted(judge["name"] for judge in judges) == sorted(JUDGES)


def copies(folder: Path, count: int, tmp_path: Path) -> Iterator[Path]:
    for number in range(count):
        place = tmp_path / f"run-{number}"
        shutil.copytree(folder, place)
        yield place


def judged_in_seconds(folder: Path, place: Path) -> float:
    begun = time.monotonic()
    shutil.copytree(folder, place)
    for process in [started(place, name) for name in JUDGES]:
        os.waitpid(process, 0)
    return time.monotonic() - begun


def test_two_at_once_keep_both(folder: Path, tmp_path: Path) -> None:
    for place in copies(folder, 10, tmp_path):
        for process in [started(place, name) for name in JUDGES]:
            assert os.waitpid(process, 0)[1] == 0
        assert_both_judged(find_runs(place)[0])


def test_killed_at_any_moment_nothing_is_lost(folder: Path, tmp_path: Path) -> None:
    original = {path.name: path.read_bytes() for path in folder.iterdir()}
    # The shortest of some: one that was disturbed would put most moments behind the end.
    whole = min(judged_in_seconds(folder, tmp_path / f"timed-{number}") for number in range(3))
    moments = random.Random(7)
    cut = 0
    for place in copies(folder, MOMENTS, tmp_path):
        processes = [started(place, name) for name in JUDGES]
        time.sleep(moments.uniform(0, whole))
        for process in processes:
            os.kill(process, signal.SIGKILL)
        ends = [os.waitpid(process, 0)[1] for process in processes]
        cut += any(map(os.WIFSIGNALED, ends))
        for name, content in original.items():
            backup = place / f"{name}{BACKUP_SUFFIX}"
            kept = backup if backup.exists() else place / name
            assert kept.read_bytes() == content
        (run,) = find_runs(place)
        run.summary()
        # Every response, be it in lm-eval's rows or in a judge's.
        assert {row["doc_id"] for row in run.rows("kitchen_asr")} == set(range(ROWS))
        for name in JUDGES:
            judge_folder(place, JudgeSettings(name=name, cache=False))
        assert_both_judged(run)
        expected = {*original, *(f"{name}{BACKUP_SUFFIX}" for name in original), LOCK}
        assert {path.name for path in place.iterdir()} == expected
    assert cut > MOMENTS / 5
