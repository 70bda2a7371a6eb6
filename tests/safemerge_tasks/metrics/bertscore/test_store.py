import subprocess
import sys
from pathlib import Path

import pytest
import torch

from safemerge_tasks.metrics.bertscore.embedding import Embedding
from safemerge_tasks.metrics.bertscore.store import EmbeddingStore

WHO = {"model": "m", "layer": 1, "weights": "abc"}


def embedding(tokens: int) -> Embedding:
    torch.manual_seed(tokens)
    return Embedding(torch.randn(tokens, 3), torch.ones(tokens))


def test_what_was_kept_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "store.sqlite"
    EmbeddingStore(WHO, path).keep(["a", "b"], [embedding(2), embedding(5)])
    found = EmbeddingStore(WHO, path).look_up(["b", "c", "a"])
    assert found[1] is None
    for one, tokens in zip(found[::2], (5, 2), strict=True):
        assert one is not None
        assert torch.equal(one.vectors, embedding(tokens).vectors)
        assert torch.equal(one.weights, embedding(tokens).weights)


def test_another_encoder_finds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    EmbeddingStore(WHO, path).keep(["a"], [embedding(2)])
    assert EmbeddingStore({**WHO, "layer": 2}, path).look_up(["a"]) == [None]
    assert EmbeddingStore({**WHO, "weights": "def"}, path).look_up(["a"]) == [None]


def test_weights_without_a_fingerprint_are_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    EmbeddingStore({**WHO, "weights": None}, path).keep(["a"], [embedding(2)])
    assert not path.exists()


def test_a_broken_file_costs_no_score(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"no database" * 1000)
    store = EmbeddingStore(WHO, path)
    assert store.look_up(["a"]) == [None]
    store.keep(["a"], [embedding(2)])
    assert caplog.text.count("Reference embeddings are not kept") == 1


def test_a_writer_that_dies_leaves_nothing_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    EmbeddingStore(WHO, path).keep(["a"], [embedding(2)])

    def dying() -> object:
        yield embedding(4)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EmbeddingStore(WHO, path).keep(["b", "c"], dying())  # type: ignore[arg-type]
    found = EmbeddingStore(WHO, path).look_up(["a", "b", "c"])
    assert [one is None for one in found] == [False, True, True]


WRITER = """
import sys, torch
from pathlib import Path
from safemerge_tasks.metrics.bertscore.embedding import Embedding
from safemerge_tasks.metrics.bertscore.store import EmbeddingStore
for n in range(20):
    one = Embedding(torch.full((50, 64), float(n)), torch.ones(50))
    EmbeddingStore({"weights": "abc"}, Path(sys.argv[1])).keep([str(n)], [one])
"""


def test_processes_writing_at_once(tmp_path: Path, repository: Path) -> None:
    path = tmp_path / "store.sqlite"
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [subprocess.Popen(command, cwd=repository) for _ in range(3)]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    found = EmbeddingStore({"weights": "abc"}, path).look_up([str(n) for n in range(20)])
    assert [float(one.vectors[49, 63]) for one in found if one] == list(range(20))
