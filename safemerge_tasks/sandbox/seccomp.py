"""A system call filter: an allow list, so that what a future kernel adds is refused as well.

Classic BPF on `struct seccomp_data` (linux/seccomp.h): the call's number at offset 0, the machine
at 4, the arguments as 64-bit words from 16.
"""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Mapping

from safemerge_tasks.sandbox.linux import PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, prctl
from safemerge_tasks.sandbox.syscall_numbers import ALLOWED, ARCHITECTURES, WITH_CONDITIONS

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN = 0x06

_ALLOW = 0x7FFF0000
_KILL = 0x80000000
_REFUSE = 0x00050000 | errno.EPERM
_UNKNOWN = 0x00050000 | errno.ENOSYS

_SECCOMP_MODE_FILTER = 2
_CLONE_THREAD = 0x00010000
_TCGETS = 0x5401
_FIOCLEX = 0x5451
_FIONBIO = 0x5421
_AF_UNIX = 1
_SOCK_STREAM = 1
_SOCK_CLOEXEC = 0o2000000

Instruction = tuple[int, int, int, int]


class UnknownMachineError(OSError):
    """The numbers of this machine's system calls are not known here."""


def program(machine: str, pid: int) -> list[Instruction]:
    """Return the filter for a process.

    Args:
        machine: as `platform.machine()` says it.
        pid: the process's own number, the only one it may signal.

    Raises:
        UnknownMachineError: neither x86-64 nor aarch64.
    """
    if machine not in ARCHITECTURES:
        raise UnknownMachineError(f"no system call filter for {machine}")
    special = WITH_CONDITIONS[machine]
    code: list[Instruction] = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),
    ]
    for number in ALLOWED[machine].values():
        code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    # glibc falls back to clone, whose flags can be read; those of clone3 lie in memory.
    code += [(_EQUAL, 0, 1, special["clone3"]), (_RETURN, 0, 0, _UNKNOWN)]
    code += _when(special["clone"], 0, [(_ANY_BIT, _CLONE_THREAD)])
    ioctls = [(_EQUAL, _TCGETS), (_EQUAL, _FIOCLEX), (_EQUAL, _FIONBIO)]
    code += _when(special["ioctl"], 1, ioctls)
    code += _event_loop(special)
    for name in ("kill", "tgkill"):
        code += _when(special[name], 0, [(_EQUAL, pid)])
    return [*code, (_RETURN, 0, 0, _REFUSE)]


def install() -> None:
    """Put the filter on the calling process, which cannot take it off again."""
    code = program(platform.machine(), os.getpid())
    packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in code)
    buffer = ctypes.create_string_buffer(packed, len(packed))
    # struct sock_fprog: a 16-bit count and a pointer, aligned.
    handle = ctypes.create_string_buffer(struct.pack("@HP", len(code), ctypes.addressof(buffer)))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.cast(handle, ctypes.c_void_p))


def _event_loop(special: Mapping[str, int]) -> list[Instruction]:
    """Allow what an asyncio loop wakes itself with: a pair of streams that nobody else has.

    No other kind or family, no descriptors in messages (`sendmsg`), and no flags, such as the
    out-of-band data of which the kernel's code had holes.
    """
    pair = _when(special["socketpair"], 1, [(_EQUAL, _SOCK_STREAM | _SOCK_CLOEXEC)])
    unix = [(_LOAD, 0, 0, 16), (_EQUAL, 1, 0, _AF_UNIX), (_RETURN, 0, 0, _REFUSE)]
    code = [(_EQUAL, 0, len(unix) + len(pair) - 1, special["socketpair"]), *unix, *pair[1:]]
    for name in ("sendto", "recvfrom"):
        code += _when(special[name], 3, [(_EQUAL, 0)])
    return code


def _when(number: int, argument: int, tests: list[tuple[int, int]]) -> list[Instruction]:
    """Allow a call if one of some tests of an argument's lower half holds, else refuse it."""
    body: list[Instruction] = [(_LOAD, 0, 0, 16 + 8 * argument)]
    for kind, value in tests:
        body += [(kind, 0, 1, value), (_RETURN, 0, 0, _ALLOW)]
    body.append((_RETURN, 0, 0, _REFUSE))
    return [(_EQUAL, 0, len(body), number), *body]
