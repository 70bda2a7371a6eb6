"""What is left when a run dies, the disk is full, or files change under it."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from merge_models import copy_with, weights

from merge import MergeError, Options, merge, verify
from merge.models.saved_vector import MANIFEST

SCRIPT = """
import sys
from merge import merge
merge("linear", base=sys.argv[1], tuned=[sys.argv[2]], lambdas=[0.2, 0.8], out=sys.argv[3],
      max_shard_size=20_000_000)
"""
KILLS = 100


@pytest.fixture(autouse=True)
def small_blocks():
    """Take blocks as they are: how long a merge lasts decides where it is hit."""


@pytest.fixture(scope="module")
def larger(models, tmp_path_factory):
    """Two models of some megabytes, so that a merge lasts long enough to be hit."""
    import torch

    root = tmp_path_factory.mktemp("larger")
    extra = {f"extra.{index}": torch.full((1000, 1000), float(index)) for index in range(12)}
    return [copy_with(models(seed), root / str(seed), extra) for seed in (0, 1)]


def test_killed_at_any_moment_never_leaves_a_checkpoint(tmp_path, larger):
    """Kill -9 at 100 random moments, in a forked child so that each run costs no start-up."""
    out = tmp_path / "out"
    begun = time.monotonic()
    merge("linear", base=larger[0], tuned=[larger[1]], lambdas=[0.2, 0.8], out=tmp_path / "timed")
    duration = time.monotonic() - begun
    moments = random.Random(7)
    helper = subprocess.Popen(
        [sys.executable, "-c", FORKING, *map(str, larger), str(out)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert helper.stdin is not None
    assert helper.stdout is not None
    killed = 0
    for _ in range(KILLS):
        helper.stdin.write("go\n")
        helper.stdin.flush()
        child = int(helper.stdout.readline())
        time.sleep(moments.uniform(0, 1.1 * duration))
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        helper.stdout.readline()
        if out.exists():
            assert len(verify(out)) == 2
            shutil.rmtree(out)
        else:
            killed += 1
    helper.stdin.close()
    helper.wait()
    assert killed > KILLS // 4
    merge("linear", base=larger[0], tuned=[larger[1]], lambdas=[0.2, 0.8], out=out)
    assert len(verify(out)) == 2
    leftovers = {path.name for path in tmp_path.iterdir()}
    assert leftovers == {"out", "timed"}


FORKING = """
import os, sys
from merge import merge
import merge.api, merge.engine.run, torch
base, tuned, out = sys.argv[1:]
for _ in sys.stdin:
    child = os.fork()
    if child == 0:
        merge.api.merge("linear", base=base, tuned=[tuned], lambdas=[0.2, 0.8], out=out)
        os._exit(0)
    print(child, flush=True)
    os.waitpid(child, 0)
    print("gone", flush=True)
