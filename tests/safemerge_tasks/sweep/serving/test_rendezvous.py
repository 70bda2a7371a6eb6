"""Members' questions are asked together, and nobody waits for ever."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from safemerge_tasks.sweep.serving.rendezvous import Ask, Rendezvous


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Any:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def asking(rounds: Sequence[Sequence[str]], answers: list[str]) -> Callable[[Ask[str, str]], None]:
    def member(ask: Ask[str, str]) -> None:
        for questions in rounds:
            answers.extend(ask(questions))

    return member


class Engine:
    """Answers in capitals and notes what came together."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.threads: set[int] = set()

    def __call__(self, questions: list[str]) -> list[str]:
        self.batches.append(questions)
        self.threads.add(threading.get_ident())
        return [question.upper() for question in questions]


def test_all_members_questions_go_in_one_batch_in_the_members_order() -> None:
    engine = Engine()
    got: dict[str, list[str]] = {name: [] for name in "abc"}
    members = {name: asking([[f"{name}1", f"{name}2"]], got[name]) for name in got}
    assert Rendezvous(engine).run(members) == {}
    assert engine.batches == [["a1", "a2", "b1", "b2", "c1", "c2"]]
    assert got == {name: [f"{name.upper()}1", f"{name.upper()}2"] for name in "abc"}


def test_members_may_ask_different_numbers_of_questions_and_times() -> None:
    engine = Engine()
    long: list[str] = []
    short: list[str] = []
    silent: list[str] = []
    Rendezvous(engine).run(
        {
            "long": asking([["l1"], ["l2", "l3"], ["l4"]], long),
            "short": asking([["s1", "s2"]], short),
            "silent": asking([], silent),
        }
    )
    assert engine.batches == [["l1", "s1", "s2"], ["l2", "l3"], ["l4"]]
    assert long == ["L1", "L2", "L3", "L4"]
    assert short == ["S1", "S2"]
    assert silent == []


def test_the_engine_runs_in_the_callers_thread() -> None:
    engine = Engine()
    Rendezvous(engine).run({name: asking([["x"]], []) for name in "ab"})
    assert engine.threads == {threading.get_ident()}


def test_only_one_member_runs_at_a_time() -> None:
    inside: list[str] = []
    most: list[int] = []

    def member(name: str) -> Callable[[Ask[str, str]], None]:
        def run(ask: Ask[str, str]) -> None:
            for _ in range(50):
                inside.append(name)
                most.append(len(inside))
                inside.remove(name)
            ask([name])

        return run

    Rendezvous(Engine()).run({name: member(name) for name in "abcdef"})
    assert max(most) == 1


def test_a_member_that_fails_stops_no_other() -> None:
    got: list[str] = []

    def broken(ask: Ask[str, str]) -> None:
        ask(["b1"])
        raise ValueError("broken between two questions")

    errors = Rendezvous(Engine()).run({"broken": broken, "sound": asking([["s1"], ["s2"]], got)})
    assert got == ["S1", "S2"]
    assert list(errors) == ["broken"]
    assert isinstance(errors["broken"], ValueError)


def test_an_error_of_the_engine_reaches_all_who_wait_and_only_them() -> None:
    caught: list[str] = []

    def engine(questions: list[str]) -> list[str]:
        if "bad" in questions:
            raise RuntimeError("out of memory")
        return questions

    def member(name: str, rounds: list[str]) -> Callable[[Ask[str, str]], None]:
        def run(ask: Ask[str, str]) -> None:
            for question in rounds:
                try:
                    ask([question])
                except RuntimeError:
                    caught.append(name)
                    raise

        return run

    errors = Rendezvous(engine).run(
        {
            "a": member("a", ["one", "bad"]),
            "b": member("b", ["two", "three"]),
            "c": member("c", ["x"]),
        }
    )
    assert sorted(caught) == ["a", "b"]
    assert errors.keys() == {"a", "b"}


def test_too_few_answers_are_an_error_of_every_member() -> None:
    errors = Rendezvous(lambda questions: questions[1:]).run(
        {name: asking([["x"]], []) for name in "ab"}
    )
    assert {str(error) for error in errors.values()} == {"2 questions got 1 answers"}


def test_an_interruption_ends_all_members_and_is_raised() -> None:
    ended: list[str] = []

    def engine(questions: list[str]) -> list[str]:
        raise KeyboardInterrupt

    def member(name: str) -> Callable[[Ask[str, str]], None]:
        def run(ask: Ask[str, str]) -> None:
            try:
                ask([name])
            finally:
                ended.append(name)

        return run

    with pytest.raises(KeyboardInterrupt):
        Rendezvous(engine).run({name: member(name) for name in "abc"})
    assert sorted(ended) == ["a", "b", "c"]
