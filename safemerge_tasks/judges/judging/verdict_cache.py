"""Verdicts that were reached before, so that no exchange is judged twice.

Only hashes of what was judged are kept, never the texts.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safemerge_tasks.common.cache import cache_dir
from safemerge_tasks.common.row_store import RowStore
from safemerge_tasks.verdicts.verdict import Verdict

FILE = "verdicts.sqlite"


class VerdictCache:
    """Verdicts by what identifies the judge and by the texts it was shown."""

    def __init__(self, path: Path | None = None) -> None:
        self._store = RowStore(
            path or cache_dir() / FILE,
            "verdicts",
            "verdict TEXT",
            what="Verdicts",
            off="judge_cache",
        )

    def look_up(
        self, judge: Mapping[str, Any], questions: Sequence[str], responses: Sequence[str]
    ) -> list[Verdict | None]:
        """Return the verdict on each exchange, or None where there is none yet."""
        return self._store.look_up(
            _keys(judge, questions, responses), lambda text: Verdict(**json.loads(text))
        )

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
        if rows:
            self._store.keep(rows)


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