"""


def test_leftovers_of_a_killed_run_do_not_pass_for_a_checkpoint(tmp_path, models):
    staging = tmp_path / ".out.merging"
    staging.mkdir()
    (staging / "model.safetensors").write_bytes(b"half")
    with pytest.raises(MergeError, match=f"no {MANIFEST}"):
        verify(staging)
    merge("linear", base=models(0), tuned=[models(1)], lambdas=[0.5], out=tmp_path / "out")
    assert not staging.exists()


def test_two_runs_into_one_folder(tmp_path, models):
    import fcntl

    with (tmp_path / ".out.merging.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(MergeError, match="Another run is writing out"):
            merge("linear", base=models(0), tuned=[models(1)], lambdas=[0.5], out=tmp_path / "out")


def test_a_lock_that_its_holder_has_removed_is_no_lock(tmp_path, monkeypatch):
    """Who opened the file before the holder removed it must not run beside who makes a new one."""
    import fcntl

    from merge.output.staging import staged

    path, take = tmp_path / ".out.merging.lock", fcntl.flock

    def take_late(descriptor, operation):
        path.unlink(missing_ok=True)
        take(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", take_late)
    with pytest.raises(MergeError, match="Another run is writing out"), staged(tmp_path / "out"):
        pass
    monkeypatch.undo()
    with staged(tmp_path / "out"):
        assert path.exists()
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_disk_full_while_writing(tmp_path, larger):
    """A limit on file size makes the kernel refuse a write as a full disk does."""
    code = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    code += "resource.setrlimit(resource.RLIMIT_FSIZE, (9_000_000, 9_000_000))\n" + SCRIPT
    before = {path: path.read_bytes() for folder in larger for path in folder.iterdir()}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, larger), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "MergeError" in done.stderr
    assert "cannot be written" in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert all(path.read_bytes() == data for path, data in before.items())


def test_disk_too_small_is_found_before_anything_is_written(tmp_path, models, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: _Usage())
    with pytest.raises(MergeError, match=r"needs 0.0 GB and its disk has 0.0 GB left"):
        merge("linear", base=models(0), tuned=[models(1)], lambdas=[0.5], out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


class _Usage:
    free = 1000


def test_input_that_shrinks_meanwhile(tmp_path, models, monkeypatch):
    from merge import api

    tuned = copy_with(models(1), tmp_path / "tuned", {})
    original = api.make_plan

    def plan_then_truncate(*arguments):
        plan = original(*arguments)
        os.truncate(tuned / "model.safetensors", 5000)
        return plan

    monkeypatch.setattr(api, "make_plan", plan_then_truncate)
    with pytest.raises(MergeError, match=r"tuned/model.safetensors ended while"):
        merge("linear", base=models(0), tuned=[tuned], lambdas=[0.5], out=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["tuned"]


@pytest.mark.parametrize("bit", [3, 6, 1_000_003])
def test_flipped_bit_in_an_input_changes_its_checksum(tmp_path, models, bit):
    from merge.output.manifest import read_manifest

    tuned = copy_with(models(1), tmp_path / "tuned", {})
    path = tuned / "model.safetensors"
    data = bytearray(path.read_bytes())
    position = len(data) - 1 - bit % 4000 // 2 * 2 - 1
    data[position] ^= 1
    path.write_bytes(data)
    checksums = []
    for number, folder in enumerate((models(1), tuned)):
        out = tmp_path / f"out{number}"
        merge("linear", base=models(0), tuned=[folder], lambdas=[0.5], out=out)
        checksums.append(read_manifest(out)["inputs"][1]["checksum"])
    assert checksums[0] != checksums[1]


def test_output_folder_that_cannot_be_made(tmp_path, models):
    (tmp_path / "file").write_text("")
    with pytest.raises(MergeError, match=r"file.*"):
        merge("linear", base=models(0), tuned=[models(1)], lambdas=[0.5], out=tmp_path / "file/out")


def test_error_in_one_thread_stops_all(tmp_path, larger):
    import torch

    values = weights(larger[1])["extra.1"].clone()
    values[5, 5] = float("nan")
    broken = copy_with(larger[1], tmp_path / "broken", {"extra.1": values})
    with pytest.raises(MergeError, match="extra.1 holds NaN"):
        merge(
            "linear",
            base=larger[0],
            tuned=[broken],
            lambdas=[0.5],
            out=tmp_path / "out",
            options=Options(threads=4),
        )
    assert torch.get_num_threads() >= 1
    assert not (tmp_path / "out").exists()


def test_interrupt_stops_at_once_and_leaves_nothing(tmp_path, larger):
    # A shell may have started the tests in the background, where SIGINT is ignored.
    code = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "import merge.engine.run as e, time\n"
    code += "original = e._Worker.merge\n"
    code += "def slow(*a):\n    time.sleep(0.2)\n    original(*a)\n"
    code += "e._Worker.merge = slow\n" + SCRIPT
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, larger), str(tmp_path / "out")],
        stderr=subprocess.PIPE,
        text=True,
    )
    shard = tmp_path / ".out.merging/lambda-0.8/model.safetensors.index.json"
    while not shard.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in errors
    assert list(tmp_path.iterdir()) == []
