from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from c3dhash.records import CodeBatch
from c3dhash.report.previews import Pictures
from c3dhash.web import remembered as module
from c3dhash.web.encoding import Job, Kind
from c3dhash.web.refusals import Refused
from c3dhash.web.remembered import Memory, between, chosen

STARTS = np.arange(4, dtype=np.float64)
CODES = CodeBatch(np.arange(8, dtype=np.uint8).reshape(4, 2), 16, STARTS, STARTS + 1)


@pytest.mark.parametrize(
    "start, end, windows",
    [
        (None, None, [0, 1, 2, 3]),
        (1, 3, [1, 2]),
        (0.5, 2.4, [0, 1]),  # half of the first, four tenths of the third
        (1.2, 1.4, [1]),
        (1.9, 2.1, [1, 2]),  # as much of both
        (3.9, None, [3]),
        (4, 5, []),
    ],
)
def test_windows_of_a_stretch(start, end, windows):
    assert between(CODES, start_seconds=start, end_seconds=end).tolist() == windows


def test_some_windows_of_a_video():
    some = chosen(CODES, np.array([1, 3]))
    assert some.codes.tolist() == [[2, 3], [6, 7]] and some.start_seconds.tolist() == [1, 3]


def of(number: int) -> Job:
    return Job(Path(str(number)), Kind("query"), 1)


def test_what_waits_is_not_forgotten():
    memory = Memory(max_queries=2)
    waiting = [memory.add(str(number), of(number)) for number in range(3)]
    assert len(memory) == 3
    waiting[1].finish([CODES])
    memory.add("more", of(4))
    assert memory.get(waiting[0].id) is waiting[0]
    with pytest.raises(Refused, match="no query has this number"):
        memory.get(waiting[1].id)


def test_pictures_of_what_was_not_asked_for_go_first(monkeypatch):
    monkeypatch.setattr(module, "MAX_PICTURES_BYTES", 250)
    memory = Memory(max_queries=10)
    first, second = memory.add("a", of(1)), memory.add("b", of(2))
    memory.add_picture(first, 0, Pictures(bytes(50), bytes(50)))
    memory.add_picture(second, 0, Pictures(bytes(50), bytes(50)))
    memory.get(first.id)
    memory.add_picture(first, 1, Pictures(bytes(50), bytes(50)))
    assert (len(first.pictures), len(second.pictures)) == (2, 0)
