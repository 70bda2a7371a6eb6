"""Room for merged checkpoints: a budget, or most of what is free when it is asked for."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from safemerge_tasks.sweep.jobs import Job
from safemerge_tasks.sweep.progress import Progress
from safemerge_tasks.sweep.room import Room
from safemerge_tasks.sweep.spec import Needs
from safemerge_tasks.sweep.store import Store
from tests.safemerge_tasks.sweep.fake_runner import merged_grid


class Disk:
    """A disk whose free bytes a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = 100
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=self.free))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


GRAPH = merged_grid(4, nbytes=30)
MERGES = [step for step in GRAPH.steps.values() if step.kind == "merge"]


def room_of(tmp_path: Path, budget: int | None = None) -> tuple[Room, Progress, Store]:
    progress = Progress(status=dict.fromkeys(GRAPH.steps, "waiting"))
    store = Store(tmp_path)
    return Room(GRAPH, store, progress, budget), progress, store


def publish(store: Store, key: str) -> None:
    with store.lock(key), store.staging(key) as staged:
        store.publish(key, staged, {})


def test_what_others_write_meanwhile_counts(tmp_path: Path, disk: Disk) -> None:
    room, _, _ = room_of(tmp_path)
    assert len(room.fitting(MERGES)) == 2
    disk.free = 50
    assert len(room.fitting(MERGES)) == 1
    disk.free = 20
    assert room.fitting(MERGES) == []


def test_own_checkpoints_that_are_there_take_no_room_twice(tmp_path: Path, disk: Disk) -> None:
    room, _, store = room_of(tmp_path)
    publish(store, MERGES[0].key)
    disk.free = 70
    # 30 that are there, and four fifths of 70.
    assert room.fitting(MERGES[1:]) == MERGES[1:2]


def test_what_is_being_written_takes_room(tmp_path: Path, disk: Disk) -> None:
    room, progress, _ = room_of(tmp_path)
    job = Job(1, (MERGES[1],), Needs())
    assert room.holds(job)
    progress.status[MERGES[0].key] = "running"
    assert room.holds(job)
    disk.free = 70
    assert not room.holds(job)


def test_a_budget_is_the_budget(tmp_path: Path, disk: Disk) -> None:
    disk.free = 0
    room, _, _ = room_of(tmp_path, budget=95)
    assert len(room.fitting(MERGES)) == 3


def test_one_is_always_tried_where_nothing_is(tmp_path: Path, disk: Disk) -> None:
    disk.free = 1
    room, _, store = room_of(tmp_path)
    assert room.holds(Job(1, (MERGES[0],), Needs()))
    publish(store, MERGES[1].key)
    assert not room.holds(Job(1, (MERGES[0],), Needs()))
