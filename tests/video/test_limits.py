from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from videos import claim_avi_frames, write_growing_avi, write_video

from c3dhash.errors import VideoError
from c3dhash.video import reader
from c3dhash.video.isolation import shared_pool
from c3dhash.video.limits import HeaderFacts, Limits, header_facts
from c3dhash.video.reader import read_clips
from c3dhash.video.views import read_views

LIMITS = Limits(max_pixels=20_000, max_seconds=3.0, max_work_seconds=60.0)


@pytest.fixture(params=["with PyAV", "with OpenCV"])
def road(request, monkeypatch):
    """Both ways of reading."""
    if request.param == "with OpenCV":
        monkeypatch.setattr(reader, "_packets", lambda: None)
    elif reader._packets() is None:
        pytest.skip("PyAV is not installed")
    return request.param


def test_what_is_within_them_is_read_as_ever(road, tmp_path):
    video = write_video(tmp_path / "a.mp4", 50)
    with_limits, without = (
        list(read_clips(video, num_frames=4, window_seconds=1, limits=limits)) for limits in (LIMITS, None)
    )
    assert len(with_limits) == 2
    for clip, other in zip(with_limits, without, strict=True):
        assert np.array_equal(clip.frames, other.frames)


def test_too_long_by_the_header(road, tmp_path):
    with pytest.raises(VideoError, match=r"a\.mp4' lasts 4 s or more, at most 3 s are taken here"):
        list(read_clips(write_video(tmp_path / "a.mp4", 100), num_frames=4, limits=LIMITS))


def test_too_long_by_its_frames(road, tmp_path):
    video = claim_avi_frames(write_video(tmp_path / "lie.avi", 200), 20)
    given = []
    with pytest.raises(VideoError, match=r"lie\.avi' lasts 3 s or more"):
        for clip in read_clips(video, num_frames=4, window_seconds=1, limits=LIMITS):
            given.append(clip)
    assert len(given) <= 3


def test_too_large(road, tmp_path):
    video = write_video(tmp_path / "a.mp4", 5, width_px=320, height_px=240)
    with pytest.raises(VideoError, match=r"a\.mp4' has pictures of 320 x 240 px, at most 20,000 pixels"):
        list(read_clips(video, num_frames=4, limits=LIMITS))


def test_pictures_that_grow(tmp_path):
    pytest.importorskip("av")
    video = write_growing_avi(tmp_path / "a.avi")
    assert facts(video).width_px == 160
    with pytest.raises(VideoError, match=r"a\.avi' has pictures of 320 x 192 px, at most 20,000 pixels"):
        list(read_clips(video, num_frames=4, limits=LIMITS))


def test_a_line(road, tmp_path):
    video = write_video(tmp_path / "a.avi", 5, width_px=1000, height_px=16)
    with pytest.raises(VideoError, match="no side may be more than 20 times the other"):
        list(read_clips(video, num_frames=4, limits=LIMITS))


def test_work_is_counted_in_the_process_that_does_it(tmp_path):
    video = write_video(tmp_path / "a.mp4", 60)
    options = {"size": 16, "num_views": 1, "num_frames": 4, "limits": Limits(10**6, 60.0, 0.0)}
    with pytest.raises(VideoError, match="takes more than 0 s to decode"):
        list(shared_pool().stream(read_views, video, **options))


def facts(path: Path, limits: Limits = LIMITS) -> HeaderFacts:
    return shared_pool().call(header_facts, path, limits=limits)


def test_what_a_header_says(tmp_path):
    video = write_video(tmp_path / "a.mp4", 50)
    assert facts(video) == HeaderFacts(160, 96, 2.0, False)
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((50, 70, 3), np.uint8))
    assert facts(tmp_path / "a.png") == HeaderFacts(70, 50, 0.0, True)
    (tmp_path / "b.png").write_bytes(b"\x89PNG and nothing more")
    with pytest.raises(VideoError, match=r"picture '.*b\.png' is damaged or no picture"):
        facts(tmp_path / "b.png")
    (tmp_path / "c.mp4").write_bytes(b"a text that is no video at all")
    with pytest.raises(VideoError, match="is a text or a playlist"):
        facts(tmp_path / "c.mp4")
    with pytest.raises(VideoError, match="has pictures of 160 x 96 px, at most 100 pixels"):
        facts(video, Limits(100, 60, 60))


def test_a_picture_that_is_too_large_is_not_decoded(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((300, 300, 3), np.uint8))
    options = {"size": 16, "num_views": 1, "num_frames": 4, "take_stills": True, "limits": LIMITS}
    with pytest.raises(VideoError, match="has pictures of 300 x 300 px, at most 20,000 pixels"):
        list(read_views(tmp_path / "a.png", **options))
