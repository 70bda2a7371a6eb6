"""A judge in a file of the user's own, `judge=path/to/file.py:make`."""

import json
import logging
from collections.abc import Sequence
from types import ModuleType
from typing import Any, cast

from safemerge_tasks.common.errors import SafemergeError, brief
from safemerge_tasks.common.own_module import load_own_module
from safemerge_tasks.judges.names import JudgeFile
from safemerge_tasks.judges.protocol import Judge, Panel
from safemerge_tasks.verdicts.verdict import Verdict

_log = logging.getLogger(__name__)


def load_module(file: JudgeFile) -> ModuleType:
    """Import a user's file; see `load_own_module`.

    Raises:
        SafemergeError: there is no such file, it cannot be imported, or lacks the function.
    """
    return load_own_module(
        file.path,
        file.function,
        "judge",
        "a judge",
        "judge=judges/mine.py:make, or write one with `safemerge judge new mine`",
    )


class OwnJudge:
    """A user's judge, with the file's hash in all that tells it from another one."""

    def __init__(self, file: JudgeFile, module: ModuleType, judge: Judge) -> None:
        self._judge = judge
        self._file = file
        self._sha256: str = module.__dict__["__sha256__"]
        self.name = file.name
        self.empty = judge.empty
        self.languages = judge.languages
        self.uses_accelerator = judge.uses_accelerator
        self.deferred = judge.deferred
        self.members = judge.members
        self.usage = getattr(judge, "usage", None)

    def check(self) -> None:
        """Check the judge, and that its identity can be stored; see `Judge.check`."""
        self._judge.check()
        try:
            json.dumps(self._judge.identity())
        except Exception as error:  # the user's own code
            raise SafemergeError(
                f"judge={self._file.spelt}: its identity cannot be stored ({brief(error)}); return "
                "a dictionary of plain values."
            ) from error

    def open(self) -> None:
        """Load what the judge loads."""
        self._judge.open()

    def judge(self, questions: Sequence[str], responses: Sequence[str]) -> list[Verdict]:
        """Return the judge's verdicts."""
        return self._judge.judge(questions, responses)

    def combine(self, votes: Sequence[Sequence[Verdict]]) -> list[Verdict]:
        """Return the panel's verdicts, where the judge has members."""
        return cast("Panel", self._judge).combine(votes)

    def identity(self) -> dict[str, Any]:
        """Return the judge's identity and the file's hash, which is known whatever the judge is."""
        ours = {"name": self.name, "file_sha256": self._sha256}
        try:
            theirs = self._judge.identity()
            json.dumps(theirs)
        except Exception as error:  # verdicts are there, and must not be lost for it
            _log.warning("%s: its identity cannot be stored: %s", self.name, brief(error))
            theirs = {}
        return {**theirs, **ours}

    def cache_key(self) -> dict[str, Any] | None:
        """Return the judge's key with the file's hash."""
        key = self._judge.cache_key()
        return None if key is None else {**key, "name": self.name, "file_sha256": self._sha256}

    def close(self) -> None:
        """Free what the judge loaded."""
        self._judge.close()
