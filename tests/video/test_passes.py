"""How much OpenCV decodes for a clip; that the clips are right, test_video.py says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from videos import (
    FAR,
    H264,
    VARIABLE,
    check_clip,
    check_dense,
    claim_avi_frames,
    frame_numbers,
    needs_ffmpeg,
    regular,
    slow_then_fast,
    write_ffmpeg,
    write_video,
)

from c3dhash.errors import VideoError
from c3dhash.records import Segment
from c3dhash.video import passes
from c3dhash.video.clip_plan import Plan
from c3dhash.video.decoder import Decoder


@pytest.fixture
def grabs(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often files are opened, frames grabbed, pictures taken. All of it really happens."""
    counter: Counter[str] = Counter()
    begin, times, picture = Decoder.__init__, Decoder.times, Decoder.picture

    def counting_begin(self: Decoder, *args: object, **options: object) -> None:
        counter["opened"] += 1
        begin(self, *args, **options)

    def counting_times(self: Decoder):
        for time in times(self):
            counter["grabbed"] += 1
            yield time

    def counting_picture(self: Decoder) -> np.ndarray:
        counter["pictures"] += 1
        return picture(self)

    monkeypatch.setattr(Decoder, "__init__", counting_begin)
    monkeypatch.setattr(Decoder, "times", counting_times)
    monkeypatch.setattr(Decoder, "picture", counting_picture)
    return counter


