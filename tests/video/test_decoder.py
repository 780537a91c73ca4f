from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from videos import FPS, claim_avi_frames, frame_number, needs_ffmpeg, run_ffmpeg, turn_mp4, write_ffmpeg, write_video

from c3dhash.errors import VideoError
from c3dhash.video.decoder import Clock, Decoder


def ticks(reported: list[float], *, frame_seconds: float = 0.04) -> list[float]:
    clock = Clock(frame_seconds)
    return [clock.tick(time) for time in reported]


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        ([2.0, 2.04, 2.08], [0, 0.04, 0.08]),  # a late start
        ([0.08, 0.12, 0.16, 0.0, 0.0], [0, 0.04, 0.08, 0.12, 0.16]),  # no times at the end: AVI with B-frames
        ([0.0, 0.0, 0.0], [0, 0.04, 0.08]),  # no times at all
        ([0.0, 0.04, 0.0, 0.20], [0, 0.04, 0.08, 0.20]),  # none in between
        ([-0.03, 0.0, 0.04], [0, 0.03, 0.07]),  # this 0 is a time
        ([5.0, 5.04, 1.0, 1.08], [0, 0.04, 0.08, 0.16]),  # back: two recordings, joined
        ([5.0, 5.04, 95000.0, 95000.08], [0, 0.04, 0.08, 0.16]),  # and hours ahead
        ([0.0, 0.04, 0.04, 0.12], [0, 0.04, 0.04, 0.12]),  # two frames at a time
        ([0.0, 10.0, 3600.0], [0, 10.0, 3600.0]),  # slow, but possible
    ],
)
def test_clock_counts_seconds_from_the_first_frame(reported: list[float], expected: list[float]) -> None:
    np.testing.assert_allclose(ticks(reported), expected, atol=1e-9)


def test_clock_undoes_rounding_to_milliseconds() -> None:
    frame_seconds = 1001 / 30000
    rounded = [round(i * frame_seconds, 3) for i in range(1000)]
    exact = [i * frame_seconds for i in range(1000)]
    np.testing.assert_allclose(ticks(rounded, frame_seconds=frame_seconds), exact, atol=1e-9)


def test_clock_leaves_other_times_alone() -> None:
    reported = [0.0, 0.031, 0.055, 0.1015]
    assert ticks(reported) == reported


def test_clock_without_a_frame_rate_refuses_to_guess() -> None:
    assert ticks([3.0, 3.5], frame_seconds=0) == [0, 0.5]
    with pytest.raises(VideoError, match="frame 1 has no usable time"):
        ticks([0.0, 0.0], frame_seconds=0)


def test_clock_goes_on_after_a_leap() -> None:
    clock = Clock(0.04)
    assert clock.tick(2.0) == 0
    clock.leap(7202.0)
    np.testing.assert_allclose([clock.tick(7202.0), clock.tick(7202.04)], [7200, 7200.04], atol=1e-9)


def read_times(path: Path) -> tuple[list[float], float]:
    with Decoder(path) as decoder:
        times = list(decoder.times())
        return times, decoder.end_seconds(times)


def test_times_and_end_of_a_plain_video(tmp_path: Path) -> None:
    times, end_seconds = read_times(write_video(tmp_path / "a.mp4", 20, fps=30000 / 1001))
    np.testing.assert_allclose(times, np.arange(20) * 1001 / 30000, atol=1e-5)
    assert end_seconds == pytest.approx(20 * 1001 / 30000, abs=1e-5)


