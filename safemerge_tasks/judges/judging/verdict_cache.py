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

_CUT = "the judge's reply was too long"
"""Began, with an older safemerge, the reason of replies cut at a token limit."""


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
        found = self._store.look_up(
            _keys(judge, questions, responses), lambda text: Verdict(**json.loads(text))
        )
        return [verdict if verdict and _is_the_judges(verdict) else None for verdict in found]

    def keep(
        self,
        judge: Mapping[str, Any],
        questions: Sequence[str],
        responses: Sequence[str],
        verdicts: Sequence[Verdict],
    ) -> None:
        """Keep what the judge said; not that it could not be asked, or was cut off."""
        keys = _keys(judge, questions, responses)
        rows = [
            (key, json.dumps(verdict.as_fields()))
            for key, verdict in zip(keys, verdicts, strict=True)
            if _is_the_judges(verdict)
        ]
        if rows:
            self._store.keep(rows)


def _is_the_judges(verdict: Verdict) -> bool:
    """Whether there is a verdict, or the judge's own words without one."""
    if verdict.unscored is None:
        return True
    own = verdict.raw is not None and not verdict.unscored.startswith(_CUT)
    return own and not verdict.pending


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