def test_frames_that_come_sooner_than_claimed_do_not_pile_up(
    tmp_path: Path, grabs: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mp4", 200)
    held: list[int] = []
    make_clip = passes.make_clip

    def watching_make_clip(planned, times, kept):
        held.append(len(kept))
        return make_clip(planned, times, kept)

    monkeypatch.setattr(passes, "make_clip", watching_make_clip)
    with Decoder(path) as decoder:
        decoder.frame_seconds = 0.4  # as if the header claimed 2.5 frames per second
        clips = []
        with pytest.raises(StopIteration):
            reading = passes._first_pass(decoder, Plan(4, None, 4.0, 4.0), [])
            while True:
                clips.append(next(reading))
    for clip, start in zip(clips, [0, 4], strict=True):
        check_clip(clip, regular(200), (start, start + 4))
    assert max(held) <= 5
    assert grabs["pictures"] > 50


def test_good_files_cost_one_pass_and_no_extra_picture(tmp_path: Path, grabs: Counter[str]) -> None:
    list(passes.read(write_video(tmp_path / "a.mp4", 50), Plan(16)))
    assert grabs == {"opened": 1, "grabbed": 50, "pictures": 16}


def test_stacks_cost_one_pass(tmp_path: Path, grabs: Counter[str]) -> None:
    """Of 50 frames, 4 stacks of 6 begin at floor((i + 0.5) * 45 / 4)."""
    (clip,) = passes.read(write_video(tmp_path / "a.mp4", 50), Plan(4, stack=6))
    assert frame_numbers(clip.frames) == [first + place for first in (5, 16, 28, 39) for place in range(6)]
    assert clip.stack == 6 and grabs == {"opened": 1, "grabbed": 50, "pictures": 24}


def test_stacks_of_windows_that_overlap(tmp_path: Path, grabs: Counter[str]) -> None:
    """Windows begin at frame 0, 10 and 20; stacks overlap in them, and begin at floor((i + 0.5) * 15 / 4) of each."""
    path = write_video(tmp_path / "a.mp4", 40)
    clips = list(passes.read(path, Plan(4, None, 0.8, 0.4, stack=6)))
    firsts = [frame_numbers(clip.frames)[::6] for clip in clips]
    assert firsts == [[start + place for place in (1, 5, 9, 13)] for start in (0, 10, 20)]
    assert grabs["opened"] == 1


@pytest.mark.parametrize(("window", "num_clips"), [(1.0, 4), (1.5, 3), (1.2774, 4), (60.0, 1)])
def test_windows_cost_one_pass(tmp_path: Path, grabs: Counter[str], window: float, num_clips: int) -> None:
    path = write_video(tmp_path / "a.mp4", 100)
    assert len(list(passes.read(path, Plan(8, None, window, window)))) == num_clips
    assert grabs["opened"] == 1
    assert grabs["pictures"] <= 8 * num_clips


def test_clips_that_overlap_are_decoded_once(tmp_path: Path, grabs: Counter[str]) -> None:
    path = write_video(tmp_path / "a.mp4", 100)
    plan = Plan(16, None, 2.0, 1.0, interval_seconds=1 / 25, clips_per_window=3)
    assert len(list(passes.read(path, plan))) == 9
    assert (grabs["opened"], grabs["grabbed"]) == (1, 100)
    assert grabs["pictures"] <= 100


@needs_ffmpeg
def test_dense_clips_of_a_far_segment(tmp_path: Path, grabs: Counter[str]) -> None:
    name, options = FAR[0]
    path = write_ffmpeg(tmp_path / name, 400, *options)
    plan = Plan(5, segment=Segment(13, 14), interval_seconds=1 / 25, clips_per_window=3)
    check_dense(list(passes.read(path, plan)), regular(400), [(13, 14)], interval=1 / 25, each=3)
    assert grabs["opened"] == 1


@needs_ffmpeg
def test_a_variable_rate_costs_two_passes(tmp_path: Path, grabs: Counter[str]) -> None:
    path = write_ffmpeg(tmp_path / "a.mp4", 60, *VARIABLE)
    (clip,) = passes.read(path, Plan(16))
    check_clip(clip, [slow_then_fast(i) for i in range(60)], (0, clip.segment.end_seconds))
    assert grabs["opened"] == 2


@pytest.mark.parametrize("claimed", [0, 10, 44])
def test_a_wrong_frame_count_costs_two_passes(tmp_path: Path, grabs: Counter[str], claimed: int) -> None:
    path = claim_avi_frames(write_video(tmp_path / "a.avi", 40), claimed)
    (clip,) = passes.read(path, Plan(16))
    check_clip(clip, regular(40), (0, 1.6))
    assert grabs["opened"] == 2


def test_a_segment_reads_no_further_than_its_end(tmp_path: Path, grabs: Counter[str]) -> None:
    path = write_video(tmp_path / "a.mp4", 200)
    (clip,) = passes.read(path, Plan(5, segment=Segment(1, 3)))
    check_clip(clip, regular(200), (1, 3))
    assert grabs == {"opened": 1, "grabbed": 76, "pictures": 5}


def test_a_file_that_shrinks_between_the_passes(tmp_path: Path) -> None:
    plan = Plan(4)
    with (
        Decoder(write_video(tmp_path / "a.mp4", 10)) as decoder,
        pytest.raises(VideoError, match=r"a\.mp4' had 20 frames, now fewer"),
    ):
        list(passes._second_pass(decoder, regular(20), plan.clips(plan.segments(0.8))))


# Segments far into a video


@needs_ffmpeg
@pytest.mark.parametrize(("name", "options"), [pytest.param(*row, id=row[0]) for row in FAR])
def test_a_far_segment_is_sought(tmp_path: Path, grabs: Counter[str], name: str, options: tuple[str, ...]) -> None:
    path = write_ffmpeg(tmp_path / name, 400, *options)
    for segment in (Segment(13.02, 14.1), Segment(12, 12.04)):
        grabs.clear()
        (clip,) = passes.read(path, Plan(5, segment=segment))
        check_clip(clip, regular(400), (segment.start_seconds, segment.end_seconds), atol=1e-3)
        assert grabs["opened"] == 1
        assert grabs["grabbed"] < 80


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "options"), [("a.avi", ("-c:v", "mpeg4")), ("a.ts", H264), ("a.mp4", ("-c:v", "mpeg4"))]
)
def test_a_far_segment_that_reaches_the_end_or_cannot_be_sought(
    tmp_path: Path, grabs: Counter[str], name: str, options: tuple[str, ...]
) -> None:
    path = write_ffmpeg(tmp_path / name, 300, *options)
    (clip,) = passes.read(path, Plan(5, segment=Segment(11, 20)))
    check_clip(clip, regular(300), (11, 12))
    assert grabs["grabbed"] >= 300
    with pytest.raises(VideoError, match=r"lasts 12\.00 s, but a segment begins at 13\.00 s"):
        list(passes.read(path, Plan(5, segment=Segment(13, 20))))


@needs_ffmpeg
def test_a_far_segment_of_a_variable_rate(tmp_path: Path, grabs: Counter[str]) -> None:
    path = write_ffmpeg(tmp_path / "a.mp4", 160, *VARIABLE)
    (clip,) = passes.read(path, Plan(9, segment=Segment(11.2, 13.9)))
    check_clip(clip, [slow_then_fast(i) for i in range(160)], (11.2, 13.9))
