"""What a gallery remembers of how its videos are cut and seen, and what a query does then."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from videos import numbered_frame, write_frames

from c3dhash.config import EncodeConfig
from c3dhash.errors import UsageError
from c3dhash.gallery.indexing import index_videos, open_gallery
from c3dhash.gallery.query import query_video
from c3dhash.gallery.store import Gallery
from c3dhash.gallery.windows import with_windows
from c3dhash.models.encode import encode_videos

FP32 = EncodeConfig(precision="fp32", device="cpu")
LEFT_IN = dataclasses.replace(FP32, crop_bars=False)


@pytest.fixture
def letterboxed(tmp_path) -> Path:
    """A folder with one video, of pictures between bars."""
    (tmp_path / "db").mkdir()
    frames = [numbered_frame(number) for number in range(40)]
    frames = [cv2.copyMakeBorder(frame, 32, 32, 0, 0, cv2.BORDER_CONSTANT) for frame in frames]
    return write_frames(tmp_path / "db" / "bars.mp4", frames)


def codes_of(run, video: Path, config: EncodeConfig) -> np.ndarray:
    (result,) = encode_videos(run, [video], config=config)
    return result.codes.codes


@pytest.mark.parametrize("crop_bars", [None, True, False])
def test_a_gallery_has_bars_cropped_or_left_in(untrained_run, tmp_path, letterboxed, crop_bars):
    """By default a new one has them cropped; and what it does, all of its queries and later videos do."""
    config = dataclasses.replace(FP32, crop_bars=crop_bars)
    with open_gallery(tmp_path / "gallery", untrained_run, config=config) as gallery:
        index_videos(untrained_run, gallery, [letterboxed], config=config)
        expected = codes_of(untrained_run, letterboxed, LEFT_IN if crop_bars is False else FP32)
        assert np.array_equal(gallery.codes()[1], expected)
        assert not np.array_equal(
            expected, codes_of(untrained_run, letterboxed, FP32 if crop_bars is False else LEFT_IN)
        )
        assert with_windows(FP32, gallery).crop_bars is (crop_bars is not False)
        assert query_video(untrained_run, gallery, letterboxed, config=FP32)[0].distance == 0
        shutil.copy(letterboxed, letterboxed.with_name("copy.mp4"))
        with letterboxed.with_name("copy.mp4").open("ab") as file:
            file.write(b"\0" * 8)
        assert index_videos(untrained_run, gallery, [letterboxed.parent], config=FP32).clips == 1  # not asked: its own
        assert np.array_equal(gallery.codes()[1][1:], expected)
        other = dataclasses.replace(FP32, crop_bars=crop_bars is False)
        own, got = ("left in", "cropped") if crop_bars is False else ("cropped", "left in")
        with pytest.raises(UsageError, match=rf"every None s with black bars {own}, got .* with black bars {got}"):
            index_videos(untrained_run, gallery, [letterboxed], config=other)


def test_a_gallery_of_before_bars_were_cropped_goes_on_with_them(untrained_run, tmp_path, letterboxed):
    windows = {"window_seconds": 10.0, "stride_seconds": None, "clips_per_window": None, "views": 1}
    options = {"hash_length": 16, "model_fingerprint": untrained_run.fingerprint, "run": windows}
    with Gallery.create(tmp_path / "old", **options) as gallery:
        index_videos(untrained_run, gallery, [letterboxed], config=FP32)
        assert np.array_equal(gallery.codes()[1], codes_of(untrained_run, letterboxed, LEFT_IN))
        assert query_video(untrained_run, gallery, letterboxed, config=FP32)[0].distance == 0


def test_a_gallery_that_notes_nothing_is_asked_as_the_config_says(untrained_run, tmp_path):
    options = {"hash_length": 16, "model_fingerprint": untrained_run.fingerprint}
    with Gallery.create(tmp_path / "foreign", **options) as gallery:
        assert with_windows(FP32, gallery) == FP32
