"""Written videos are read again: every frame, at its time, in its size, with the sound of the source."""

from __future__ import annotations

import gc
import importlib.util
import itertools
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from videos import frame_number, needs_ffmpeg, numbered_frame, run_ffmpeg

from c3dhash.errors import UsageError, VideoError
from c3dhash.video import writer
from c3dhash.video.decoder import Decoder
from c3dhash.video.writer import check_output, writing_video

needs_av = pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="needs the extra av")


def write(path, times, *, fps=25.0, size_px=(160, 96), sound_of=None):
    """Write frames that carry their number; the last time is the end."""
    with writing_video(path, size_px=size_px, fps=fps, sound_of=sound_of or path.with_name("none")) as video:
        for number, (start, end) in enumerate(itertools.pairwise(times)):
            video.write(numbered_frame(number, width_px=size_px[0], height_px=size_px[1]), start, end)


def sounding_video(path, *, seconds=1, codec="aac", options=()):
    """Write a video with a tone of 440 Hz."""
    run_ffmpeg(
        "-f", "lavfi", "-i", f"testsrc=s=160x96:d={seconds}:r=25", "-f", "lavfi", "-i",
        f"sine=frequency=440:duration={seconds}", "-c:v", "libx264", "-c:a", codec, *options, str(path),
    )  # fmt: skip
    return path


def read(path):
    """Return the number and the time of every frame, and the end."""
    with Decoder(path) as decoder:
        found = [(time, frame_number(decoder.picture())) for time in decoder.times()]
        times = [time for time, _ in found]
        return [number for _, number in found], [*times, decoder.end_seconds(times)], decoder.info


@needs_av
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".avi"])
def test_every_frame_at_its_time(tmp_path, suffix):
    times = np.arange(31) / 25
    write(tmp_path / f"a{suffix}", times)
    numbers, found, info = read(tmp_path / f"a{suffix}")
    assert numbers == list(range(30)), "first and last included"
    assert found == pytest.approx(times, abs=1e-3)
    assert (info.width_px, info.height_px) == (160, 96)
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


@needs_av
def test_a_variable_frame_rate_stays(tmp_path):
    times = np.cumsum([0, *[0.04] * 10, *[0.12] * 6, *[0.02] * 8])
    write(tmp_path / "a.mp4", times)
    numbers, found, _ = read(tmp_path / "a.mp4")
    assert numbers == list(range(24))
    assert found[:-1] == pytest.approx(times[:-1], abs=1e-3)


@needs_av
@pytest.mark.parametrize("fps", [30000 / 1001, 12.5, 60.0])
def test_other_frame_rates(tmp_path, fps):
    write(tmp_path / "a.mp4", np.arange(25) / fps, fps=fps)
    numbers, found, info = read(tmp_path / "a.mp4")
    assert numbers == list(range(24))
    assert found == pytest.approx(np.arange(25) / fps, abs=1e-3)
    assert info.fps == pytest.approx(fps, rel=1e-4)


@needs_av
def test_an_odd_size_stays(tmp_path):
    write(tmp_path / "a.mp4", np.arange(6) / 25, size_px=(161, 97))
    numbers, _, info = read(tmp_path / "a.mp4")
    assert numbers == list(range(5))
    assert (info.width_px, info.height_px) == (161, 97)


