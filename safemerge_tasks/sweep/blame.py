"""Which steps of a failed job are to blame: found by halving it, so that the others are done."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from safemerge_tasks.sweep.steps import Step

# A whole, its halves and its quarters: what fails as often without a success is no single step's.
_HOPELESS = 7


@dataclass(frozen=True)
class Failure:
    """What a failed job left undone, and why."""

    steps: tuple[Step, ...]
    reason: str
    ours: bool
    whole: bool


@dataclass
class _Search:
    """The search for those steps of a failed job that are to blame."""

    failures: int = 1
    successes: int = 0

    def learn(self, failure: Failure) -> None:
        """Count a part of the job that ended."""
        self.failures += failure.whole
        self.successes += not failure.whole

    @property
    def hopeless(self) -> bool:
        """Whether everything fails, so that looking further only costs time."""
        return self.failures >= _HOPELESS and not self.successes


@dataclass(frozen=True)
class _Split:
    """A failed job cut in two, to find out which of its steps is to blame."""

    cause: Failure
    search: _Search
    halves: list[Failure] = field(default_factory=list)

    @property
    def systematic(self) -> bool:
        """Whether both halves fail as the whole did, so that it is none of their steps."""
        return all(
            half.whole and half.ours and half.reason == self.cause.reason for half in self.halves
        )


class Blame:
    """Decides what the failure of a job means for each of its steps.

    Args:
        fail: told the key of a step that failed, and why.
        again: told steps that are to be tried as a job of their own.
        withdraw: told the keys of such a job; returns whether it had not been started, and is not.
    """

    def __init__(
        self,
        fail: Callable[[str, str], None],
        again: Callable[[tuple[Step, ...]], None],
        withdraw: Callable[[tuple[str, ...]], bool],
    ) -> None:
        self._fail = fail
        self._again = again
        self._withdraw = withdraw
        self._splits: dict[tuple[str, ...], _Split] = {}

    def tried_again(self, job: Sequence[Step], left: Sequence[Step]) -> None:
        """Take note that what is left of a job is tried once more as it is."""
        split = self._splits.pop(_keys(job), None)
        if split:
            self._splits[_keys(left)] = split

    def ended(self, job: Sequence[Step], failure: Failure) -> None:
        """Decide what a job's end means for the steps that it left undone, if any."""
        split = self._splits.pop(_keys(job), None)
        if split is None:
            self._blame(failure, _Search())
            return
        split.halves.append(failure)
        split.search.learn(failure)
        if split.search.hopeless:
            self._give_up(split, failure.reason)
            return
        if len(split.halves) < 2:
            # What is left of this half stays "running" until the other half tells more.
            return
        for half in split.halves:
            if split.systematic:
                for step in half.steps:
                    self._fail(step.key, half.reason)
            else:
                self._blame(half, split.search)

    def _give_up(self, split: _Split, reason: str) -> None:
        """Fail a part of a job of which every part fails, and the parts that are yet to start."""
        given_up = [split]
        for keys, other in list(self._splits.items()):
            if other.search is split.search and self._withdraw(keys):
                del self._splits[keys]
                given_up.append(other)
                for key in keys:
                    self._fail(key, reason)
        for half in (half for one in given_up for half in one.halves):
            for step in half.steps:
                self._fail(step.key, half.reason)

    def _blame(self, failure: Failure, search: _Search) -> None:
        """Fail a step that failed alone; of several, find the one to blame."""
        if len(failure.steps) == 1:
            self._fail(failure.steps[0].key, failure.reason)
        elif failure.steps:
            split = _Split(failure, search)
            middle = len(failure.steps) // 2
            for part in (failure.steps[:middle], failure.steps[middle:]):
                self._splits[_keys(part)] = split
                self._again(part)


def _keys(steps: Sequence[Step]) -> tuple[str, ...]:
    return tuple(step.key for step in steps)
