"""Finding the steps of a failed job that are to blame."""

from collections import deque
from collections.abc import Callable

from safemerge_tasks.sweep.blame import Blame, Failure
from safemerge_tasks.sweep.steps import Step
from tests.safemerge_tasks.sweep.fake_runner import step

Fails = Callable[[tuple[Step, ...]], str | None]


class Trial:
    """Tries jobs one after the other, each of which fails as a whole or not at all."""

    def __init__(self, count: int, fails: Fails) -> None:
        self.steps = tuple(step(f"answer-{n}") for n in range(count))
        self.failed: dict[str, str] = {}
        self.tried: list[int] = []
        self._fails = fails
        self._queue: deque[tuple[Step, ...]] = deque([self.steps])
        self._blame = Blame(self.failed.__setitem__, self._queue.append, self._withdraw)

    def run(self) -> "Trial":
        while self._queue:
            job = self._queue.popleft()
            self.tried.append(len(job))
            reason = self._fails(job)
            left = job if reason else ()
            self._blame.ended(job, Failure(left, reason or "", ours=bool(reason), whole=bool(left)))
        return self

    def _withdraw(self, keys: tuple[str, ...]) -> bool:
        for job in self._queue:
            if tuple(one.key for one in job) == keys:
                self._queue.remove(job)
                return True
        return False


def bad(*keys: str) -> Fails:
    def fails(job: tuple[Step, ...]) -> str | None:
        return next((f"because of {one.key}" for one in job if one.key in keys), None)

    return fails


def test_one_of_eight_takes_three_halvings() -> None:
    trial = Trial(8, bad("answer-5")).run()
    assert trial.failed == {"answer-5": "because of answer-5"}
    assert trial.tried == [8, 4, 4, 2, 2, 1, 1]


def test_each_of_two_fails_for_its_own_reason() -> None:
    trial = Trial(8, bad("answer-0", "answer-6")).run()
    assert trial.failed == {f"answer-{n}": f"because of answer-{n}" for n in (0, 6)}


def test_a_reason_that_both_halves_repeat_is_everybody_s() -> None:
    trial = Trial(8, lambda _job: "no such judge").run()
    assert trial.failed == {one.key: "no such judge" for one in trial.steps}
    assert trial.tried == [8, 4, 4]


def test_a_crash_of_everything_is_given_up_after_the_quarters() -> None:
    trial = Trial(64, lambda job: f"crashed at {job[0].key}").run()
    assert set(trial.failed) == {one.key for one in trial.steps}
    assert trial.tried == [64, 32, 32, 16, 16, 16, 16]


def test_what_is_tried_again_as_it_is_keeps_its_place_in_the_search() -> None:
    halves: list[tuple[Step, ...]] = []
    failed: dict[str, str] = {}
    blame = Blame(failed.__setitem__, halves.append, lambda _keys: False)
    steps = tuple(step(f"answer-{n}") for n in range(4))
    blame.ended(steps, Failure(steps, "crashed", ours=False, whole=True))
    first, second = halves
    # The first half lost its machine after one step.
    blame.tried_again(first, first[1:])
    blame.ended(first[1:], Failure(first[1:], "crashed", ours=False, whole=True))
    assert failed == {}
    blame.ended(second, Failure((), "", ours=False, whole=False))
    assert failed == {"answer-1": "crashed"}
