"""Which files of a package the lock files name."""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def lock(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(repository / "requirements"))
    import lock

    yield lock
    for name in ("lock", "uv_tool"):
        sys.modules.pop(name)


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("a-1-py3-none-any.whl", True),
        ("a-1-py2.py3-none-any.whl", True),
        ("a-1-py37-none-any.whl", True),
        ("a-1-py314-none-any.whl", False),
        ("a-1-cp312-cp312-manylinux_2_28_x86_64.whl", True),
        ("a-1-cp313-cp313-manylinux2014_aarch64.manylinux_2_17_aarch64.whl", True),
        ("a-1-1build-cp313-cp313-linux_x86_64.whl", True),
        ("a-1-cp38-abi3-manylinux_2_28_x86_64.whl", True),
        ("a-1-cp314-abi3-manylinux_2_28_x86_64.whl", False),
        ("a-1-cp314-cp314-manylinux_2_28_x86_64.whl", False),
        ("a-1-cp310-cp310-manylinux_2_28_x86_64.whl", False),
        ("a-1-cp312-cp312-musllinux_1_2_x86_64.whl", False),
        ("a-1-cp312-cp312-macosx_11_0_arm64.whl", False),
        ("a-1-cp312-cp312-win_amd64.whl", False),
        ("a-1-cp312-cp312-manylinux_2_28_s390x.whl", False),
    ],
)
def test_wheels_of_our_machines(lock: Any, name: str, *, fits: bool) -> None:
    assert lock._fits(name) is fits


def test_the_source_where_there_is_no_wheel(lock: Any) -> None:
    wheel = {"url": "http://x/a-1-cp312-cp312-win_amd64.whl", "hashes": {"sha256": "b" * 64}}
    source = {"url": "http://x/a-1.tar.gz", "hashes": {"sha256": "c" * 64}}
    assert lock._hashes({"name": "a", "sdist": source, "wheels": [wheel]}) == ("c" * 64,)


def test_builds_in_a_folder_of_wheels(
    lock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("torch-2.13.0+cpu-x.whl", "torch-2.13.1+cpu-x.whl", "torch-2.13.0-x.whl"):
        (tmp_path / name).write_text(name)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    wanted = hashlib.sha256(b"torch-2.13.0+cpu-x.whl").hexdigest()
    assert lock.local_builds("torch", "2.13.0") == (wanted,)
    with pytest.raises(SystemExit, match=r"no folder with torch 2\.12\.0 for a CPU"):
        lock.local_builds("torch", "2.12.0")


def test_what_is_read_is_what_was_written(
    lock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = {"trl": "1.16.0", "a-b": "2.0.post1 ; sys_platform == 'linux'"}
    monkeypatch.setattr(lock, "HERE", tmp_path)
    monkeypatch.setattr(lock, "hashed", lambda pins: dict.fromkeys(pins, ("a" * 64, "b" * 64)))
    lock.write("x.lock", pins, "Some.")
    assert lock.locked("x.lock", "absent.lock") == pins
    assert "# trl: the trainer's internals" in (tmp_path / "x.lock").read_text()
    assert lock._pins("Torch==2.13.0+cpu\n    # via x\nray==2 ; a\n") == {
        "torch": "2.13.0", "ray": "2 ; a"
    }  # fmt: skip


def test_every_pin_has_a_hash(lock: Any, repository: Path) -> None:
    files = sorted((repository / "requirements").glob("*.lock"))
    assert files
    for file in files:
        parts = file.read_text("utf-8").replace("\\\n", "").splitlines()
        pins = [line for line in parts if not line.startswith("#")]
        assert pins
        assert all("--hash=sha256:" in line for line in pins), file
