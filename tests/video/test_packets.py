"""PyAV against OpenCV: the same frames at the same times; and that it decodes less, and gives up where it must."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from videos import (
    FAR,
    FPS,
    H264,
    VARIABLE,
    VP9,
    check_clip,
    claim_avi_frames,
    frame_number,
    frame_numbers,
    needs_ffmpeg,
    regular,
    run_ffmpeg,
    turn_mp4,
    write_ffmpeg,
    write_video,
)

from c3dhash.errors import VideoError
from c3dhash.records import Clip, Segment, VideoInfo
from c3dhash.video import passes
from c3dhash.video import reader as reader
from c3dhash.video.clip_plan import Plan, Unsuited
from c3dhash.video.containers import check_container
from c3dhash.video.decoder import Decoder

av = pytest.importorskip("av")
from c3dhash.video import av_capture, packets  # noqa: E402

OPENCV_CONVERTS_AS_PYAV = int(cv2.__version__.split(".")[0]) >= 5  # Note [Same frames]
X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p")
XVID = ("-c:v", "mpeg4", "-vtag", "XVID")
DROPPED = ("-vf", "setpts='floor(N*6/5)'", "-vsync", "vfr")
# Name, options of ffmpeg, and what else write_ffmpeg takes.
KINDS: dict[str, tuple[tuple[str, ...], dict]] = {
    "long-gop.mp4": (H264, {}),
    "short-gop.mp4": ((*X264, "-bf", "3", "-g", "12"), {"fps": "30000/1001"}),
    "two-frame-gop.mp4": ((*X264, "-bf", "1", "-g", "2"), {}),
    "open-gop.mkv": ((*X264, "-g", "12", "-x264-params", "open-gop=1"), {"fps": 30}),
    "open-gop.mp4": ((*X264, "-g", "12", "-x264-params", "open-gop=1"), {}),
    "fragments.mp4": ((*X264, "-bf", "3", "-g", "12", "-movflags", "frag_keyframe+empty_moov"), {}),
    "h264.mkv": ((*X264, "-bf", "3", "-g", "12"), {"fps": "30000/1001"}),
    "h264.mov": (H264, {"fps": "24000/1001"}),
    "h264.flv": ((*X264, "-bf", "3", "-g", "12"), {"fps": 30}),
    "h264.ts": ((*X264, "-bf", "3", "-g", "12"), {}),
    "late.mp4": ((*H264, "-output_ts_offset", "2"), {}),
    "late.mkv": ((*H264, "-output_ts_offset", "2"), {}),
    "variable.mp4": (VARIABLE, {}),
    "variable.mkv": (VARIABLE, {}),
    "ten-bits.mp4": ((*X264[:2], "-pix_fmt", "yuv420p10le", "-g", "12"), {"width_px": 162, "height_px": 98}),
    "full-range.mp4": ((*X264[:2], "-pix_fmt", "yuvj420p"), {}),
    "odd.mp4": ((*X264[:2], "-pix_fmt", "yuv444p"), {"width_px": 161, "height_px": 97}),
    "hd-colours.mp4": ((*X264, "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"),
                       {"width_px": 322, "height_px": 180}),
    "h265.mp4": (("-c:v", "libx265", "-pix_fmt", "yuv420p", "-g", "12", "-x265-params", "log-level=none"), {}),
    "vp9.webm": ((*VP9, "-g", "12", "-lag-in-frames", "16"), {"fps": 30}),
    "vp8.webm": (("-c:v", "libvpx", "-g", "12", "-auto-alt-ref", "1", "-lag-in-frames", "16"), {}),
    "xvid.avi": ((*XVID, "-bf", "0"), {}),
    "b-frames.avi": ((*XVID, "-bf", "2"), {}),
    "dropped.avi": ((*XVID, *DROPPED), {"fps": 30}),
    "dropped-b-frames.avi": ((*XVID, "-bf", "2", *DROPPED), {"fps": 30}),
    "mjpeg.mov": (("-c:v", "mjpeg", "-pix_fmt", "yuvj420p"), {"width_px": 161, "height_px": 97}),
    "b-frames.mpg": (("-c:v", "mpeg2video", "-bf", "2"), {}),
    "b-frames.mkv": (("-c:v", "mpeg2video", "-bf", "2", "-g", "12"), {}),
}  # fmt: skip
UNSUITED: dict[str, tuple[tuple[str, ...], dict, str]] = {
    "a.gif": ((), {}, "its codec is gif"),
    "a.wmv": (("-c:v", "wmv2"), {}, "its codec is wmv2"),
    "raw.h264": (H264, {}, "packet 0 has no time or is damaged"),
    "h264.avi": (H264, {}, "came after .* was due"),
    "refresh.mp4": ((*X264, "-x264-params", "intra-refresh=1:keyint=10"), {}, "did not come|was due"),
}
PLANS = [
    Plan(16),
    Plan(3, 48),
    Plan(3, 48, stack=6),
    Plan(2, None, 0.7, 0.3, stack=4),
    Plan(2, segment=Segment(0.9, 1.41), stack=5),
    Plan(8, None, 0.7, 0.7),
    Plan(5, 50, 1.0, 0.3),
    Plan(4, None, segment=Segment(1.5, 1.9)),
    Plan(4, None, segment=Segment(0.3, 0.32)),
    Plan(4, None, segment=Segment(1, 99)),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each kind of video is written once."""
    return tmp_path_factory.mktemp("kinds")


