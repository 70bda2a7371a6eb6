"""The system calls that Python does not wrap before 3.12: namespaces, mounts, capabilities."""

import ctypes
import os
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MNT_DETACH = 0x2

PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38

_MOUNT_SETATTR = 442  # the same number on every machine
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY = 0x1
_MOUNT_ATTR_NOSUID = 0x2
_MOUNT_ATTR_NODEV = 0x4
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Leave the namespaces named by `CLONE_NEW*`."""
    _checked(_libc.unshare(flags), "unshare")


def new_pid_namespace_for_children() -> None:
    """Give the next child a process namespace of its own, again and again.

    The kernel grants a second one only after the first is given back, so the caller's own is set
    first (`setns` with a process descriptor: Linux 5.8).
    """
    own = os.pidfd_open(os.getpid())
    try:
        _checked(_libc.setns(own, CLONE_NEWPID), "setns")
    finally:
        os.close(own)
    unshare(CLONE_NEWPID)


def mount(source: str | None, target: Path, kind: str | None, flags: int, data: str = "") -> None:
    """Attach a file system, or change how one is attached."""
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind)]
    _checked(_libc.mount(*words, ctypes.c_ulong(flags), data.encode()), f"mount {target}")


def make_read_only(target: Path) -> None:
    """Make a mount and all mounts below it read-only, without devices and set-user-id (5.12)."""
    attributes = (ctypes.c_uint64 * 4)(
        _MOUNT_ATTR_RDONLY | _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV, 0, 0, 0
    )
    result = _libc.syscall(
        ctypes.c_long(_MOUNT_SETATTR),
        ctypes.c_int(-100),
        os.fsencode(target),
        ctypes.c_uint(_AT_RECURSIVE),
        ctypes.byref(attributes),
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )
    _checked(result, f"mount_setattr {target}")


def pivot_root(new_root: Path, put_old: Path) -> None:
    """Make a mount the root; the old root appears at `put_old`."""
    _checked(_libc.pivot_root(os.fsencode(new_root), os.fsencode(put_old)), "pivot_root")


def detach(target: Path) -> None:
    """Take a mount and all below it away."""
    _checked(_libc.umount2(os.fsencode(target), MNT_DETACH), f"umount {target}")


def prctl(option: int, value: int, pointer: ctypes.c_void_p | None = None) -> None:
    """Set an attribute of the calling process."""
    result = _libc.prctl(
        option, ctypes.c_ulong(value), pointer, ctypes.c_ulong(0), ctypes.c_ulong(0)
    )
    _checked(result, f"prctl {option}")


def drop_capabilities() -> None:
    """Give up every capability for good."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    none = (ctypes.c_uint32 * 6)()
    _checked(_libc.capset(ctypes.byref(header), ctypes.byref(none)), "capset")


def _checked(result: int, what: str) -> None:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
