"""How good a judge is on responses that people labelled, how fast, and what it reads and writes."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from safemerge_tasks.judges.engines.usage import Usage
from safemerge_tasks.judges.judging.rules import judge_responses
from safemerge_tasks.judges.judging.verdict_cache import VerdictCache
from safemerge_tasks.judges.protocol import Judge
from safemerge_tasks.metrics.confusion import Confusion
from safemerge_tasks.results import lasting
from safemerge_tasks.verdicts.labelled import Labelled
from safemerge_tasks.verdicts.verdict import Verdict

MEASURES = {
    "precision": "precision",
    "recall": "sensitivity",
    "f1": "f1",
    "accuracy": "agreement",
}
"""What is reported → what `Confusion` calls it."""

ALL = "all"


@dataclass(frozen=True)
class Row:
    """A judge against people on some of the responses.

    Attributes:
        part: `all`, `language` or `category`.
        name: which language or category.
        found: without the unscored.
        worst: with the judge wrong on every unscored response.
        best: with the judge right on every unscored response.
    """

    part: str
    name: str
    found: Confusion
    worst: Confusion
    best: Confusion

    @classmethod
    def of(cls, part: str, name: str, pairs: Sequence[tuple[bool, bool | None]]) -> Self:
        """Count pairs of label and verdict."""
        wrong = ((label, not label if said is None else said) for label, said in pairs)
        right = ((label, label if said is None else said) for label, said in pairs)
        return cls(part, name, *map(Confusion.of, (pairs, wrong, right)))


@dataclass(frozen=True)
class Spent:
    """What judging took; verdicts that were kept from before took nothing.

    Attributes:
        calls: exchanges that were put before a judge, for a panel before each of its members.
        seconds: wall time of that, the start of engines and cached verdicts left out.
        read: tokens of prompts; None where a judge or its endpoint does not tell.
        written: tokens of answers; likewise.
    """

    calls: int
    seconds: float
    read: int | None
    written: int | None

    @property
    def calls_per_second(self) -> float | None:
        """None where nothing was asked."""
        return self.calls / self.seconds if self.calls and self.seconds else None

    def cost(self, read: float, written: float) -> float | None:
        """Return what the tokens cost at prices of a million; None where they are not known."""
        if self.read is None or self.written is None:
            return None
        return (self.read * read + self.written * written) / 1e6


@dataclass(frozen=True)
class Benchmark:
    """One judge on one labelled set."""

    judge: Mapping[str, Any]
    rows: tuple[Row, ...]
    spent: Spent


def benchmark(
    judge: Judge,
    labelled: Sequence[Labelled],
    timeout: float | None = None,
    cache: VerdictCache | None = None,
) -> tuple[Benchmark, list[Verdict]]:
    """Judge labelled responses; see `judge_responses`. Returns what came of it, and the verdicts.

    Rows are all responses, then each language and each category where there are several.
    """
    timed = _Timed(judge)
    verdicts = judge_responses(
        timed,
        [row.question for row in labelled],
        [row.response for row in labelled],
        timeout,
        cache,
    )
    rows = tuple(_rows(labelled, verdicts))
    return Benchmark(lasting(judge.identity()), rows, timed.spent()), verdicts


def _rows(labelled: Sequence[Labelled], verdicts: Sequence[Verdict]) -> Iterator[Row]:
    pairs = [(one.harmful, said.harmful) for one, said in zip(labelled, verdicts, strict=True)]
    yield Row.of(ALL, ALL, pairs)
    for part in ("language", "category"):
        groups: dict[str, list[tuple[bool, bool | None]]] = {}
        for one, pair in zip(labelled, pairs, strict=True):
            groups.setdefault(getattr(one, part), []).append(pair)
        if len(groups) > 1:
            yield from (Row.of(part, name, groups[name]) for name in sorted(groups))


class _Timed:
    """A judge whose calls are counted and timed; all else is the judge's."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._each = tuple(map(_Timed, judge.members))
        self.members: tuple[Judge, ...] = self._each
        self._calls = 0
        self._seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._judge, name)

    def judge(self, questions: Sequence[str], responses: Sequence[str]) -> list[Verdict]:
        """Return the judge's verdicts."""
        begun = time.perf_counter()
        try:
            return self._judge.judge(questions, responses)
        finally:
            self._seconds += time.perf_counter() - begun
            self._calls += len(questions)

    def spent(self) -> Spent:
        """Return what this judge, or its members, took."""
        each = [member.spent() for member in self._each]
        usage: Usage | None = getattr(self._judge, "usage", None)
        told = usage is not None and not usage.untold
        tokens = [(usage.read, usage.written)] if usage and told else [(None, None)]
        read, written = zip(*([(one.read, one.written) for one in each] or tokens), strict=True)
        return Spent(
            self._calls + sum(one.calls for one in each),
            self._seconds + sum(one.seconds for one in each),
            _sum(read),
            _sum(written),
        )


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
