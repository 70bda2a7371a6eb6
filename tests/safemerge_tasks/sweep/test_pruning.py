"""Old results go; what is worked on, and what is young, stays."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from safemerge_tasks.cli import main
from safemerge_tasks.sweep.pruning import Pruned, prune
from safemerge_tasks.sweep.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a store of results that are 1, 10 and 100 days old, and one of unknown age."""
    store = Store(tmp_path / "store")
    for days in (1, 10, 100, None):
        key = f"answer-{days}"
        finished = "" if days is None else (datetime.now(UTC) - timedelta(days=days)).isoformat()
        with store.staging(key) as staged:
            (staged / "result").write_bytes(b"x" * 1000)
            store.publish(key, staged, {"finished": finished})
    return store


def test_what_is_older_goes(store: Store) -> None:
    whole = {key: store.folder(key) for key in store.results()}
    sizes = {key: sum(p.stat().st_size for p in folder.iterdir()) for key, folder in whole.items()}
    would = prune(store, 9.5, really=False)
    assert len(store.results()) == 4
    expected = sum(sizes[f"answer-{days}"] for days in (10, 100, None))
    assert would == Pruned(3, expected) == prune(store, 9.5)
    assert store.results() == ["answer-1"]


def test_what_is_worked_on_stays(store: Store) -> None:
    with store.claimed(["answer-100"]):
        assert prune(store, 50).steps == 1
    assert store.done("answer-100")
    assert not store.done("answer-None")


def test_the_command(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: str) -> int:
        monkeypatch.setattr("sys.argv", ["safemerge", "sweep", "prune", *words])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0)

    assert run("--store", str(store.root), "--older-than", "50", "--dry-run") == 0
    assert "would remove 2 results, 0.00 GB" in capsys.readouterr().out
    assert run("--store", str(store.root), "--older-than", "50") == 0
    assert store.results() == ["answer-1", "answer-10"]
    assert run("--store", str(store.root / "nowhere"), "--older-than", "50") == 2
    assert "nowhere is no folder; name a store with --store." in capsys.readouterr().err
    assert json.loads((store.folder("answer-1") / "step.json").read_text())["finished"]
