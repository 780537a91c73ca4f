"""Frames as they are shown: turned, mirrored, with square pixels, alike with OpenCV and PyAV; AV1; HDR is said."""

from __future__ import annotations

import logging
import re
import struct
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from videos import (
    H264,
    check_clip,
    frame_numbers,
    needs_ffmpeg,
    regular,
    run_ffmpeg,
    turn_mp4,
    write_ffmpeg,
    write_video,
)

from c3dhash.errors import VideoError
from c3dhash.records import Segment
from c3dhash.video import decoder
from c3dhash.video import reader as reader
from c3dhash.video.clip_plan import Plan
from c3dhash.video.decoder import Decoder
from c3dhash.video.display import Display, make_display
from c3dhash.video.headers import Header, read_header
from c3dhash.video.reader import probe, read_clip

# Of a track header: (a b; c d), and what makes the frame of a number of the frame that is shown.
MATRICES = {
    "as it is": ((1, 0, 0, 1), lambda frames: frames),
    "mirrored": ((-1, 0, 0, 1), lambda frames: frames[:, :, ::-1]),
    "upside down and mirrored": ((-1, 0, 0, -1), lambda frames: frames[:, ::-1, ::-1]),
    "upside down": ((1, 0, 0, -1), lambda frames: frames[:, ::-1]),
    "turned clockwise": ((0, 1, -1, 0), lambda frames: np.rot90(frames, 1, axes=(1, 2))),
    "turned counterclockwise": ((0, -1, 1, 0), lambda frames: np.rot90(frames, -1, axes=(1, 2))),
    "rows are columns": ((0, 1, 1, 0), lambda frames: frames.swapaxes(1, 2)),
    "rows are columns, turned": ((0, -1, -1, 0), lambda frames: frames.swapaxes(1, 2)[:, ::-1, ::-1]),
    "half a degree off": ((1, 0.008, -0.008, 1), lambda frames: frames),
    "slanted": ((0.7, 0.7, -0.7, 0.7), lambda frames: frames),
}


