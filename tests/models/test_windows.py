from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from videos import write_video

from c3dhash.config import EncodeConfig
from c3dhash.errors import VideoError
from c3dhash.models.encode import Encoder, encode_videos
from c3dhash.models.windows import encode_windows

CONFIG = EncodeConfig(precision="fp32", device="cpu", window_seconds=3, stride_seconds=2, batch_size=2)


@pytest.mark.parametrize("views", [1, 3])
def test_windows_are_those_of_whole_videos(untrained_run, tmp_path, views):
    config = dataclasses.replace(CONFIG, views=views)
    video = write_video(tmp_path / "a.mp4", 250)
    (whole,) = encode_videos(untrained_run, [video], config=config)
    encoder = Encoder(untrained_run.model, device="cpu", precision="fp32", engine="torch")
    windows = list(encode_windows(encoder, video, config=config))
    assert [window.start_seconds for window in windows] == pytest.approx(whole.codes.start_seconds.tolist())
    assert [window.end_seconds for window in windows] == pytest.approx(whole.codes.end_seconds.tolist())
    assert np.stack([window.scores for window in windows]) == pytest.approx(whole.scores, abs=1e-5)


def test_windows_come_while_the_video_is_read(untrained_run, tmp_path):
    video = write_video(tmp_path / "a.mp4", 250)
    encoder = Encoder(untrained_run.model, device="cpu", precision="fp32", engine="torch")
    windows = encode_windows(encoder, video, config=CONFIG)
    assert next(windows).start_seconds == 0
    windows.close()  # and nothing hangs


def test_a_video_that_cannot_be_read(untrained_run, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    encoder = Encoder(untrained_run.model, device="cpu", precision="fp32", engine="torch")
    with pytest.raises(VideoError, match=r"bad\.mp4"):
        list(encode_windows(encoder, bad, config=CONFIG))
