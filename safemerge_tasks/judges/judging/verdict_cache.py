"""Verdicts that were reached before, so that no exchange is judged twice.

Only hashes of what was judged are kept, never the texts.
"""

import hashlib
import json
import logging
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from safemerge_tasks.common.cache import cache_dir
from safemerge_tasks.verdicts.verdict import Verdict

_log = logging.getLogger(__name__)

FILE = "verdicts.sqlite"
_SCHEMA = "CREATE TABLE IF NOT EXISTS verdicts (key BLOB PRIMARY KEY, verdict TEXT) WITHOUT ROWID"
_WAIT = 30.0  # seconds for another process that writes


class VerdictCache:
    """Verdicts by what identifies the judge and by the texts it was shown.

    A cache that cannot be read or written is said once and does without: it must never cost a
    verdict.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or cache_dir() / FILE
        self._usable = True

    def look_up(
        self, judge: Mapping[str, Any], questions: Sequence[str], responses: Sequence[str]
    ) -> list[Verdict | None]:
        """Return the verdict on each exchange, or None where there is none yet."""
        keys = _keys(judge, questions, responses)
        found: list[Verdict | None] = [None] * len(keys)
        if not self._usable or not self._path.is_file():
            return found
        try:
            with closing(self._connect()) as connection:
                for index, key in enumerate(keys):
                    row = connection.execute("SELECT verdict FROM verdicts WHERE key = ?", (key,))
                    if (text := row.fetchone()) is not None:
                        found[index] = Verdict(**json.loads(text[0]))
        except (sqlite3.Error, OSError, ValueError, TypeError) as error:
            self._give_up(error)
        return found

    def keep(
        self,
        judge: Mapping[str, Any],
        questions: Sequence[str],
        responses: Sequence[str],
        verdicts: Sequence[Verdict],
    ) -> None:
        """Keep verdicts; not those that judging again may change."""
        keys = _keys(judge, questions, responses)
        rows = [
            (key, json.dumps(verdict.as_fields()))
            for key, verdict in zip(keys, verdicts, strict=True)
            if not verdict.pending
        ]
        if not rows or not self._usable:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._connect()) as connection, connection:
                connection.execute(_SCHEMA)
                connection.executemany("INSERT OR REPLACE INTO verdicts VALUES (?, ?)", rows)
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=_WAIT)

    def _give_up(self, error: Exception) -> None:
        self._usable = False
        _log.warning(
            "Verdicts are not kept: %s cannot be used (%s); delete it, or set judge_cache=false.",
            self._path,
            error,
        )


def _keys(
    judge: Mapping[str, Any], questions: Sequence[str], responses: Sequence[str]
) -> list[bytes]:
    who = hashlib.sha256(json.dumps(judge, sort_keys=True).encode()).digest()
    return [
        hashlib.sha256(who + _digest(question) + _digest(response)).digest()
        for question, response in zip(questions, responses, strict=True)
    ]


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
