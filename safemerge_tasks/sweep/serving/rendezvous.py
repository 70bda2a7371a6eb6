"""Several threads whose questions are asked together."""

import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, Generic, TypeVar

QueryT = TypeVar("QueryT")
ReplyT = TypeVar("ReplyT")

Ask = Callable[[Sequence[QueryT]], list[ReplyT]]
"""What a member asks with: blocks until its questions are answered."""

Member = Callable[[Ask[Any, Any]], None]


class Rendezvous(Generic[QueryT, ReplyT]):
    """Runs members in threads of their own, and asks once every running member waits.

    Only one thread runs at any moment, the others wait for the one lock: members share a tokenizer,
    which is not safe to use from two threads at once. Questions are put in the thread that called
    `run`, because an engine belongs to the thread that made it (a CUDA device, OpenMP's workers).
    """

    def __init__(self, ask: Callable[[list[QueryT]], Sequence[ReplyT]]) -> None:
        """Make a rendezvous.

        Args:
            ask: answers the questions of several members, which come member by member, in order.
        """
        self._ask = ask
        self._changed = threading.Condition()
        self._running: set[str] = set()
        self._waiting: dict[str, list[QueryT]] = {}
        self._answers: dict[str, list[ReplyT] | BaseException] = {}
        self._errors: dict[str, BaseException] = {}
        self._traces: dict[int, TracebackType | None] = {}

    def run(self, members: Mapping[str, Member]) -> dict[str, BaseException]:
        """Run all members to their ends; return the errors of those that raised.

        An error of `ask` is raised in every member that waits for it. What is no `Exception`, such
        as Ctrl-C, ends the members and is raised here.
        """
        self._running = set(members)
        threads = [
            threading.Thread(target=self._live, args=item, name=item[0]) for item in members.items()
        ]
        with self._changed:
            for thread in threads:
                thread.start()
            stopped: BaseException | None = None
            while self._running:
                try:
                    self._changed.wait_for(lambda: self._waiting.keys() == self._running)
                    # In the order of the members, however their threads were scheduled.
                    self._answer_all([one for one in members if one in self._running], stopped)
                except BaseException as error:
                    stopped = error
        for thread in threads:
            thread.join()
        if stopped is not None:
            raise stopped
        return dict(self._errors)

    def _answer_all(self, names: Sequence[str], stopped: BaseException | None) -> None:
        """Answer everyone who waits, or have them raise."""
        try:
            if stopped is not None:
                raise stopped
            asked = [question for name in names for question in self._waiting[name]]
            answers = list(self._ask(asked)) if names else []
            if len(answers) != len(asked):
                raise RuntimeError(f"{len(asked)} questions got {len(answers)} answers")
            left = iter(answers)
            self._answers |= {n: list(islice(left, len(self._waiting[n]))) for n in names}
        except BaseException as error:
            self._answers |= dict.fromkeys(names, error)
            self._traces[id(error)] = error.__traceback__
            if not isinstance(error, Exception):
                raise
        finally:
            self._waiting.clear()
            self._changed.notify_all()

    def _live(self, name: str, member: Member) -> None:
        def ask(questions: Sequence[QueryT]) -> list[ReplyT]:
            self._waiting[name] = list(questions)
            self._changed.notify_all()
            self._changed.wait_for(lambda: name in self._answers)
            answers = self._answers.pop(name)
            if isinstance(answers, BaseException):
                # Every member raises the same error; its traceback must not grow with each.
                raise answers.with_traceback(self._traces[id(answers)])
            return answers

        with self._changed:
            try:
                member(ask)
            except BaseException as error:
                self._errors[name] = error
            finally:
                self._running.discard(name)
                self._changed.notify_all()