def test_info_is_what_the_header_says(tmp_path: Path) -> None:
    with Decoder(write_video(tmp_path / "a.avi", 20, width_px=98, height_px=54)) as decoder:
        info = decoder.info
    assert (info.width_px, info.height_px, info.fps, info.num_frames) == (98, 54, FPS, 20)
    assert info.duration_seconds == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("claimed", "is_right"), [(0, True), (3, True), (48, True), (49, False), (10**6, False), (2**31, True)]
)
def test_a_header_may_overstate_by_8_frames_or_a_tenth(tmp_path: Path, claimed: int, is_right: bool) -> None:
    path = claim_avi_frames(write_video(tmp_path / "a.avi", 40), claimed)
    if is_right:
        times, end_seconds = read_times(path)
        np.testing.assert_allclose([*times, end_seconds], np.arange(41) / FPS, atol=1e-9)
    else:
        with pytest.raises(VideoError, match=rf"damaged: 40 of {claimed} frames decode, 1\.60 of"):
            read_times(path)


def test_frames_or_time_alone_may_be_fewer_than_claimed(tmp_path: Path) -> None:
    with Decoder(write_video(tmp_path / "a.avi", 40)) as decoder:
        decoder._check_claims(20, 1.6)  # frames dropped inside
        decoder._check_claims(40, 0.8)  # a faster variable rate
        with pytest.raises(VideoError, match="20 of 40 frames decode"):
            decoder._check_claims(20, 0.8)


def test_a_frame_that_does_not_decode(tmp_path: Path) -> None:
    class Broken:
        def picture(self) -> None: ...

        def close(self) -> None: ...

    with Decoder(write_video(tmp_path / "a.mp4", 3)) as decoder:
        next(decoder.times())
        decoder._capture = Broken()  # what OpenCV decodes to, it has always retrieved in our files
        with pytest.raises(VideoError, match=r"a\.mp4': frame 0 does not decode"):
            decoder.picture()


def test_a_turned_video_comes_upright(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 3)
    with Decoder(path) as plain, Decoder(turn_mp4(path)) as turned:
        next(plain.times()), next(turned.times())
        np.testing.assert_array_equal(np.rot90(plain.picture(), -1), turned.picture())
        assert (turned.info.width_px, turned.info.height_px) == (96, 160)


@pytest.mark.parametrize("content", [b"\0\x01\x02" * 5000, b"\0\0\0\x10ftypisom\0\0\2\0"], ids=["noise", "no streams"])
def test_what_does_not_open_says_why_and_nothing_else(tmp_path: Path, content: bytes, capfd) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError, match=r"a\.mp4' has no picture that can be decoded"):
        Decoder(path)
    assert capfd.readouterr() == ("", "")


def test_an_unknown_codec_is_refused_quietly(tmp_path: Path, capfd) -> None:
    path = write_video(tmp_path / "a.avi", 3)
    path.write_bytes(path.read_bytes().replace(b"MJPG", b"?!?!"))
    with pytest.raises(VideoError, match="a codec that OpenCV lacks"):
        Decoder(path)
    assert capfd.readouterr() == ("", "")


def test_an_index_without_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", 5)
    content = path.read_bytes()
    start = content.index(b"movi") + 4
    path.write_bytes(content[:start] + bytes(len(content) - start))
    with pytest.raises(VideoError, match=r"a\.avi' has no (frame|picture) that"):
        read_times(path)


@needs_ffmpeg
def test_a_raw_stream_is_counted_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_ffmpeg(tmp_path / "a.h264", 30, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "2")
    with caplog.at_level(logging.WARNING):
        times, end_seconds = read_times(path)
    np.testing.assert_allclose([*times, end_seconds], np.arange(31) / FPS, atol=1e-9)
    assert "29 of 30 frames have no usable time; counted at 25 frames per second" in caplog.text


@needs_ffmpeg
def test_no_times_and_no_frame_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_ffmpeg(tmp_path / "a.h264", 3, "-c:v", "libx264", "-pix_fmt", "yuv420p")
    with Decoder(path) as decoder:
        monkeypatch.setattr(decoder, "clock", Clock(0.0))  # no file made here lacks both
        with pytest.raises(VideoError, match=r"a\.h264': frame 1 has no usable time.*ffmpeg"):
            list(decoder.times())


