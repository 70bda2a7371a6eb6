"""Into the sandbox: namespaces of its own, then the process that starts candidates.

An ordinary user becomes the owner of a user namespace first, where the kernel lets them. Root
builds the view as root, who can read a virtual environment in a private home, and becomes `nobody`
in a user namespace afterwards, so that candidates own nothing on this machine either way.
"""

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from safemerge_tasks.common.child_process import end_with_parent
from safemerge_tasks.sandbox import linux, view

_INSIDE = 1000
"""What the sandbox's only user is called within."""
_NOBODY = 65534
_ALL_BUT_USER = linux.CLONE_NEWNS | linux.CLONE_NEWNET | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS
_READY = b"ready"


def start(
    packages: Sequence[Path],
    hidden: Sequence[Path],
    serve: Callable[[socket.socket], NoReturn],
) -> socket.socket:
    """Run `serve` as the first process of new namespaces; return the socket it listens on.

    It dies with the caller, and everything in its namespaces with it.

    Args:
        packages: folders of installed packages, beside those of this Python.
        hidden: folders that are not to be seen inside.
        serve: never returns.

    Raises:
        OSError: this machine or user may not do this; the message says which step failed.
    """
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        _keep_only(theirs)
        _enter(theirs, view.folders(packages), hidden, serve)
    theirs.close()
    while (message := ours.recv(200)) != _READY:
        step, _, detail = message.decode().partition(" ")
        if step != "map":
            os.waitpid(pid, 0)
            raise OSError(detail or "the sandbox's process ended")
        try:
            _map_user(pid, int(detail))
            ours.send(b"mapped")
        except OSError as error:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise OSError(f"writing uid_map: {error.strerror}") from error
    return ours


def start_without(serve: Callable[[socket.socket], NoReturn]) -> socket.socket:
    """Run `serve` in a plain process: `sandbox=none`."""
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        _keep_only(theirs)
        end_with_parent()
        serve(theirs)
    theirs.close()
    return ours


def _enter(
    channel: socket.socket,
    shown: Sequence[Path],
    hidden: Sequence[Path],
    serve: Callable[[socket.socket], NoReturn],
) -> NoReturn:
    try:
        with contextlib.suppress(OSError):
            # Where memory runs out, candidates go first; children inherit it.
            Path("/proc/self/oom_score_adj").write_text("1000")
        # Before the view: inside it there is no /proc.
        if os.geteuid() == 0 and _can_become_nobody() and _may_build_as_root():
            view.build(shown, hidden)
            os.setgroups([])
            linux.unshare(linux.CLONE_NEWUSER)
            _ask_for_map(channel, _NOBODY)
            os.setresgid(_INSIDE, _INSIDE, _INSIDE)
            os.setresuid(_INSIDE, _INSIDE, _INSIDE)
        else:
            own = os.geteuid()
            linux.unshare(linux.CLONE_NEWUSER)
            _ask_for_map(channel, own)
            linux.unshare(linux.CLONE_NEWNS)
            view.build(shown, hidden)
        linux.unshare(_ALL_BUT_USER | linux.CLONE_NEWPID)
        first = os.fork()
    except BaseException as error:
        channel.send(f"failed {error}".encode()[:200])
        os._exit(1)
    if first == 0:
        # After the change of user, which clears it.
        end_with_parent()
        serve(channel)
    end_with_parent()
    channel.send(_READY)
    channel.close()
    os.waitpid(first, 0)
    os._exit(0)


def _keep_only(channel: socket.socket) -> None:
    """Close what the worker has open, above all its channel to the caller."""
    number = channel.fileno()
    os.closerange(3, number)
    os.closerange(number + 1, os.sysconf("SC_OPEN_MAX"))


def _can_become_nobody() -> bool:
    """Return whether there is such a user: not for the only one of a user namespace."""
    maps = [Path(f"/proc/self/{name}").read_text() for name in ("uid_map", "gid_map")]
    known = all(
        any(
            int(first) <= _NOBODY < int(first) + int(count)
            for first, _, count in map(str.split, text.splitlines())
        )
        for text in maps
    )
    return known and Path("/proc/self/setgroups").read_text().strip() == "allow"


def _may_build_as_root() -> bool:
    """Leave the mount namespace if this root may; in most containers it may not."""
    try:
        linux.unshare(linux.CLONE_NEWNS)
    except PermissionError:
        return False
    return True


def _ask_for_map(channel: socket.socket, outer: int) -> None:
    channel.send(f"map {outer}".encode())
    if channel.recv(100) != b"mapped":
        raise OSError("no user map")


def _map_user(pid: int, outer: int) -> None:
    process = Path(f"/proc/{pid}")
    # Without it a user without privileges may not map a group.
    (process / "setgroups").write_text("deny")
    group = os.getegid() if outer == os.geteuid() else outer
    (process / "gid_map").write_text(f"{_INSIDE} {group} 1")
    (process / "uid_map").write_text(f"{_INSIDE} {outer} 1")
