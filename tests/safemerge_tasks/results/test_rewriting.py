"""Runs rewritten in place."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.results import Row, Run, rewrite, rewriting, write_run
from safemerge_tasks.results.rewriting import LOCK, Rows

SUFFIX = ".before"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    samples: dict[str, list[Row]] = {"soup": [{"doc_id": 0}], "bread": [{"doc_id": 1}]}
    return write_run(tmp_path / "run", "2020", {"results": {"soup": {}}}, samples)


def add(run: Run, number: int) -> None:
    """Add a row and a rate to what is there."""

    def change(summary: dict[str, Any], rows: Rows) -> Rows:
        summary["results"]["soup"][f"asr,{number}"] = number
        return {"soup": [*rows["soup"], {"doc_id": number}]}

    rewrite(run, ["soup"], change, SUFFIX)


def backup(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)


def test_the_first_state_is_kept_and_other_tasks_left_alone(run: Run) -> None:
    first = {path: path.read_bytes() for path in (run.path, run.samples["soup"])}
    for number in (2, 3):
        add(run, number)
    assert run.rows("soup") == [{"doc_id": 0}, {"doc_id": 2}, {"doc_id": 3}]
    assert run.summary()["results"] == {"soup": {"asr,2": 2, "asr,3": 3}}
    assert {backup(path).read_bytes() for path in first} == set(first.values())
    assert len(list(run.path.parent.glob(f"*{SUFFIX}"))) == 2


def test_where_there_are_no_hard_links_the_backup_is_a_copy(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run.path.read_bytes()

    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    add(run, 2)
    assert backup(run.path).read_bytes() == first


def test_a_full_disk_leaves_no_half_backup_and_the_original(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run.path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SafemergeError, match=r"cannot be rewritten .No space left"):
        add(run, 2)
    assert (run.path.read_bytes(), backup(run.path).exists()) == (first, False)
    assert [path.name for path in run.path.parent.glob(".*")] == [LOCK]


@pytest.mark.parametrize("results", [True, False])
def test_a_backup_that_was_cut_off_is_made_again_while_the_original_is_there(
    run: Run, *, results: bool
) -> None:
    path = run.path if results else run.samples["soup"]
    first = path.read_bytes()
    backup(path).write_bytes(first[:-5])
    add(run, 2)
    assert backup(path).read_bytes() == first


@pytest.mark.parametrize("results", [True, False])
def test_a_backup_that_was_cut_off_is_told_where_the_original_is_gone(
    run: Run, *, results: bool
) -> None:
    add(run, 2)
    path = run.path if results else run.samples["soup"]
    now = path.read_bytes()
    backup(path).write_bytes(b'{"results": {"soup": {}' if results else b'{"doc_id": 7')
    with pytest.raises(SafemergeError, match=rf"{path.name}{SUFFIX} is cut off"):
        add(run, 3)
    assert path.read_bytes() == now


def test_a_backup_that_lost_whole_lines_is_told(run: Run) -> None:
    summary = {"results": {"soup": {}}, "n-samples": {"soup": {"original": 2, "effective": 2}}}
    samples: list[Row] = [{"doc_id": 0}, {"doc_id": 1}]
    run = write_run(run.path.parent, "2021", summary, {"soup": samples})
    path = run.samples["soup"]
    backup(path).write_text('{"doc_id": 0}\n')
    add(run, 2)
    assert backup(path).read_text().count("\n") == 2
    backup(path).write_text('{"doc_id": 9}\n')
    with pytest.raises(SafemergeError, match="is cut off"):
        add(run, 3)


def test_linked_samples_stay_links(run: Run, tmp_path: Path) -> None:
    path = run.samples["soup"]
    stored = tmp_path / "store"
    first = path.read_bytes()
    path.rename(stored)
    path.symlink_to(stored)
    add(run, 2)
    assert path.is_symlink()
    assert stored.read_text().count("\n") == 2
    assert backup(path).read_bytes() == first


def test_another_process_is_waited_for(run: Run) -> None:
    """Its rows are read once it is done: nothing is written over them."""
    other = FileLock(run.path.parent / LOCK)
    other.acquire()
    waiting = threading.Thread(target=add, args=(run, 2))
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    run.write_rows("soup", [{"doc_id": 0}, {"doc_id": 9}])
    other.release()
    waiting.join(10)
    assert run.rows("soup") == [{"doc_id": 0}, {"doc_id": 9}, {"doc_id": 2}]


def test_another_process_is_not_waited_for_for_ever(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewriting, "WAIT", 0.1)
    code = (
        "import sys; from filelock import FileLock;"
        "lock = FileLock(sys.argv[1]); lock.acquire(); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(run.path.parent / LOCK)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(SafemergeError, match="is being rewritten by another process"):
            add(run, 2)
        other.communicate()
    add(run, 2)
