"""What a candidate's process does to itself before it reads the candidate's code."""

import os
import resource
from pathlib import Path

from safemerge_tasks.sandbox import linux, seccomp
from safemerge_tasks.sandbox.limits import ResourceLimits
from safemerge_tasks.sandbox.view import ROOM

_CHANNEL = 3
_INODES = 1024


def confine(descriptor: int, limits: ResourceLimits) -> int:
    """Give up all but the channel, for good; return its new number.

    The process namespace is already its own. The order matters: mounting needs the capabilities,
    and the filter refuses what the steps before it call.
    """
    _keep_only(descriptor)
    linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWIPC)
    flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    options = f"size={limits.files},nr_inodes={_INODES},mode=700"
    linux.mount("tmpfs", ROOM, "tmpfs", flags, options)
    os.chdir(ROOM)
    os.environ["TMPDIR"] = str(ROOM)
    _set_limits(limits)
    resource.setrlimit(resource.RLIMIT_NPROC, (limits.threads, limits.threads))
    linux.drop_capabilities()
    seccomp.install()
    return _CHANNEL


def bound(descriptor: int, limits: ResourceLimits, room: Path) -> int:
    """Bound the process without isolating it: `sandbox=none`."""
    _keep_only(descriptor)
    os.chdir(room)
    _set_limits(limits)
    return _CHANNEL


def _keep_only(descriptor: int) -> None:
    os.setsid()
    os.dup2(descriptor, _CHANNEL)
    os.closerange(_CHANNEL + 1, os.sysconf("SC_OPEN_MAX"))


def _set_limits(limits: ResourceLimits) -> None:
    processor = int(limits.seconds) + 2
    for what, most in (
        (resource.RLIMIT_CPU, processor),
        (resource.RLIMIT_AS, limits.memory),
        (resource.RLIMIT_FSIZE, limits.files // 2),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
