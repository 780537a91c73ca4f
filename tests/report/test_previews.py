from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image
from videos import frame_number, numbered_frame, write_video

from c3dhash.errors import VideoError
from c3dhash.records import Sample, Segment
from c3dhash.report.previews import PREVIEW_FRAMES, stretch_pictures, window_pictures
from c3dhash.video.limits import Limits

LIMITS = Limits(10**6, 60.0, 60.0)


def frames_of(moving: bytes) -> list[np.ndarray]:
    with Image.open(io.BytesIO(moving)) as picture:
        assert picture.format == "WEBP"
        frames = []
        for number in range(picture.n_frames):
            picture.seek(number)
            frames.append(np.asarray(picture.convert("RGB")))
        return frames


def test_a_stretch_moves_in_its_order_and_stands_still_in_its_middle(tmp_path):
    sample = Sample(write_video(tmp_path / "a.avi", 100), (), "gallery", segment=Segment(1.0, 3.0))
    pictures = stretch_pictures(sample, short_side=96)
    expected = [25 + 5 * number + 2 for number in range(PREVIEW_FRAMES)]  # the middles of ten parts of 50 frames
    assert [frame_number(frame) for frame in frames_of(pictures.moving)] == expected
    still = cv2.imdecode(np.frombuffer(pictures.still, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert frame_number(still) == expected[5] and still.shape == (96, 160, 3)
    mirrored = frames_of(stretch_pictures(sample, short_side=96, is_mirrored=True).moving)
    assert [frame_number(frame[:, ::-1]) for frame in mirrored] == expected


def test_the_windows_of_a_video_of_one_pass(tmp_path):
    video = write_video(tmp_path / "a.avi", 60)
    options = {"num_frames": 4, "window_seconds": 1.0, "stride_seconds": 0.5, "short_side": 96, "limits": LIMITS}
    windows = list(window_pictures(video, **options))
    starts = [segment.start_seconds for segment, _ in windows]
    assert starts == pytest.approx([0, 0.5, 1.0, 1.4])
    for start, (_, pictures) in zip((0, 12.5, 25, 35), windows, strict=True):
        numbers = [frame_number(frame) for frame in frames_of(pictures.moving)]
        assert numbers == [int(start + 25 * (part + 0.5) / 4) for part in range(4)]


def test_of_a_still_picture_and_of_what_is_none(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), numbered_frame(300)[..., ::-1])
    options = {"num_frames": 4, "window_seconds": None, "stride_seconds": None, "short_side": 96}
    ((segment, pictures),) = window_pictures(tmp_path / "a.png", **options, limits=LIMITS)
    assert segment.start_seconds == 0 and [frame_number(frame) for frame in frames_of(pictures.moving)] == [300]
    with pytest.raises(VideoError, match="has pictures of 160 x 96 px, at most 100 pixels"):
        list(window_pictures(tmp_path / "a.png", **options, limits=Limits(100, 60.0, 60.0)))
    (tmp_path / "b.mp4").write_bytes(b"a text that is no video at all")
    with pytest.raises(VideoError, match="is a text or a playlist"):
        stretch_pictures(Sample(tmp_path / "b.mp4", (), "gallery"), short_side=96)