@needs_ffmpeg
def test_joined_recordings_go_on_and_many_jumps_do_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    part = write_ffmpeg(tmp_path / "part.ts", 10).read_bytes()
    joined = tmp_path / "joined.ts"
    joined.write_bytes(part * 2)
    times, end_seconds = read_times(joined)
    np.testing.assert_allclose([*times, end_seconds], np.arange(21) / FPS, atol=1e-9)
    assert "2 of 20 frames have no usable time" in caplog.text
    joined.write_bytes(part * 6)
    with pytest.raises(VideoError, match="its times jump 5 times in 60 frames"):
        read_times(joined)


@needs_ffmpeg
def test_sound_with_a_cover_is_no_video(tmp_path: Path) -> None:
    cover = write_ffmpeg(tmp_path / "cover.png", 1)
    path = tmp_path / "song.mp4"
    run_ffmpeg(
        *("-f", "lavfi", "-i", "sine=d=0.5", "-i", str(cover), "-map", "0", "-map", "1"),
        *("-c:v", "copy", "-disposition:v:0", "attached_pic", str(path)),
    )
    with pytest.raises(VideoError, match=r"song\.mp4' is a sound file with a cover picture"):
        read_times(path)


@needs_ffmpeg
def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mkv", "a.avi", "a.ts"):
        run_ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", str(tmp_path / name))
        with pytest.raises(VideoError, match=rf"{name}' has no picture that can be decoded.*sound only"):
            Decoder(tmp_path / name)


@needs_ffmpeg
@pytest.mark.parametrize("pixels", ["gray", "gray16le", "bgra", "yuv444p"])
def test_gray_alpha_and_odd_sizes_come_as_rgb(tmp_path: Path, pixels: str) -> None:
    path = write_ffmpeg(tmp_path / "a.mkv", 3, "-c:v", "ffv1", "-pix_fmt", pixels, width_px=51, height_px=37)
    with Decoder(path) as decoder:
        next(decoder.times())
        frame = decoder.picture()
    assert (frame.shape, frame.dtype) == ((37, 51, 3), np.uint8)
    assert (frame[..., 0] == frame[..., 2]).all() == pixels.startswith("gray")


@needs_ffmpeg
def test_the_last_frame_of_a_variable_rate_lasts_the_median(tmp_path: Path) -> None:
    options = ("-vf", "setpts='N*(N+1)/2'", "-vsync", "vfr", "-c:v", "libx264", "-pix_fmt", "yuv420p")
    times, end_seconds = read_times(write_ffmpeg(tmp_path / "a.mkv", 6, *options))
    np.testing.assert_allclose(times, np.array([0, 1, 3, 6, 10, 15]) / FPS, atol=1e-9)
    assert end_seconds == pytest.approx((15 + 3) / FPS)  # gaps of 1 2 3 4 5 frames


@needs_ffmpeg
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_seek_lands_at_or_before_a_time(tmp_path: Path, name: str) -> None:
    options = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "3", "-g", "25", "-output_ts_offset", "2")
    path = write_ffmpeg(tmp_path / name, 200, *options)
    for target in (3.0, 5.5, 7.9):
        beats: list[int] = []
        with Decoder(path, on_frame=lambda: beats.append(1)) as decoder:  # noqa: B023
            assert decoder.seek(target)
            times = []
            for time in decoder.times():
                times.append(time)
                assert frame_number(decoder.picture()) == round(time * FPS)
        assert target - 2 < times[0] <= target
        np.testing.assert_allclose(times, np.arange(round(times[0] * FPS), 200) / FPS, atol=1e-9)
        assert len(beats) == len(times) + 1


def test_seek_says_where_it_cannot_be_trusted(tmp_path: Path) -> None:
    with Decoder(write_video(tmp_path / "a.avi", 100)) as decoder:
        assert not decoder.seek(3.0)
    with Decoder(write_video(tmp_path / "a.mp4", 100)) as decoder:
        assert not decoder.seek(0.1)  # the frame before the margin is the first, which was given
