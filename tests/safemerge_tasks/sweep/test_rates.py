"""What this machine took is what it will take."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.sweep.progress import Progress
from safemerge_tasks.sweep.rates import Rates
from safemerge_tasks.sweep.store import Store
from tests.safemerge_tasks.sweep.fake_runner import graph_of, step


def keep(store: Store, key: str, kind: str, seconds: float, amount: float, **more: Any) -> None:
    record = {"kind": kind, "seconds": seconds, "amount": amount, "about": None}
    record |= {"host": socket.gethostname(), **more}
    with store.staging(key) as staged:
        store.publish(key, staged, record)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    keep(store, "answer-old", "answer", 30.0, 10.0, about="base")
    keep(store, "answer-older", "answer", 10.0, 10.0, about="base")
    keep(store, "answer-large", "answer", 900.0, 1.0, about="a larger base")
    keep(store, "answer-there", "answer", 900.0, 1.0, about="base", host="elsewhere")
    keep(store, "judge-old", "judge", 5.0, 10.0)
    # Of another version, or a person's own.
    store.folder("notes").mkdir()
    record = {"seconds": 1, "amount": 1, "about": None, "host": socket.gethostname()}
    (store.folder("notes") / "step.json").write_text(json.dumps(record))
    return store


def test_seconds_go_by_amount_on_this_machine_with_this_base(store: Store) -> None:
    answer = step("answer-1", base="base", requests=6)
    judge = step("judge-1", "judge", inputs=["answer-1"], requests=4)
    graph = graph_of(answer, judge, wanted=["judge-1"])
    rates = Rates(graph, store)
    # 40 s for 20 requests, 5 s for 10.
    assert rates.seconds([answer]) == pytest.approx(6 * 2.0)
    assert rates.seconds([answer, judge]) == pytest.approx(6 * 2.0 + 4 * 0.5)
    # None was merged here.
    assert rates.seconds([step("merge-1", "merge")]) is None
    progress = Progress(status={"answer-1": "running", "judge-1": "waiting"})
    assert rates.remaining(progress, 2) == pytest.approx(7.0)


def test_what_the_sweep_does_itself_counts_once(store: Store) -> None:
    answer, other = (step(f"answer-{n}", base="base", requests=10) for n in (1, 2))
    rates = Rates(graph_of(answer, other, wanted=["answer-1", "answer-2"]), store)
    keep(store, "answer-1", "answer", 110.0, 10.0, about="base")
    progress = Progress(status={"answer-1": "done", "answer-2": "waiting"})
    for _ in range(2):
        assert rates.remaining(progress, 1) == pytest.approx(10 * 150 / 30)


def test_adapters_say_nothing_of_checkpoints(store: Store) -> None:
    keep(store, "merge-adapter", "merge", 3.0, 1.0)
    adapter, checkpoint = step("merge-1", "merge"), step("merge-2", "merge", nbytes=10**9)
    rates = Rates(graph_of(adapter, checkpoint, wanted=["merge-1", "merge-2"]), store)
    assert rates.seconds([adapter]) == pytest.approx(3.0)
    assert rates.seconds([checkpoint]) is None