@pytest.fixture(params=["OpenCV", "PyAV"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Read with each, the other not being there."""
    if request.param == "OpenCV":
        monkeypatch.setattr(reader, "_packets", lambda: None)
        monkeypatch.setattr(decoder, "_av_capture", lambda: None)
    else:
        pytest.importorskip("av")
        monkeypatch.setattr(reader.passes, "read", None)
    return request.param


def set_matrix(path: Path, matrix: tuple[float, ...], box: bytes = b"tkhd") -> Path:
    """Set (a b; c d) of a track header, or of the movie header, of an MP4."""
    content = bytearray(path.read_bytes())
    start = content.index(box) + {b"tkhd": 44, b"mvhd": 40}[box]
    a, b, c, d = (round(value * 65536) for value in matrix)
    content[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", MATRICES)
def test_a_display_matrix_is_applied(tmp_path: Path, name: str, library: str) -> None:
    matrix, undo = MATRICES[name]
    path = set_matrix(write_video(tmp_path / "a.mp4", 10), matrix)
    for short_side in (None, 64):
        clip = read_clip(path, num_frames=10, short_side=short_side)
        assert frame_numbers(undo(clip.frames)) == list(range(10))
    info = probe(path)
    assert (info.height_px, info.width_px) == read_clip(path, num_frames=1).frames.shape[1:3]


@pytest.mark.parametrize("name", list(MATRICES)[:8])
def test_a_display_matrix_of_matroska(tmp_path: Path, name: str, library: str) -> None:
    av = pytest.importorskip("av")
    matrix, undo = MATRICES[name]
    source, path = set_matrix(write_video(tmp_path / "a.mp4", 10), matrix), tmp_path / "a.mkv"
    with av.open(str(source)) as theirs, av.open(str(path), "w") as ours:
        stream = ours.add_stream_from_template(theirs.streams.video[0])
        for packet in theirs.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                ours.mux(packet)
    assert frame_numbers(undo(read_clip(path, num_frames=10).frames)) == list(range(10))


def test_the_matrices_of_track_and_movie_are_applied_one_after_the_other(tmp_path: Path, library: str) -> None:
    path = set_matrix(write_video(tmp_path / "a.mp4", 10), MATRICES["mirrored"][0])
    set_matrix(path, MATRICES["turned clockwise"][0], b"mvhd")
    frames = read_clip(path, num_frames=10).frames
    assert frame_numbers(np.rot90(frames, 1, axes=(1, 2))[:, :, ::-1]) == list(range(10))


@needs_ffmpeg
@pytest.mark.parametrize("degrees", [0, 90])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", (*H264, "-vf", "setsar=3/2")),
        ("a.mkv", (*H264, "-vf", "setsar=3/2")),
        ("a.ts", (*H264, "-vf", "setsar=3/2")),
        ("a.avi", ("-c:v", "mpeg4", "-vf", "setsar=3/2")),
        ("a.mpg", ("-c:v", "mpeg2video", "-vf", "setdar=16/9")),
    ],
)
def test_pixels_are_made_square(
    tmp_path: Path, name: str, options: tuple[str, ...], degrees: int, library: str
) -> None:
    path = write_ffmpeg(tmp_path / name, 10, *options)
    width_px = 171 if name == "a.mpg" else 240  # of 160
    shapes = {None: (96, width_px), 48: (48, round(width_px / 2)), 192: (192, 2 * width_px)}
    if degrees:
        if name != "a.mp4":
            pytest.skip("has no matrix")
        turn_mp4(path, degrees=90)
    for short_side, shape in shapes.items():
        clip = read_clip(path, num_frames=10, short_side=short_side)
        frames = np.rot90(clip.frames, axes=(1, 2)) if degrees else clip.frames
        assert np.abs(np.subtract(frames.shape[1:3], shape)).max() <= 1
        assert frame_numbers(frames) == list(range(10))
    info = probe(path)
    assert (info.height_px, info.width_px) == ((width_px, 96) if degrees else (96, width_px))


@needs_ffmpeg
def test_both_make_the_same_square_pixels(tmp_path: Path) -> None:
    packets = pytest.importorskip("c3dhash.video.packets")
    for aspect in ("64/45", "8/9", "1281/1280", "20/1"):
        path = write_ffmpeg(tmp_path / "a.mp4", 10, *H264, "-vf", f"setsar={aspect}", width_px=178, height_px=142)
        for plan in (Plan(5), Plan(5, 64)):
            (ours,), (theirs,) = packets.read(path, plan), reader.passes.read(path, plan)
            assert ours.frames.shape == theirs.frames.shape
            if int(cv2.__version__.split(".")[0]) >= 5:  # Note [Same frames] of c3dhash.video.packets
                np.testing.assert_array_equal(ours.frames, theirs.frames)
        if aspect in ("1281/1280", "20/1"):  # what sizes are rounded by; what cannot be meant
            assert read_clip(path, num_frames=1).frames.shape[1:] == (142, 178, 3)


def test_what_is_no_turn_by_a_right_angle() -> None:
    assert make_display(Header((0.0, 0.0, 0.0, 0.0)), pixel_aspect=0.0) == Display()
    assert make_display(Header((1.0, 0.5, -0.5, 1.0)), pixel_aspect=float("nan")) == Display()
    assert make_display(Header(), pixel_aspect=1.0, degrees=270) == Display(True, False, True)
    assert make_display(Header((2.0, 0.0, 0.0, -2.0)), pixel_aspect=1.0, degrees=90) == Display(flips_y=True)


@pytest.mark.parametrize("kind", ["mp4", "matroska"])
def test_headers_of_noise_say_nothing(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "a.mp4"
    whole = write_video(path, 3).read_bytes()
    for _ in range(100):
        content = np.frombuffer(whole, np.uint8)[: rng.integers(len(whole))].copy()
        content[rng.integers(0, max(1, len(content)), 20) % max(1, len(content))] = rng.integers(256)
        path.write_bytes(content.tobytes())
        assert isinstance(read_header(path, kind), Header)
    path.write_bytes(b"\0\0\0\x10moov" + b"\0\0\0\x08trak")
    assert read_header(path, kind) == Header()
    assert read_header(tmp_path / "gone.mp4", kind) == Header()


# AV1


@pytest.fixture(scope="module")
def av1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("av1")
    write_ffmpeg(folder / "a.webm", 60, "-c:v", "libaom-av1", "-cpu-used", "8", "-g", "20", "-b:v", "300k")
    run_ffmpeg("-i", str(folder / "a.webm"), "-c", "copy", str(folder / "a.mp4"))
    return folder


@needs_ffmpeg
@pytest.mark.parametrize("name", ["a.mp4", "a.webm"])
def test_av1_is_read_where_something_can(av1: Path, name: str) -> None:
    packets = pytest.importorskip("c3dhash.video.packets")
    check_clip(read_clip(av1 / name, num_frames=20), regular(60), (0, 2.4), atol=2e-3)
    for plan in (Plan(8), Plan(3, 48), Plan(4, None, 0.7, 0.7), Plan(4, segment=Segment(1.5, 1.9))):
        for ours, theirs in zip(packets.read(av1 / name, plan), reader.passes.read(av1 / name, plan), strict=True):
            np.testing.assert_allclose(ours.pts_seconds, theirs.pts_seconds, rtol=0, atol=1e-9)
            np.testing.assert_array_equal(ours.frames, theirs.frames)
    with Decoder(av1 / name) as open_video:  # as c3dhash data check does
        times = list(open_video.times())
        assert len(times) == 60
        assert open_video.end_seconds(times) == pytest.approx(2.4, abs=2e-3)


@needs_ffmpeg
def test_av1_that_nothing_reads_names_what_would(av1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if decoder.OpenCVCapture(av1 / "a.mp4").grab():
        pytest.skip("this OpenCV decodes AV1")
    for module in ("av", "c3dhash.video.packets", "c3dhash.video.av_capture"):
        monkeypatch.setitem(sys.modules, module, None)
    for name in ("packets", "av_capture"):
        monkeypatch.delattr(f"c3dhash.video.{name}", raising=False)
    monkeypatch.setattr(reader, "_packets", reader._packets.__wrapped__)
    monkeypatch.setattr(decoder, "_av_capture", decoder._av_capture.__wrapped__)
    for name in ("a.mp4", "a.webm"):
        with pytest.raises(VideoError, match=r"is AV1, which this build .* does not decode.*pip install c3dhash\[av\]"):
            read_clip(av1 / name, num_frames=4)


@needs_ffmpeg
def test_av1_that_is_damaged_is_damaged(av1: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    content = bytearray((av1 / "a.mp4").read_bytes())
    start = content.index(b"mdat") + 4
    content[start : start + 40_000] = bytes(min(40_000, len(content) - start))
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError, match=r"a\.mp4'.*(has no (frame|picture) that|is damaged)"):
        read_clip(path, num_frames=4)


# HDR


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize(("transfer", "name"), [("smpte2084", "PQ"), ("arib-std-b67", "HLG"), ("bt709", None)])
def test_hdr_is_said_once_a_file(
    tmp_path: Path, transfer: str, name: str | None, suffix: str, library: str, caplog: pytest.LogCaptureFixture
) -> None:
    colours = ("-color_trc", transfer, "-color_primaries", "bt2020", "-colorspace", "bt2020nc")
    codec = f"log-level=none:transfer={transfer}:colorprim=bt2020:colormatrix=bt2020nc"
    options = ("-c:v", "libx265", "-x265-params", codec, "-pix_fmt", "yuv420p10le", *colours)
    path = write_ffmpeg(tmp_path / f"a.{suffix}", 2, *options)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert frame_numbers(read_clip(path, num_frames=2).frames) == [0, 1]
    if library == "OpenCV":
        (message,) = caplog.messages
        assert re.search(r"a\.m.*' has colours of HDR or of a wide gamut, .*: pip install c3dhash\[av\]", message)
    elif name is None:
        assert caplog.messages == []
    else:
        (message,) = caplog.messages
        assert message.startswith(f"video '{path}' is HDR ({name}), and its brightness is not mapped")


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize(
    ("primaries", "transfer"),
    [("bt2020", "arib-std-b67"), ("bt2020", "bt2020-10"), ("smpte432", "bt709"), ("bt709", "smpte2084")],
)
def test_colours_are_those_that_are_stored(tmp_path: Path, primaries: str, transfer: str, suffix: str) -> None:
    """Whichever way a file is read, pixels are those of the same pictures with the colours of usual videos."""
    packets = pytest.importorskip("c3dhash.video.packets")
    boxes = "drawbox=w=40:h=40:color=red:t=fill,drawbox=x=60:w=40:h=40:color=green:t=fill"
    options = (*H264, "-vf", boxes, "-colorspace", "bt709")
    usual = write_ffmpeg(tmp_path / f"usual.{suffix}", 5, *options)
    wide = write_ffmpeg(tmp_path / f"wide.{suffix}", 5, *options, "-color_primaries", primaries, "-color_trc", transfer)
    (expected,) = reader.passes.read(usual, Plan(5))
    assert np.ptp(expected.frames, axis=-1).max() > 100
    for read in (reader.passes.read, packets.read):
        (clip,) = read(wide, Plan(5))
        assert np.array_equal(clip.frames, expected.frames)