def write(folder: Path, name: str, num_frames: int = 60) -> Path:
    path = folder / name
    if not path.exists():
        options, size = (KINDS.get(name) or UNSUITED[name])[:2]
        write_ffmpeg(path, num_frames, *options, **size)
    return path


def assert_same(mine: list[Clip], others: list[Clip]) -> None:
    assert len(mine) == len(others) > 0
    for clip, other in zip(mine, others, strict=True):
        segments = [(a.segment.start_seconds, a.segment.end_seconds) for a in (clip, other)]
        np.testing.assert_allclose(*segments, rtol=0, atol=1e-9)
        np.testing.assert_allclose(clip.pts_seconds, other.pts_seconds, rtol=0, atol=1e-9)
        if OPENCV_CONVERTS_AS_PYAV:
            np.testing.assert_array_equal(clip.frames, other.frames)
        else:
            assert np.abs(clip.frames.astype(int) - other.frames).mean() < 2


@needs_ffmpeg
def test_dense_clips_are_the_same(tmp_path: Path) -> None:
    """Of windows that overlap, so that clips of a later one begin before the last of an earlier one."""
    path = write_ffmpeg(tmp_path / "a.mp4", 100, *H264)
    plan = Plan(16, None, 2.0, 0.7, interval_seconds=1 / 25, clips_per_window=3)
    mine = list(packets.read(path, plan))
    assert_same(mine, list(passes.read(path, plan)))
    assert len(mine) == 3 * len({clip.segment for clip in mine}) > 9


@needs_ffmpeg
@pytest.mark.parametrize("is_kept", [True, False], ids=["kept", "sought"])
@pytest.mark.parametrize("name", KINDS)
def test_the_same_frames_at_the_same_times(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_kept: bool
) -> None:
    if not is_kept:  # as for large files, which are sought in
        monkeypatch.setattr(packets, "KEPT_BYTES", 0)
        monkeypatch.setattr(packets, "MIN_SEEK_PACKETS", 4)
    path = write(folder, name)
    for plan in PLANS:
        assert_same(list(packets.read(path, plan)), list(passes.read(path, plan)))


@needs_ffmpeg
@pytest.mark.parametrize("num_frames", [1, 2, 5, 15, 16, 17])
def test_the_same_frames_of_short_videos(tmp_path: Path, num_frames: int) -> None:
    for name in ("long-gop.mp4", "h264.mkv", "b-frames.avi", "vp9.webm", "mjpeg.mov"):
        path = write(tmp_path, name, num_frames)
        assert_same(list(packets.read(path, Plan(16))), list(passes.read(path, Plan(16))))


