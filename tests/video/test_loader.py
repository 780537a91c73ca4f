from __future__ import annotations

import threading
import time

import pytest

from c3dhash.errors import UsageError
from c3dhash.video.loader import prefetch, stop_point


def test_results_come_in_order():
    def slow_first(number: int) -> int:
        time.sleep(0.02 if number % 3 == 0 else 0)
        return number * number

    assert list(prefetch(slow_first, range(20), workers=4)) == [number * number for number in range(20)]


def test_no_more_than_asked_for_is_ahead():
    started = []
    results = prefetch(started.append, range(100), workers=2, ahead=3)
    next(results)
    time.sleep(0.05)
    assert len(started) <= 5
    results.close()


def test_an_error_is_raised_in_its_place():
    def fail_at_two(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        return number

    results = prefetch(fail_at_two, range(5), workers=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)


def test_an_abandoned_iterator_leaves_no_threads():
    results = prefetch(lambda number: number, range(1000), workers=3)
    next(results)
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("c3dhash-loader")]


@pytest.mark.parametrize("workers", [0, -1, 257])
def test_workers_out_of_range(workers):
    with pytest.raises(UsageError, match=rf"workers \({workers}\) must be between 1 and 256; the default is 2"):
        prefetch(str, [1], workers=workers)


def test_long_work_ends_with_its_consumer():
    has_begun, rounds = threading.Event(), []

    def work_for_ever(number: int) -> int:
        while number:
            stop_point()
            has_begun.set()
            rounds.append(number)
        return number

    stop_point()  # a thread that nobody stops
    results = prefetch(work_for_ever, range(1000), workers=2)
    assert next(results) == 0
    assert has_begun.wait(20)
    results.close()  # waits for its threads
    assert rounds


def test_what_must_be_ended_is_ended_before_threads_are_waited_for():
    begun, gate = threading.Event(), threading.Event()

    def work(number):
        if number == 0:
            return begun.wait(20)
        begun.set()
        return gate.wait(20)

    results = prefetch(work, range(2), workers=2, on_stop=gate.set)
    assert next(results)
    start = time.monotonic()
    results.close()
    assert gate.is_set() and time.monotonic() - start < 10
