from __future__ import annotations

import queue
import threading
from pathlib import Path

import numpy as np
import pytest
from videos import numbered_frame, write_frames, write_video

from c3dhash.config import EncodeConfig
from c3dhash.errors import ModelMismatchError, VideoError
from c3dhash.gallery.arrivals import QueryEncoder, limits_of, look_at
from c3dhash.gallery.indexing import open_gallery
from c3dhash.gallery.query import encode_video
from c3dhash.gallery.store import Gallery

CONFIG = EncodeConfig(precision="fp32", device="cpu", window_seconds=1, workers=2)
LIMITS = limits_of(max_pixels=10**6, max_seconds=60)


@pytest.fixture
def encoder(untrained_run, tmp_path):
    with open_gallery(tmp_path / "gallery", untrained_run, config=CONFIG) as gallery:
        yield QueryEncoder(untrained_run, gallery, config=CONFIG)


def videos_of(folder: Path, *lengths: int) -> list[Path]:
    return [
        write_frames(folder / f"{length}.mp4", [numbered_frame(3 * number + length) for number in range(length)])
        for length in lengths
    ]


def encode(encoder: QueryEncoder, videos, *, with_mirrored: bool = False, on_windows=lambda _: None) -> dict:
    return dict(encoder.encode(videos, with_mirrored=with_mirrored, limits=LIMITS, on_windows=on_windows))


def test_codes_are_those_of_a_query(encoder, untrained_run, tmp_path):
    videos, counts = videos_of(tmp_path, 30, 80), []
    (tmp_path / "bad.mp4").write_bytes(b"a text that is no video at all")
    bad = tmp_path / "bad.mp4"
    found = encode(encoder, [None, videos[0], None, bad, videos[1]], with_mirrored=True, on_windows=counts.extend)
    assert isinstance(found[bad], VideoError) and set(found) == {*videos, bad}
    for video in videos:
        own, mirrored = found[video]
        assert np.array_equal(own.codes, encode_video(untrained_run, video, config=CONFIG).codes)
        assert not np.array_equal(own.codes, mirrored.codes)
        assert counts.count(video) == len(own.codes) == encoder.num_windows(len(own.codes))
    assert encoder.num_windows(0) == 1


def test_a_short_one_does_not_wait_for_a_long_one_before_it(encoder, tmp_path):
    """One of a second, behind one of two minutes."""
    frames = [numbered_frame(number % 1000) for number in range(3000)]
    long, short = write_frames(tmp_path / "long.mp4", frames), write_frames(tmp_path / "short.mp4", frames[:25])
    results = encoder.encode([long, short], with_mirrored=False, limits=limits_of(max_pixels=10**6, max_seconds=600),
                             on_windows=lambda _: None)  # fmt: skip
    assert [video for video, _ in results] == [short, long]


def test_what_arrives_meanwhile_is_taken_in(encoder, tmp_path):
    videos = videos_of(tmp_path, 60, 70)
    arriving: queue.Queue[Path | None] = queue.Queue()
    arriving.put(videos[0])

    def all_of_them():
        video = None
        while video != Path("end"):
            yield video
            try:
                video = arriving.get(timeout=0.02)
            except queue.Empty:
                video = None  # again and again: the first one may have come while a clip was on its way

    lock = threading.Lock()

    def send_more(_):
        with lock:
            for each in (videos[1], Path("end")) if len(videos) == 2 else ():
                arriving.put(each)
            videos.append(Path("done"))

    assert set(encode(encoder, all_of_them(), on_windows=send_more)) == set(videos[:2])


def test_what_the_caller_raises_ends_it(encoder, tmp_path):
    def stop(_):
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        encode(encoder, videos_of(tmp_path, 60), on_windows=stop)


def test_another_model_is_refused(untrained_run, tmp_path):
    with (
        Gallery.create(tmp_path / "other", hash_length=16, model_fingerprint="a" * 32) as gallery,
        pytest.raises(ModelMismatchError, match="holds 16-bit codes of model aaaaaaaa"),
    ):
        QueryEncoder(untrained_run, gallery)


def test_a_look_at_a_header(tmp_path):
    facts = look_at(write_video(tmp_path / "a.mp4", 50), limits=LIMITS)
    assert (facts.width_px, facts.height_px, facts.duration_seconds) == (160, 96, 2.0)
    assert limits_of(max_pixels=1, max_seconds=5).max_work_seconds == 60
    assert limits_of(max_pixels=1, max_seconds=500).max_work_seconds == 500
