"""Results of steps, kept under keys that cover everything that shapes them.

A result is a folder that appears whole, by renaming, or not at all. Several sweeps may share a
store: a step is worked on under its lock, which the system releases if the process dies.
"""

import json
import resource
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from safemerge_tasks.common.atomic_write import replace_file
from safemerge_tasks.common.errors import SafemergeError

RECORD = "step.json"

# For everything else that a process has open.
_OTHER_FILES = 512

SCRATCH = "scratch-"
"""Begins the name of a folder in which several steps are worked on, under the first's lock."""


class Store:
    """A folder of finished steps.

    Attributes:
        root: the folder; made on first use.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def check(self) -> None:
        """Make sure that results can be written.

        Raises:
            SafemergeError: they cannot.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.root).close()
        except OSError as error:
            raise SafemergeError(
                f"The store {self.root} cannot be written ({error.strerror}); give another --store."
            ) from error

    def folder(self, key: str) -> Path:
        """Return where a step's result is, or will be."""
        return self.root / "steps" / key

    def done(self, key: str) -> bool:
        """Return whether a step's result is there."""
        return self.folder(key).is_dir()

    def results(self) -> list[str]:
        """Return the keys of all results."""
        parent = self.root / "steps"
        return sorted(path.name for path in parent.glob("*/"))

    def record(self, key: str) -> dict[str, Any]:
        """Return what was noted with a result: seconds, host, versions; empty if nothing was."""
        try:
            found = json.loads((self.folder(key) / RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def work_folder(self, key: str) -> Path:
        """Return a folder that outlives a killed step, for its own checkpoints."""
        return self.root / "work" / key

    def recording(self, name: str) -> Path:
        """Return the place of a recording of requests."""
        return self.root / "recordings" / f"{name}.json"

    @contextmanager
    def claimed(self, keys: Iterable[str]) -> Iterator[set[str]]:
        """Hold the locks of those steps that nobody else holds; yields them, and never waits."""
        wanted = set(keys)
        _allow_files(len(wanted) + _OTHER_FILES)
        with ExitStack() as stack:
            mine = set()
            for key in wanted:
                with suppress(Timeout):
                    stack.enter_context(self.lock(key).acquire(blocking=False))
                    mine.add(key)
            yield mine

    def lock(self, key: str) -> FileLock:
        """Return a step's lock, not yet held."""
        locks = self.root / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        return FileLock(locks / f"{key}.lock")

    def is_held(self, key: str) -> bool:
        """Return whether someone works on a step now."""
        if not (self.root / "locks" / f"{key}.lock").exists():
            return False
        try:
            with self.lock(key).acquire(blocking=False):
                return False
        except Timeout:
            return True

    def tidy(self) -> None:
        """Remove what killed processes left unfinished, unless someone is at that step now."""
        parent = self.root / "staging"
        for abandoned in parent.iterdir() if parent.is_dir() else ():
            key = abandoned.name.rpartition("-")[0].removeprefix(SCRATCH)
            with suppress(Timeout), self.lock(key).acquire(blocking=False):
                shutil.rmtree(abandoned, ignore_errors=True)

    @contextmanager
    def staging(self, key: str) -> Iterator[Path]:
        """Yield an empty folder to fill for `publish`; removed at the end if still there.

        The caller holds the step's lock, so what is left of earlier tries is nobody's.
        """
        parent = self.root / "staging"
        parent.mkdir(parents=True, exist_ok=True)
        for abandoned in parent.glob(f"{key}-*"):
            shutil.rmtree(abandoned)
        folder = Path(tempfile.mkdtemp(prefix=f"{key}-", dir=parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, key: str, staged: Path, record: Mapping[str, Any]) -> None:
        """Make a filled folder the step's result."""
        replace_file(staged / RECORD, json.dumps(record, indent=1) + "\n")
        final = self.folder(key)
        final.parent.mkdir(parents=True, exist_ok=True)
        # mkdtemp's folders are for their owner alone; results are for whoever may read the store.
        staged.chmod(0o755)
        staged.rename(final)
        shutil.rmtree(self.work_folder(key), ignore_errors=True)

    def remove(self, key: str) -> None:
        """Take a result away, in one step for anyone who looks."""
        final = self.folder(key)
        with self.staging(key) as grave:
            if final.is_dir():
                final.rename(grave / "result")


def _allow_files(count: int) -> None:
    """Raise how many files this process may open, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        most = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
