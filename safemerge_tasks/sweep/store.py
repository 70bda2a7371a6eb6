"""Results of steps, kept under keys that cover everything that shapes them.

A result is a folder that appears whole, by renaming, or not at all. Several sweeps may share a
store: a step is worked on under its lock, which the system releases if the process dies.
"""

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from safemerge_tasks.results import replace_file

RECORD = "step.json"


class Store:
    """A folder of finished steps.

    Attributes:
        root: the folder; made on first use.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, key: str) -> Path:
        """Return where a step's result is, or will be."""
        return self.root / "steps" / key

    def done(self, key: str) -> bool:
        """Return whether a step's result is there."""
        return self.folder(key).is_dir()

    def record(self, key: str) -> dict[str, Any]:
        """Return what was noted with a result: seconds, host, versions; empty if nothing was."""
        try:
            found = json.loads((self.folder(key) / RECORD).read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return found if isinstance(found, dict) else {}

    def work_folder(self, key: str) -> Path:
        """Return a folder that outlives a killed step, for its own checkpoints."""
        return self.root / "work" / key

    def recording(self, digest: str) -> Path:
        """Return the place of a recording of requests."""
        return self.root / "recordings" / f"{digest}.json"

    @contextmanager
    def claimed(self, keys: Iterable[str]) -> Iterator[None]:
        """Hold the locks of some steps; waits for other sweeps that hold one."""
        locks = self.root / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            # In one order everywhere, so that two jobs never wait for each other.
            for key in sorted(set(keys)):
                stack.enter_context(FileLock(locks / f"{key}.lock"))
            yield

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
        parent = self.root / "staging"
        parent.mkdir(parents=True, exist_ok=True)
        grave = Path(tempfile.mkdtemp(prefix=f"{key}-", dir=parent))
        if final.is_dir():
            final.rename(grave / "result")
        shutil.rmtree(grave, ignore_errors=True)