@needs_ffmpeg
def test_the_same_frames_behind_an_edit_list(folder: Path, tmp_path: Path) -> None:
    source = write_ffmpeg(tmp_path / "source.mp4", 100, *X264, "-g", "50")
    path = tmp_path / "cut.mp4"
    run_ffmpeg("-ss", "2.6", "-i", str(source), "-c", "copy", str(path))
    for plan in (Plan(10), Plan(4, None, 0.5, 0.5), Plan(3, segment=Segment(0.2, 0.6))):
        assert_same(list(packets.read(path, plan)), list(passes.read(path, plan)))


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_the_same_upright_frames(tmp_path: Path, degrees: int) -> None:
    path = turn_mp4(write_video(tmp_path / "a.mp4", 10), degrees=degrees)
    (clip,) = packets.read(path, Plan(10, 48))
    assert_same([clip], list(passes.read(path, Plan(10, 48))))
    turned = np.rot90(clip.frames, degrees // 90, axes=(1, 2))
    assert frame_numbers(turned) == list(range(10))


@pytest.mark.parametrize("claimed", [0, 1, 10, 39, 41, 44])
def test_the_same_frames_under_a_wrong_frame_count(tmp_path: Path, claimed: int) -> None:
    path = claim_avi_frames(write_video(tmp_path / "a.avi", 40), claimed)
    for plan in (Plan(16), Plan(4, None, 0.4, 0.4)):
        assert_same(list(packets.read(path, plan)), list(passes.read(path, plan)))


@needs_ffmpeg
@pytest.mark.parametrize("name", KINDS)
def test_the_same_claims(folder: Path, name: str) -> None:
    path = write(folder, name)
    with Decoder(path) as decoder:
        assert packets._Reader(path, check_container(path), None, None).info == decoder.info


def test_the_same_refusals(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    path = write_video(tmp_path / "a.mp4", 40)
    path.write_bytes(path.read_bytes()[:-2000])
    for name, reason in (("empty.mp4", "is empty"), ("a.mp4", "is cut short"), ("no.mp4", "does not exist")):
        with pytest.raises(VideoError, match=reason):
            next(packets.read(tmp_path / name, Plan(4)))


# What is decoded


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count frames that come out of the decoder, and pictures that are made of them."""
    counter: Counter[str] = Counter()
    frames, picture = packets._Reader._frames, packets._Reader._picture

    def counting_frames(self, timeline, run, *, can_skip: bool) -> Iterator[av.VideoFrame]:
        counter["runs"] += 1
        for frame in frames(self, timeline, run, can_skip=can_skip):
            counter["frames"] += 1
            yield frame

    def counting_picture(self, frame: av.VideoFrame) -> np.ndarray:
        counter["pictures"] += 1
        return picture(self, frame)

    monkeypatch.setattr(packets._Reader, "_frames", counting_frames)
    monkeypatch.setattr(packets._Reader, "_picture", counting_picture)
    return counter


@needs_ffmpeg
def test_frames_that_nobody_needs_are_left_out(folder: Path, decoded: Counter[str]) -> None:
    (clip,) = packets.read(write(folder, "long-gop.mp4"), Plan(4))
    assert frame_numbers(clip.frames) == [7, 22, 37, 52]
    assert decoded["pictures"] == 4
    assert decoded["frames"] < 45  # of 60; B-frames that others are made from are decoded


@needs_ffmpeg
def test_groups_of_frames_that_nobody_looks_at_are_left_out(tmp_path: Path, decoded: Counter[str]) -> None:
    path = write_ffmpeg(tmp_path / "a.mp4", 400, *X264, "-bf", "0", "-g", "20", "-sc_threshold", "0")
    (clip,) = packets.read(path, Plan(4, segment=Segment(12.01, 12.81)))
    assert frame_numbers(clip.frames) == [302, 307, 312, 317]
    assert decoded == {"runs": 3, "frames": 1 + 18 + 2, "pictures": 4}  # the first; 300 to 317; 320, 321
    decoded.clear()
    (clip,) = packets.read(path, Plan(2))
    assert frame_numbers(clip.frames) == [100, 300]
    assert decoded == {"runs": 4, "frames": 1 + 1 + 1 + 20, "pictures": 2}  # the first, 100, 300, 380 to the last


@needs_ffmpeg
@pytest.mark.parametrize(("name", "options"), [pytest.param(*row, id=row[0]) for row in FAR])
def test_a_far_segment_is_sought(tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    path = write_ffmpeg(tmp_path / name, 400, *options)
    beats: list[int] = []
    for segment in (Segment(13.02, 14.1), Segment(12, 12.04), Segment(10.5, 12.3)):
        beats.clear()
        plan = Plan(5, segment=segment)
        (clip,) = packets.read(path, plan, on_frame=lambda: beats.append(1))
        check_clip(clip, regular(400), (segment.start_seconds, segment.end_seconds), atol=1e-3)
        assert_same([clip], list(passes.read(path, plan)))
        assert len(beats) < 160
    for segment in (Segment(14.2, 20), Segment(11, 16)):  # the end of the video must be found
        plan = Plan(5, segment=segment)
        assert_same(list(packets.read(path, plan)), list(passes.read(path, plan)))


@needs_ffmpeg
def test_a_far_segment_behind_one_key_frame(tmp_path: Path) -> None:
    path = write_ffmpeg(tmp_path / "a.mp4", 400, *X264, "-bf", "3", "-g", "999", "-sc_threshold", "0")
    (clip,) = packets.read(path, Plan(5, segment=Segment(13, 14)))
    check_clip(clip, regular(400), (13, 14))


@needs_ffmpeg
@pytest.mark.parametrize("num_skipped", [30, 110, 400])
def test_a_seek_that_lands_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_skipped: int) -> None:
    path = write_ffmpeg(tmp_path / "a.mp4", 400, *X264, "-bf", "3", "-g", "50", "-sc_threshold", "0")
    demux, num_calls = packets._Reader._demux, [0]

    def late_demux(self) -> Iterator[av.Packet]:
        num_calls[0] += 1
        return islice(demux(self), num_skipped if num_calls[0] == 2 else 0, None)

    monkeypatch.setattr(packets._Reader, "_demux", late_demux)
    with pytest.raises(Unsuited, match="a seek did not land on a key frame before the segment"):
        list(packets.read(path, Plan(5, segment=Segment(12.5, 13))))


@needs_ffmpeg
def test_a_segment_reads_no_packets_far_behind_it(tmp_path: Path) -> None:
    path = write_ffmpeg(tmp_path / "a.mp4", 400, *X264, "-bf", "3", "-g", "20")
    beats: list[int] = []
    list(packets.read(path, Plan(4, segment=Segment(2, 3)), on_frame=lambda: beats.append(1)))
    assert 75 < len(beats) < 110


@needs_ffmpeg
def test_memory_is_bounded_by_the_windows_at_hand(folder: Path, decoded: Counter[str]) -> None:
    clips = packets.read(write(folder, "long-gop.mp4"), Plan(4, None, 0.4, 0.4))
    next(clips)
    assert decoded["pictures"] == 4  # those of the first window


@needs_ffmpeg
def test_frames_have_a_beat_each(folder: Path) -> None:
    beats: list[int] = []
    list(reader.read_clips(write(folder, "xvid.avi"), num_frames=4, on_frame=lambda: beats.append(1)))
    assert len(beats) >= 60


def test_a_name_is_never_a_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plain = write_video(tmp_path / "plain.mp4", 5).read_bytes()
    for name in (
        "-x.mp4",
        "a:b.mp4",
        "file:c.mp4",
        "ünïcode ✓ 動画.mp4",
        "img_%03d.mp4",
        "img_001.mp4",
        "a?b#c%20d.mp4",
    ):
        Path(name).write_bytes(plain)
        (clip,) = packets.read(Path(name), Plan(5))
        assert frame_numbers(clip.frames) == [0, 1, 2, 3, 4]


# Where it gives up


@needs_ffmpeg
@pytest.mark.parametrize("name", UNSUITED)
def test_what_does_not_fit_is_left_to_opencv(folder: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    path, reason = write(folder, name), UNSUITED[name][2]
    with pytest.raises(Unsuited, match=reason):
        list(packets.read(path, Plan(8, None, 0.9, 0.9)))
    with caplog.at_level(logging.DEBUG):
        clips = list(reader.read_clips(path, num_frames=8, window_seconds=0.9))
    assert_same(clips, list(passes.read(path, Plan(8, None, 0.9, 0.9))))
    assert f"{name}' is read with OpenCV: " in caplog.text


def broken(path: Path, source: Path, number: int, change: Callable[[bytearray], object]) -> Path:
    """Copy a video, and change the bytes of one packet in it."""
    content = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][number]
        payload = bytearray(bytes(packet))
    start = content.index(payload)
    change(payload)
    content[start : start + packet.size] = payload
    path.write_bytes(content)
    return path


def wipe(payload: bytearray) -> None:
    payload[:] = bytes(len(payload))


@needs_ffmpeg
@pytest.mark.parametrize("is_kept", [True, False], ids=["kept", "sought"])
def test_clips_before_damage_are_not_given_twice(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_kept: bool
) -> None:
    if not is_kept:
        monkeypatch.setattr(packets, "KEPT_BYTES", 0)
    path = broken(tmp_path / "a.mkv", write(folder, "h264.mkv"), 38, wipe)
    plan = Plan(4, None, 0.4, 0.4)
    given = []
    with pytest.raises(Unsuited, match=r"due|Invalid data|did not come"):
        for clip in packets.read(path, plan):
            given.append(clip)
    assert len(given) == 2
    clips = list(reader.read_clips(path, num_frames=4, window_seconds=0.4))
    assert_same(clips, list(passes.read(path, plan)))
    assert_same(given, clips[:2])


@needs_ffmpeg
@pytest.mark.parametrize("number", [0, 59])
def test_the_first_and_the_last_frame_must_decode(folder: Path, tmp_path: Path, number: int) -> None:
    """Clips that show neither, of a video in which every frame is a key frame."""
    path = broken(tmp_path / "a.mov", write(folder, "mjpeg.mov"), number, wipe)
    with pytest.raises(Unsuited, match=r"due|Invalid data|did not come"):
        list(packets.read(path, Plan(4)))
    path = broken(tmp_path / "b.mov", write(folder, "mjpeg.mov"), 20, wipe)
    (clip,) = packets.read(path, Plan(4))
    assert frame_numbers(clip.frames) == [7, 22, 37, 52]


def test_a_video_that_lost_its_end(tmp_path: Path) -> None:
    path = claim_avi_frames(write_video(tmp_path / "a.avi", 40), 60)
    with pytest.raises(Unsuited, match="20 of 60 frames are missing at the end"):
        list(packets.read(path, Plan(4)))


def test_a_segment_behind_the_end(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 40)
    with pytest.raises(Unsuited, match="the segment begins after its end"):
        list(packets.read(path, Plan(4, segment=Segment(1.6, 2))))


@needs_ffmpeg
def test_no_picture_and_no_video(tmp_path: Path) -> None:
    cover = write_ffmpeg(tmp_path / "cover.jpg", 1, "-c:v", "mjpeg", "-pix_fmt", "yuvj420p")
    sound = ("-f", "lavfi", "-i", "sine=d=0.5")
    song = tmp_path / "song.mp4"
    run_ffmpeg(*sound, "-i", str(cover), *("-map", "0", "-map", "1", "-c:v", "copy"), "-disposition:v:0",
               "attached_pic", str(song))  # fmt: skip
    run_ffmpeg(*sound, str(tmp_path / "sound.mkv"))
    unknown = write_video(tmp_path / "unknown.avi", 3)
    unknown.write_bytes(unknown.read_bytes().replace(b"MJPG", b"?!?!"))
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    for name, reason in [
        ("song.mp4", "its first picture is a cover"),
        ("sound.mkv", "it has no video stream"),
        ("unknown.avi", "its codec is unknown"),
        ("noise.mp4", "Invalid data"),
    ]:
        with pytest.raises(Unsuited, match=reason):
            next(packets.read(tmp_path / name, Plan(4)))


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 5).rename(tmp_path / "\udcff.mp4")
    with pytest.raises(Unsuited, match="surrogates not allowed"):
        next(packets.read(path, Plan(4)))


@needs_ffmpeg
def test_a_frame_size_that_changes(tmp_path: Path) -> None:
    small = write_ffmpeg(tmp_path / "small.ts", 10, *X264, "-bf", "0")
    large = write_ffmpeg(tmp_path / "large.ts", 10, *X264, "-bf", "0", "-output_ts_offset", "0.4", width_px=320)
    path = tmp_path / "both.mkv"
    run_ffmpeg("-i", f"concat:{small}|{large}", "-c", "copy", str(path))
    with pytest.raises(Unsuited, match=r"a frame is \(320, 96, .* the first was \(160, 96"):
        list(packets.read(path, Plan(20)))
    assert_same(list(reader.read_clips(path, num_frames=20)), list(passes.read(path, Plan(20))))


def test_a_slanted_video(tmp_path: Path) -> None:
    path = turn_mp4(write_video(tmp_path / "a.mp4", 10), degrees=45)
    (clip,) = packets.read(path, Plan(10))
    assert_same([clip], list(passes.read(path, Plan(10))))
    assert frame_numbers(clip.frames) == list(range(10))  # as it is stored


@needs_ffmpeg
def test_a_file_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packets, "KEPT_BYTES", 0)
    path = tmp_path / "a.ts"
    write_ffmpeg(path, 600, *X264)
    clips = packets.read(path, Plan(4, None, 0.4, 0.4))
    next(clips)
    path.write_bytes(path.read_bytes()[: 188 * 3])
    with pytest.raises(Unsuited, match="is not what it was"):
        list(clips)


@needs_ffmpeg
def test_a_container_that_cannot_seek_is_opened_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packets, "KEPT_BYTES", 0)
    monkeypatch.setattr(packets._Reader, "_seek", lambda self, timeline, position: False)
    path = write(folder, "short-gop.mp4")
    for plan in PLANS:
        assert_same(list(packets.read(path, plan)), list(passes.read(path, plan)))


def test_no_frame_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packets, "believe", lambda path, *_: VideoInfo(path, 1, 1, 0.0, 0))
    with pytest.raises(Unsuited, match="it has no frame rate"):
        list(packets.read(write_video(tmp_path / "a.mp4", 5), Plan(4)))


# Where it is not installed


def test_an_older_pyav_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "__version__", "16.1.0")
    spec = importlib.util.spec_from_file_location("av_capture_again", av_capture.__file__)
    with pytest.raises(ImportError, match=r"PyAV 16\.1\.0 is older than 17"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_without_pyav_opencv_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", 10)
    monkeypatch.setitem(sys.modules, "c3dhash.video.packets", None)  # what Python keeps of a failed import
    monkeypatch.delattr("c3dhash.video.packets")
    monkeypatch.setattr(reader, "_packets", reader._packets.__wrapped__)
    assert reader._packets() is None
    clip = reader.read_clip(path, num_frames=5)
    assert [frame_number(frame) for frame in clip.frames] == [1, 3, 5, 7, 9]
    np.testing.assert_allclose(clip.pts_seconds, np.array([1, 3, 5, 7, 9]) / FPS, atol=1e-9)