@needs_av
@needs_ffmpeg
@pytest.mark.parametrize("delay", [0, 2])
def test_the_sound_is_copied(tmp_path, delay):
    import av

    source = sounding_video(tmp_path / "source.mp4", seconds=2, options=("-output_ts_offset", str(delay)))
    write(tmp_path / "a.mp4", np.arange(51) / 25, sound_of=source)
    with av.open(str(tmp_path / "a.mp4")) as container:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
        (stream,) = container.streams.audio
        assert stream.codec_context.name == "aac"
        assert float((stream.start_time or 0) * stream.time_base) == pytest.approx(0, abs=0.03)
        assert container.streams.video[0].start_time == 0, "or picture and sound are apart"
        middle = sound[len(sound) // 4 : len(sound) // 2]
        pitch = np.abs(np.fft.rfft(middle)).argmax() * stream.rate / len(middle)
    assert len(sound) / 44100 == pytest.approx(2, abs=0.1)
    assert pitch == pytest.approx(440, rel=0.01)


@needs_av
@needs_ffmpeg
def test_sound_that_does_not_fit_is_said(tmp_path, caplog):
    source = sounding_video(tmp_path / "source.mkv")
    write(tmp_path / "a.webm", np.arange(6) / 25, sound_of=source)
    assert "the sound of 'a.webm' is left out: its codec (aac) does not go into .webm files." in caplog.text
    assert read(tmp_path / "a.webm")[0] == list(range(5))


@needs_av
@needs_ffmpeg
def test_sound_that_only_the_header_refuses_is_said(tmp_path, caplog):
    """FFmpeg lists FLAC among what MOV takes, and then does not write it."""
    source = sounding_video(tmp_path / "source.mkv", codec="flac")
    write(tmp_path / "a.mov", np.arange(6) / 25, sound_of=source)
    assert "its codec (flac) does not go into .mov files" in caplog.text
    assert read(tmp_path / "a.mov")[0] == list(range(5))


@needs_av
@needs_ffmpeg
def test_sound_whose_times_go_back_does_not_cost_the_picture(tmp_path):
    part = sounding_video(tmp_path / "part.ts")
    source = tmp_path / "source.ts"
    source.write_bytes(part.read_bytes() * 2)
    write(tmp_path / "a.mp4", np.arange(51) / 25, sound_of=source)
    assert read(tmp_path / "a.mp4")[0] == list(range(50))


@needs_av
def test_frames_of_the_same_time(tmp_path):
    write(tmp_path / "a.mkv", np.array([0, 0, 0.04, 0.04, 0.08, 0.12]))
    assert read(tmp_path / "a.mkv")[0] == list(range(5))


@needs_av
@needs_ffmpeg
def test_no_file_stays_open(tmp_path):
    source = sounding_video(tmp_path / "source.mp4")
    gc.disable()
    try:
        for name in ("a.mp4", "b.webm"):
            write(tmp_path / name, np.arange(6) / 25, sound_of=source)
        open_files = [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
    finally:
        gc.enable()
    assert not [path for path in open_files if str(tmp_path) in path]


def test_a_full_disk_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "find_spec", lambda name: None)
    real, written = cv2.VideoWriter.write, []

    def write_some(self, picture):
        written.append(0)
        if len(written) <= 3:
            real(self, picture)

    monkeypatch.setattr(cv2.VideoWriter, "write", write_some)
    with pytest.raises(VideoError, match=r"a\.avi' cannot be written: 3 of 5 frames; is the disk full\?"):
        write(tmp_path / "a.avi", np.arange(6) / 25)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_opencv_writes_at_one_rate(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(writer, "find_spec", lambda name: None)
    write(tmp_path / f"a{suffix}", np.arange(31) / 25)
    numbers, found, _ = read(tmp_path / f"a{suffix}")
    assert numbers == list(range(30))
    assert found == pytest.approx(np.arange(31) / 25, abs=1e-3)
    # frames of 0.04, 0.12 and 0.04 s: the middle one three times; one that is too short is there all the same
    write(tmp_path / f"b{suffix}", np.array([0, 0.04, 0.16, 0.17, 0.21]))
    assert read(tmp_path / f"b{suffix}")[0] == [0, 1, 1, 1, 2, 3]


def test_an_error_leaves_nothing(tmp_path):
    with (
        pytest.raises(ZeroDivisionError),
        writing_video(tmp_path / "a.mp4", size_px=(160, 96), fps=25, sound_of=tmp_path / "none") as video,
    ):
        video.write(numbered_frame(0), 0, 0.04)
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_kinds_that_nobody_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "find_spec", lambda name: object())
    with pytest.raises(UsageError, match=r"a.gif': videos can be written as \.avi, \.mkv, \.mov, \.mp4, \.webm\."):
        check_output(tmp_path / "a.gif")
    monkeypatch.setattr(writer, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"a.mkv': .* as \.avi, \.mp4; with pip install c3dhash\[av\] also \.mkv"):
        check_output(tmp_path / "a.mkv")


def test_a_build_of_opencv_that_cannot_write(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "find_spec", lambda name: None)
    monkeypatch.setattr(writer, "OPENCV_CODECS", {".mp4": "XXXX"})
    monkeypatch.setattr(cv2.VideoWriter, "isOpened", lambda self: False)
    with pytest.raises(VideoError, match=r"this build of OpenCV cannot write \.mp4; pip install"):
        write(tmp_path / "a.mp4", np.arange(3) / 25)
    assert list(tmp_path.iterdir()) == []
