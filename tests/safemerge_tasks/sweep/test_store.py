"""The store: results appear whole, and each is made once, whoever wants it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep.store import RECORD, Store

KEY = "merge-0123"

# Makes a result under its lock, slowly, and notes that it did.
MAKE_ONCE = """
import sys, time
from pathlib import Path
from safemerge_tasks.sweep.store import Store
store, notes = Store(Path(sys.argv[1])), Path(sys.argv[2])
with store.claimed(["b", "a"] if len(sys.argv) > 3 else ["a", "b"]) as mine:
    for key in ("a", "b"):
        if store.done(key) or key not in mine:
            continue
        with notes.open("a") as file:
            file.write(key)
        with store.staging(key) as staged:
            (staged / "result").write_text(key)
            time.sleep(0.3)
            store.publish(key, staged, {})
"""

# Fills a result and waits, to be killed before it is published.
HANG = """
import sys, time
from pathlib import Path
from safemerge_tasks.sweep.store import Store
store = Store(Path(sys.argv[1]))
with store.claimed([sys.argv[2]]), store.staging(sys.argv[2]) as staged:
    (staged / "result").write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def publish(store: Store, key: str = KEY) -> None:
    with store.staging(key) as staged:
        (staged / "result").write_text("whole")
        store.publish(key, staged, {"seconds": 1.5})


def staged(store: Store) -> list[str]:
    return sorted(path.name for path in (store.root / "staging").iterdir())


def test_a_result_appears_whole_with_its_record(store: Store) -> None:
    with store.staging(KEY) as folder:
        (folder / "result").write_text("whole")
        assert not store.done(KEY)
        store.publish(KEY, folder, {"seconds": 1.5})
    assert store.done(KEY)
    assert (store.folder(KEY) / "result").read_text() == "whole"
    assert store.record(KEY) == {"seconds": 1.5}
    assert staged(store) == []
    # Others may read the store; temporary folders are their owner's alone.
    assert store.folder(KEY).stat().st_mode & 0o777 == 0o755


def test_a_failed_step_leaves_nothing(store: Store) -> None:
    def fail() -> None:
        with store.staging(KEY) as folder:
            (folder / "result").write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert not store.done(KEY)
    assert staged(store) == []


def test_nothing_is_known_of_what_was_not_done(store: Store) -> None:
    assert not store.done(KEY)
    assert store.record(KEY) == {}


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b"\xff"])
def test_a_broken_record_counts_as_none(store: Store, text: bytes) -> None:
    publish(store)
    (store.folder(KEY) / RECORD).write_bytes(text)
    assert store.record(KEY) == {}


def test_what_lies_beside_results_is_none(store: Store) -> None:
    """A desktop's own file, or a list of what was copied."""
    publish(store)
    (store.root / "steps" / ".DS_Store").touch()
    assert store.results() == [KEY]


def test_a_store_that_cannot_be_written(store: Store, tmp_path: Path) -> None:
    store.check()
    assert list(store.root.iterdir()) == []
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/store")):
        with pytest.raises(SafemergeError, match=f"store {place} cannot be written .*; give anoth"):
            Store(place).check()


def test_publishing_ends_the_step_s_own_checkpoints(store: Store) -> None:
    store.work_folder(KEY).mkdir(parents=True)
    publish(store)
    assert not store.work_folder(KEY).exists()


def test_what_a_killed_process_left_is_removed_by_the_next_try(store: Store) -> None:
    killed = hang(store)
    publish(store)
    assert staged(store) == []
    assert (store.folder(KEY) / "result").read_text() == "whole"
    assert killed.returncode == -signal.SIGKILL


def test_leftovers_of_steps_that_nobody_does_again_are_tidied(store: Store) -> None:
    hang(store)
    (store.root / "staging" / f"judging-{KEY}-abc").mkdir()
    store.tidy()
    assert staged(store) == []


def test_tidying_leaves_alone_what_is_being_made(store: Store) -> None:
    with store.claimed([KEY]), store.staging(KEY) as folder:
        subprocess.run(
            [
                *(sys.executable, "-c"),
                "import sys; from pathlib import Path;"
                "from safemerge_tasks.sweep.store import Store; Store(Path(sys.argv[1])).tidy()",
                store.root,
            ],
            check=True,
        )
        assert folder.is_dir()


def test_two_processes_that_want_the_same_do_it_once(store: Store, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    # None waits: what another holds is left to it.
    words = [sys.executable, "-c", MAKE_ONCE, str(store.root), str(notes)]
    processes = [subprocess.Popen([*words, *extra]) for extra in ([], ["reversed"], [])]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert sorted(notes.read_text()) == ["a", "b"]
    assert store.done("a")
    assert store.done("b")


def test_a_lock_ends_with_its_holder(store: Store) -> None:
    hang(store)
    started = time.monotonic()
    with store.claimed([KEY]) as mine:
        assert mine == {KEY}
        assert time.monotonic() - started < 5
        assert store.is_held(KEY)
        with store.claimed([KEY, "other"]) as others:
            assert others == {"other"}
    assert not store.is_held(KEY)
    assert not store.is_held("never heard of")


def test_removing_takes_a_result_away_at_once(store: Store) -> None:
    publish(store)
    store.remove(KEY)
    assert not store.done(KEY)
    assert staged(store) == []
    # Another sweep may have been faster.
    store.remove(KEY)


def test_a_job_may_claim_more_steps_than_a_process_has_files(store: Store) -> None:
    code = (
        "import resource, sys; from pathlib import Path;"
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1];"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard));"
        "from safemerge_tasks.sweep.store import Store;"
        "store = Store(Path(sys.argv[1]));"
        "keys = [f'judge-{n}' for n in range(200)];"
        "exec('with store.claimed(keys): print(len(keys))')"
    )
    made = subprocess.run(
        [sys.executable, "-c", code, store.root], capture_output=True, text=True, check=False
    )
    assert made.stdout == "200\n", made.stderr


def hang(store: Store) -> "subprocess.Popen[str]":
    """Return a process that was killed while it made the result."""
    process = subprocess.Popen(
        [sys.executable, "-c", HANG, str(store.root), KEY], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert staged(store) != []
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return process
