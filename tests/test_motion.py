"""The script that shows what order is worth."""

from __future__ import annotations

import motion as script
import numpy as np
import pytest
from click.testing import CliRunner

from c3dhash.video.cache import FrameCache
from c3dhash.video.clips import ClipReader
from c3dhash.video.optical_flow import flow_of


@pytest.mark.slow
def test_the_table(tmp_path):
    """Twice: the second time nothing is trained."""
    arguments = [str(tmp_path / "out"), "--videos", "2", "--epochs", "1"]
    result = CliRunner().invoke(script.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    rows = [line.split(" | ") for line in result.stdout.splitlines() if line.startswith("| ")][1:]
    assert [row[0].removeprefix("| ") for row in rows] == [*script.NETWORKS, "both streams"]
    assert all(0 <= float(value.removesuffix(" |")) <= 1 for row in rows for value in row[1:])
    before = (tmp_path / "out" / "i3d_flow-2-1-0" / "last.pt").stat().st_mtime_ns
    again = CliRunner().invoke(script.main, arguments, catch_exceptions=False)
    assert again.stdout.splitlines()[-6:] == result.stdout.splitlines()[-6:]
    assert (tmp_path / "out" / "i3d_flow-2-1-0" / "last.pt").stat().st_mtime_ns == before


def test_shuffled_frames_are_the_same_frames(motion, tmp_path):
    cache, sample = FrameCache(tmp_path, max_bytes=1 << 28), motion.split("query")[0]
    (clip,), (shuffled,) = (kind(8, 32, cache).evaluation_clips(sample) for kind in (ClipReader, script.ShuffledReader))
    assert not np.array_equal(clip, shuffled)
    assert sorted(frame.tobytes() for frame in clip) == sorted(frame.tobytes() for frame in shuffled)
    reader = script.ShuffledReader(8, 32, cache)
    assert np.array_equal(shuffled, reader.evaluation_clips(sample)[0]), "the same permutation each time"


def test_flow_is_that_of_shuffled_frames(motion, tmp_path):
    cache, sample = FrameCache(tmp_path, max_bytes=1 << 28), motion.split("query")[0]
    pictures, flow = script.ShuffledReader(9, 32, cache), script.ShuffledReader(8, 32, cache, "flow")
    plan = flow._plan(sample, 1)
    (frames,) = pictures._clips(sample, pictures._plan(sample, 1))
    assert np.array_equal(flow._clips(sample, plan)[0], flow_of(frames))
