"""The locks behind one another: each is there, though the others would do."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from safemerge_tasks.sandbox import confinement
from safemerge_tasks.sandbox.limits import ResourceLimits

# In a user namespace of its own every process holds all capabilities.
DROPPED = """
from safemerge_tasks.sandbox import linux
linux.unshare(linux.CLONE_NEWUSER)
def held():
    with open("/proc/self/status") as file:
        lines = [line.split() for line in file if line.startswith(("CapEff", "CapPrm", "CapInh"))]
    return [int(value, 16) for _, value in lines]
before = held()
linux.drop_capabilities()
print(max(before) > 0, held())
"""


def test_every_capability_is_dropped(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DROPPED], cwd=repository, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True [0, 0, 0]\n"


def test_capabilities_go_after_the_mounts_and_before_the_filter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []

    def spy(module: str, **values: Any) -> Any:
        class Spy(SimpleNamespace):
            def __getattr__(self, name: str) -> Any:
                return 0 if name.isupper() else lambda *_: done.append(f"{module}.{name}")

        return Spy(**values)

    monkeypatch.setattr(confinement, "linux", spy("linux"))
    monkeypatch.setattr(confinement, "seccomp", spy("seccomp"))
    monkeypatch.setattr(confinement, "resource", spy("resource"))
    monkeypatch.setattr(confinement, "os", spy("os", environ={}))
    confinement.confine(7, ResourceLimits())
    assert done[-2:] == ["linux.drop_capabilities", "seccomp.install"]
    assert done.index("linux.unshare") < done.index("linux.mount") < len(done) - 2
