"""What threads share: the order of sums, and the news of an error."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from merge.engine.threads import OrderedSum, Team, WholeSum


def test_a_sum_does_not_depend_on_who_is_first():
    """1e20 swallows 1 and -1e20 gives it back or not, by the order."""
    parts = [torch.tensor([value], dtype=torch.float64) for value in (1e20, 1.0, -1e20, 3.0)]
    results = set()
    for order in ((0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)):
        total = OrderedSum()
        for number in order:
            total.add(number, parts[number].clone())
        results.add(float(total.value()))
    assert results == {3.0}


def test_whole_numbers_are_added_by_each_thread_for_itself():
    total, ready = WholeSum(), threading.Barrier(2)

    def add(number):
        if number < 2:
            ready.wait()
        total.add(number, torch.tensor([number, 1]))

    with ThreadPoolExecutor(2) as pool:
        Team(pool, 2).run(add, range(100))
    assert total.value().tolist() == [99 * 50, 100]
    # Several tensors may share a sum, and each asks for it.
    assert total.value().tolist() == [99 * 50, 100]


def test_an_error_in_one_thread_stops_the_others():
    """Also where the first thread, whose end is waited for first, has no error."""
    done, both = [], threading.Barrier(2)

    def work(item):
        if item < 2:
            both.wait()
        if threading.current_thread().name.endswith("_1"):
            raise ValueError("the second thread")
        done.append(item)
        # The other thread's error is on its way.
        threading.Event().wait(0.02)

    with ThreadPoolExecutor(2) as pool, pytest.raises(ValueError, match="the second thread"):
        Team(pool, 2).run(work, range(200))
    assert len(done) < 100
