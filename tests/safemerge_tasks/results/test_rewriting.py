"""Runs rewritten in place."""

import subprocess
import sys
from pathlib import Path

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.results import Run, alone_with, rewrite, write_run

SUFFIX = ".before"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("SAFEMERGE_CACHE_DIR", str(tmp_path / "cache"))
    samples = {"soup": [{"doc_id": 0}], "bread": [{"doc_id": 1}]}
    return write_run(tmp_path / "run", "2020", {"results": {"soup": {}}}, samples)


def test_the_first_state_is_kept_and_other_tasks_left_alone(run: Run) -> None:
    for number in (2, 3):
        with alone_with(run) as summary:
            summary["results"]["soup"]["asr,water"] = number
            rewrite(run, summary, {"soup": [{"doc_id": number}]}, SUFFIX)
    assert run.rows("soup") == [{"doc_id": 3}]
    assert run.summary()["results"] == {"soup": {"asr,water": 3}}
    backups = sorted(path.name for path in run.path.parent.glob(f"*{SUFFIX}"))
    assert backups == [f"results_2020.json{SUFFIX}", f"samples_soup_2020.jsonl{SUFFIX}"]
    assert '"doc_id": 0' in (run.path.parent / backups[1]).read_text()


def test_two_processes_do_not_rewrite_one_run(run: Run) -> None:
    code = (
        "import sys; from pathlib import Path;"
        "from safemerge_tasks.results import alone_with, find_runs;"
        "alone_with(find_runs(Path(sys.argv[1]))[0]).__enter__()"
    )
    command = [sys.executable, "-c", code, str(run.path.parent)]
    with alone_with(run):
        other = subprocess.run(command, capture_output=True, text=True, check=False)
        with pytest.raises(SafemergeError, match=r"results_2020.json is being judged or scored"):
            alone_with(run).__enter__()
    assert "by another process; wait for it" in other.stderr
    with alone_with(run):
        pass
