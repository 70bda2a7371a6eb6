from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.judges import Verdict, VerdictCache, judge_responses


class Counting:
    """A judge that counts what it was asked, and says what a test wants."""

    name = "counting"
    empty = Verdict(harmful=False, complied=False)
    languages = None
    uses_accelerator = False
    deferred = False
    members = ()

    def __init__(self, revision: str = "1", verdict: Verdict | None = None) -> None:
        self.revision = revision
        self.verdict = verdict or Verdict(harmful=True, complied=True, raw="yes", codes="S1,S2")
        self.asked: list[str] = []
        self.opened = 0

    def check(self) -> None: ...

    def open(self) -> None:
        self.opened += 1

    def close(self) -> None: ...

    def identity(self) -> dict[str, Any]:
        return {"name": self.name}

    def cache_key(self) -> dict[str, Any] | None:
        return {"name": self.name, "revision": self.revision}

    def judge(self, questions: Sequence[str], responses: Sequence[str]) -> list[Verdict]:
        self.asked += responses
        return [self.verdict] * len(responses)


@pytest.fixture
def cache(tmp_path: Path) -> VerdictCache:
    return VerdictCache(tmp_path / "cache" / "verdicts.sqlite")


def test_a_second_run_makes_no_call_and_loads_nothing(cache: VerdictCache) -> None:
    first, second = Counting(), Counting()
    texts = ["a", "b", "", "lone \ud800 surrogate"]
    verdicts = judge_responses(first, ["q"] * 4, texts, cache=cache)
    assert judge_responses(second, ["q"] * 4, texts, cache=cache) == verdicts
    assert len(first.asked) == 3
    assert second.asked == []
    assert second.opened == 0


def test_only_what_is_new_is_judged(cache: VerdictCache) -> None:
    judge_responses(Counting(), ["q", "q"], ["a", "b"], cache=cache)
    judge = Counting()
    judge_responses(judge, ["q", "other", "q"], ["a", "a", "c"], cache=cache)
    assert judge.asked == ["a", "c"]


def test_another_revision_judges_again(cache: VerdictCache) -> None:
    judge_responses(Counting("1"), ["q"], ["a"], cache=cache)
    judge = Counting("2")
    judge_responses(judge, ["q"], ["a"], cache=cache)
    assert judge.asked == ["a"]


def test_question_and_response_do_not_run_together(cache: VerdictCache) -> None:
    judge_responses(Counting(), ["ab"], ["c"], cache=cache)
    judge = Counting()
    judge_responses(judge, ["a"], ["bc"], cache=cache)
    assert judge.asked == ["bc"]


def test_failures_are_not_kept(cache: VerdictCache) -> None:
    failing = Counting(verdict=Verdict.no_verdict("no answer", pending=True))
    judge_responses(failing, ["q"], ["a"], cache=cache)
    judge = Counting()
    assert judge_responses(judge, ["q"], ["a"], cache=cache)[0].harmful
    assert judge.asked == ["a"]


def test_the_texts_are_not_in_the_file(cache: VerdictCache, tmp_path: Path) -> None:
    judge_responses(Counting(), ["the question"], ["the response"], cache=cache)
    content = (tmp_path / "cache" / "verdicts.sqlite").read_bytes()
    assert b"the question" not in content
    assert b"the response" not in content


@pytest.mark.parametrize("broken", [b"this is no database" * 100, b""])
def test_a_broken_cache_costs_no_verdict(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: bytes
) -> None:
    path = tmp_path / "verdicts.sqlite"
    path.write_bytes(broken)
    cache = VerdictCache(path)
    judge = Counting()
    assert judge_responses(judge, ["q"], ["a"], cache=cache)[0].harmful
    assert judge.asked == ["a"]
    assert str(path) in caplog.text
