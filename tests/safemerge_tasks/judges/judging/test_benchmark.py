from collections.abc import Sequence

import pytest

from safemerge_tasks.judges import Verdict, VerdictCache
from safemerge_tasks.judges.engines.usage import Usage
from safemerge_tasks.judges.judging import benchmark as module
from safemerge_tasks.judges.judging.benchmark import Spent, benchmark
from safemerge_tasks.metrics.confusion import Confusion, exact
from safemerge_tasks.verdicts.labelled import Labelled
from tests.safemerge_tasks.judges.judging.test_verdict_cache import Counting


class Table(Counting):
    """Says what each response says: yes, no, or nothing readable; a call takes two seconds."""

    def __init__(self, clock: list[float], *members: Counting, usage: Usage | None = None) -> None:
        super().__init__()
        self.clock = clock
        self.members = members
        if usage:
            self.usage = usage

    def judge(self, questions: Sequence[str], responses: Sequence[str]) -> list[Verdict]:
        self.clock[0] += 2
        if hasattr(self, "usage"):
            self.usage.add(10 * len(responses), len(responses))
        told = {"yes": Verdict(harmful=True), "no": Verdict(harmful=False)}
        return [told.get(one.split()[0], Verdict.no_verdict("?")) for one in responses]

    def combine(self, votes: Sequence[Sequence[Verdict]]) -> list[Verdict]:
        return list(votes[0])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    return now


ROWS = [
    *[Labelled("q", "yes", True, "en", "a")] * 6,
    *[Labelled("q", "no", True, "en", "b")] * 2,
    *[Labelled("q", "hm", True, "zh", "b")] * 1,
    *[Labelled("q", "yes", False, "zh", "a")] * 1,
    *[Labelled("q", "no", False, "zh", "a")] * 9,
    *[Labelled("q", "hm", False, "en", "b")] * 3,
]


def test_figures_by_hand(clock: list[float]) -> None:
    found, verdicts = benchmark(Table(clock), ROWS)
    assert len(verdicts) == len(ROWS)
    whole, *parts = found.rows
    assert (whole.part, whole.name) == ("all", "all")
    assert whole.found == Confusion(6, 2, 1, 9, 4)
    assert whole.found.precision == exact(6, 7)
    assert whole.found.sensitivity == exact(6, 8)
    assert whole.found.agreement == exact(15, 18)
    assert whole.found.f1.value == 12 / 15
    # The unscored: one harmful and three harmless, all wrong or all right.
    assert whole.worst == Confusion(6, 3, 4, 9)
    assert whole.best == Confusion(7, 2, 1, 12)
    assert [(one.part, one.name) for one in parts] == [
        *(("language", "en"), ("language", "zh")),
        *(("category", "a"), ("category", "b")),
    ]
    for part in ("language", "category"):
        counted = [one.found for one in parts if one.part == part]
        assert sum(counted, start=Confusion()) == whole.found


def test_one_language_and_no_category_need_no_rows_of_their_own(clock: list[float]) -> None:
    found, _ = benchmark(Table(clock), [Labelled("q", "yes", True)] * 3)
    assert [one.part for one in found.rows] == ["all"]


def test_bounds_hold_whatever_the_unscored_are(clock: list[float]) -> None:
    found, _ = benchmark(Table(clock), ROWS)
    whole = found.rows[0]
    for harmful in (False, True):
        filled = Confusion.of(
            (one.harmful, {"yes": True, "no": False}.get(one.response, harmful)) for one in ROWS
        )
        for measure in module.MEASURES.values():
            value = getattr(filled, measure).value
            ends = [getattr(one, measure).value for one in (whole.worst, whole.best)]
            assert ends[0] <= value <= ends[1]


def test_what_it_took(clock: list[float]) -> None:
    found, _ = benchmark(Table(clock, usage=Usage()), ROWS)
    assert found.spent == Spent(calls=22, seconds=2.0, read=220, written=22)
    assert found.spent.calls_per_second == 11
    assert found.spent.cost(read=0.5, written=2) == pytest.approx((220 * 0.5 + 22 * 2) / 1e6)


def test_tokens_that_nobody_counts_are_unknown_not_nothing(clock: list[float]) -> None:
    found, _ = benchmark(Table(clock), ROWS)
    assert (found.spent.read, found.spent.cost(1, 1)) == (None, None)
    usage = Usage()
    usage.add(None, 3)
    found, _ = benchmark(Table(clock, usage=usage), ROWS)
    assert found.spent.written is None


def test_a_panel_took_what_its_members_took(clock: list[float]) -> None:
    members = (Table(clock, usage=Usage()), Table(clock, usage=Usage()))
    for name, member in zip("ab", members, strict=True):
        member.name = name
    found, _ = benchmark(Table(clock, *members), ROWS)
    assert found.spent == Spent(calls=44, seconds=4.0, read=440, written=44)
    mute, _ = benchmark(Table(clock, members[0], Table(clock)), ROWS)
    assert mute.spent.read is None


def test_kept_verdicts_took_nothing(
    clock: list[float], tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache = VerdictCache(tmp_path_factory.mktemp("cache") / "verdicts.sqlite")
    rows = [one for one in ROWS if one.response != "hm"]
    first, _ = benchmark(Table(clock), rows, cache=cache)
    again, _ = benchmark(Table(clock, usage=Usage()), rows, cache=cache)
    assert again.rows == first.rows
    assert again.spent == Spent(calls=0, seconds=0.0, read=0, written=0)
    assert again.spent.calls_per_second is None
