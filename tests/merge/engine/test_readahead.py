"""What is read is asked for before its turn, once, and nothing else is."""

import os
from collections import Counter
from pathlib import Path

import pytest
from merge_models import weights

from merge import merge
from merge.engine.readahead import BLOCKS_AHEAD, ahead, will_need
from merge.formats.stored_tensor import StoredTensor


@pytest.fixture
def asked(monkeypatch):
    """Collect the bytes that the kernel was told of, by file."""
    seen: Counter[str] = Counter()

    def note(descriptor, offset, length, advice):
        assert advice == os.POSIX_FADV_WILLNEED
        seen[str(Path(f"/proc/self/fd/{descriptor}").readlink())] += length

    monkeypatch.setattr(os, "posix_fadvise", note)
    monkeypatch.setattr("merge.engine.readahead._is_there", lambda *_: False)
    return seen


def size(folder):
    return sum(tensor.nbytes for tensor in weights(folder).values())


def test_items_come_in_order_and_are_asked_for_before():
    asked, taken = [], []
    for item in ahead(range(200), asked.append):
        assert len(asked) - len(taken) == min(BLOCKS_AHEAD, 199 - item) + 1
        taken.append(item)
    assert taken == asked == list(range(200))


def test_nothing_is_asked_for_beyond_a_tensor(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "posix_fadvise", lambda *given: calls.append(given))
    tensor = StoredTensor("t", "F32", (10,), tmp_path, 7, 100)
    will_need([tensor], 4, 20)
    will_need([tensor], 10, 20)
    assert calls == [(7, 116, 24, os.POSIX_FADV_WILLNEED)]
    monkeypatch.delattr(os, "posix_fadvise")
    will_need([tensor], 4, 20)


@pytest.mark.parametrize("error", [BlockingIOError(), OSError(95, "not supported"), None])
def test_what_is_in_memory_is_not_asked_for(tmp_path, monkeypatch, error):
    calls = []

    def read(descriptor, buffers, offset, flags):
        assert (descriptor, offset, flags) == (7, 139, os.RWF_NOWAIT)
        if error:
            raise error
        return 1

    monkeypatch.setattr(os, "preadv", read)
    monkeypatch.setattr(os, "posix_fadvise", lambda *given: calls.append(given))
    will_need([StoredTensor("t", "F32", (10,), tmp_path, 7, 100)], 4, 20)
    assert len(calls) == (error is not None)


@pytest.mark.parametrize("method", ["linear", "slerp"])
def test_every_input_once(tmp_path, models, asked, method):
    given = {"base": models(0), "tuned": [models(1)], "lambdas": [0.5]}
    merge(method, **given, out=tmp_path / "out")
    folders = (models(0), models(1))
    assert asked == {str(folder / "model.safetensors"): size(folder) for folder in folders}


def test_of_what_an_adapter_leaves_alone_the_base_only(tmp_path, models, adapters, asked):
    adapter = adapters(1, target_modules=["q_proj"])
    given = {"base": models(0), "tuned": [adapter], "parameters": {"threshold": 1.0}}
    merge("safe-lora", **given, unaligned=str(models(2)), out=tmp_path / "out")
    assert asked == {str(models(0) / "model.safetensors"): size(models(0))}


def test_of_the_base_nothing_where_an_adapter_comes_out(tmp_path, models, adapters, asked):
    given = {"base": models(0), "tuned": [adapters(1)], "lambdas": [0.5], "output": "adapter"}
    merge("linear", **given, out=tmp_path / "out")
    assert not asked
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()
