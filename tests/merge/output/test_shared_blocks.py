"""Copies share disk blocks with what they are from where disks can, and are written elsewhere."""

import errno
import fcntl
import os
import struct

import pytest
import torch
from merge_models import copy_with, weights
from safetensors.torch import load_file

from merge import MergeError, merge, verify
from merge.formats.safetensors import read_header
from merge.output.shard_files import DISK_BLOCK

LARGE = {"large": torch.arange(30_000, dtype=torch.float32)}


@pytest.fixture
def large(tmp_path, models):
    """A base with a tensor of many disk blocks."""
    return copy_with(models(0), tmp_path / "base", LARGE)


@pytest.fixture
def adapter(adapters):
    return adapters(1, target_modules=["q_proj"])


@pytest.fixture(autouse=True)
def small_blocks():
    """Take blocks as they are: a smaller one has no whole disk block."""


def clone(descriptor, request, wanted):
    """Do what FICLONERANGE does, by copying."""
    source, start, length, target = struct.unpack("qQQQ", wanted)
    assert (start % DISK_BLOCK, length % DISK_BLOCK, target % DISK_BLOCK) == (0, 0, 0)
    assert length > 0
    data = os.pread(source, length, start)
    assert len(data) == length
    os.pwrite(descriptor, data, target)
    return 0


def merged(base, adapter, out):
    merge("linear", base=base, tuned=[adapter], lambdas=[0.3, 0.6], out=out)
    for name in ("lambda-0.3", "lambda-0.6"):
        verify(out / name)
        assert torch.equal(load_file(out / name / "model.safetensors")["large"], LARGE["large"])


def test_whole_disk_blocks_are_shared(tmp_path, large, adapter, monkeypatch):
    shared = []

    def counting(descriptor, request, wanted):
        shared.append(struct.unpack("qQQQ", wanted)[2])
        return clone(descriptor, request, wanted)

    monkeypatch.setattr(fcntl, "ioctl", counting)
    merged(large, adapter, tmp_path / "out")
    # All of the large tensor but less than a block at each end, for both λ.
    assert sum(shared) >= 2 * (LARGE["large"].nbytes - 2 * DISK_BLOCK)


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY])
def test_disks_that_share_nothing(tmp_path, large, adapter, monkeypatch, code):
    asked = []

    def refuse(descriptor, request, wanted):
        asked.append(descriptor)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "ioctl", refuse)
    merged(large, adapter, tmp_path / "out")
    # Each output asks once, or twice where two threads do so at a time.
    assert len(set(asked)) == 2
    assert len(asked) <= 4


def test_tensors_lie_in_disk_blocks_as_those_of_the_base(tmp_path, large, adapter):
    merged(large, adapter, tmp_path / "out")
    own = read_header(tmp_path / "out/lambda-0.3/model.safetensors")
    base = read_header(large / "model.safetensors")
    assert (own["large"].offset - base["large"].offset) % DISK_BLOCK == 0


def test_a_header_of_what_is_computed_is_as_short_as_it_can_be(tmp_path, models):
    merge("linear", base=models(0), tuned=[models(1)], lambdas=[0.5], out=tmp_path / "out")
    content = (tmp_path / "out/model.safetensors").read_bytes()
    assert not content[8 : 8 + int.from_bytes(content[:8], "little")].endswith(b" " * 8)


def test_a_padded_header_is_verified_too(tmp_path, models, adapter):
    # A header that is longer than ours, as of a file with metadata of its own.
    base = copy_with(models(0), tmp_path / "base", {})
    from safetensors.torch import save_file

    save_file(weights(base), base / "model.safetensors", metadata={"format": "pt", "x": "y" * 99})
    merge("linear", base=base, tuned=[adapter], lambdas=[0.5], out=tmp_path / "out")
    path = tmp_path / "out/model.safetensors"
    content = bytearray(path.read_bytes())
    end = 8 + int.from_bytes(content[:8], "little")
    assert content[:end].endswith(b" " * 64), "nothing was padded"
    content[end - 3] = ord("\n")
    path.write_bytes(content)
    with pytest.raises(MergeError, match=r"header of model.safetensors was changed"):
        verify(tmp_path / "out")
