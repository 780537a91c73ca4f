"""Frames carry their number (see videos.py), so each test compares numbers and times with a slow oracle."""

from __future__ import annotations

import hashlib
import logging
import os
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from videos import (
    FPS,
    H264,
    VARIABLE,
    check_clip,
    check_dense,
    claim_avi_frames,
    frame_numbers,
    needs_ffmpeg,
    regular,
    run_ffmpeg,
    slow_then_fast,
    turn_mp4,
    write_ffmpeg,
    write_video,
)

from c3dhash.errors import UsageError, VideoError
from c3dhash.records import Segment
from c3dhash.video import reader as reader
from c3dhash.video.reader import choose_frames, content_hash, find_videos, probe, read_clip, read_clips

pytestmark = pytest.mark.usefixtures("library")


# Chosen frames


@given(st.integers(1, 10**6), st.integers(1, 300))
def test_chosen_frames_are_the_centres_of_equal_bins(num_available: int, num_frames: int) -> None:
    frames = choose_frames(num_available, num_frames)
    assert frames.dtype == np.int64
    assert len(frames) == num_frames
    assert 0 <= frames[0] <= frames[-1] < num_available
    assert (np.diff(frames) >= 0).all()
    i = num_frames // 3
    assert frames[i] == (i + Fraction(1, 2)) * num_available // num_frames
    assert (frames + frames[::-1] >= num_available - 2).all()  # the middle stays the middle


def test_chosen_frames_by_hand() -> None:
    assert choose_frames(7, 3).tolist() == [1, 3, 5]
    assert choose_frames(2, 5).tolist() == [0, 0, 1, 1, 1]
    assert choose_frames(16, 16).tolist() == list(range(16))
    assert choose_frames(1, 3).tolist() == [0, 0, 0]


@pytest.mark.parametrize(("num_available", "num_frames"), [(0, 16), (5, 0), (-1, 2)])
def test_no_frames_to_choose(num_available: int, num_frames: int) -> None:
    with pytest.raises(UsageError, match=rf"num_available \({num_available}\) and num_frames \({num_frames}\)"):
        choose_frames(num_available, num_frames)


# Files


def test_find_videos_in_subfolders_without_hidden_ones(tmp_path: Path) -> None:
    names = [
        "b.mp4",
        "a/z.AVI",
        "a/c d.webm",
        "note.txt",
        ".x.mp4",
        ".git/y.mp4",
        "a/.h/k.mp4",
        "a.mp4/in.gif",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    found = [path.relative_to(tmp_path).as_posix() for path in find_videos(tmp_path)]
    assert found == ["a/c d.webm", "a/z.AVI", "a.mp4/in.gif", "b.mp4"]
    assert find_videos(str(tmp_path / "a" / ".h")) == [tmp_path / "a" / ".h" / "k.mp4"]


def test_find_videos_follows_a_linked_folder(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.mp4").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "set").symlink_to(tmp_path / "disk")
    assert find_videos(tmp_path / "data") == [tmp_path / "data" / "set" / "a.mp4"]


def test_find_videos_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere' is not a folder"):
        find_videos(tmp_path / "nowhere")


def test_content_hash(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    content = np.random.default_rng(0).bytes((1 << 20) + 17)
    path.write_bytes(content)
    assert content_hash(path) == hashlib.blake2b(content, digest_size=16).hexdigest()
    assert len(content_hash(path)) == 32
    with pytest.raises(VideoError, match=r"b\.bin' does not exist"):
        content_hash(tmp_path / "b.bin")


def test_probe_tells_the_claims(tmp_path: Path) -> None:
    path = claim_avi_frames(write_video(tmp_path / "a.avi", 12), 999)
    info = probe(str(path))
    assert (info.path, info.width_px, info.height_px, info.fps, info.num_frames) == (path, 160, 96, FPS, 999)


@pytest.mark.parametrize("read", [probe, lambda path: read_clip(path, num_frames=4)], ids=["probe", "read_clip"])
def test_bad_files_are_refused_by_name(tmp_path: Path, read) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("just words\n" * 50)
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    for name, reason in [
        ("missing.mp4", "does not exist"),
        ("empty.mp4", "is empty"),
        ("text.mp4", "is a text"),
        ("noise.mp4", "no picture that can be decoded"),
    ]:
        with pytest.raises(VideoError, match=rf"{name}' .*{reason}"):
            read(tmp_path / name)
    with pytest.raises(VideoError, match="is not a file"):
        read(tmp_path)


@pytest.mark.parametrize(
    "name", ["-x.mp4", "a:b.mp4", "ünïcode ✓ 動画.mp4", "img_%03d.mp4", "img_001.mp4", "a b;c&d(e)#[f].mp4"]
)
def test_any_file_name_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "plain.mp4", 5).rename(tmp_path / name)
    assert frame_numbers(read_clip(name, num_frames=5).frames) == [0, 1, 2, 3, 4]


# Right frames, right times

FORMATS = [
    # name, options of ffmpeg (None: OpenCV writes it), frame rate
    ("mp4v.mp4", None, FPS),
    ("mjpg.avi", None, 30000 / 1001),
    ("xvid.avi", None, FPS),
    ("h264.mp4", H264, "30000/1001"),
    ("fragments.mp4", (*H264, "-movflags", "frag_keyframe+empty_moov"), FPS),
    (
        "open-gop.mp4",
        ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "12", "-x264-params", "open-gop=1"),
        50,
    ),
    ("h264.mov", H264, "24000/1001"),
    ("h264.mkv", H264, "30000/1001"),
    ("h264.ts", H264, FPS),
    ("h264.flv", H264, 30),
    ("h264.avi", H264, FPS),
    ("b-frames.avi", ("-c:v", "mpeg4", "-bf", "2", "-vtag", "XVID"), FPS),
    ("b-frames.mpg", ("-c:v", "mpeg2video", "-bf", "2"), FPS),
    ("vp9.webm", ("-c:v", "libvpx-vp9", "-deadline", "good", "-cpu-used", "5", "-lag-in-frames", "16"), 30),
    ("wmv2.wmv", ("-c:v", "wmv2"), FPS),
    ("late.mp4", (*H264, "-output_ts_offset", "2"), FPS),
    ("late.mkv", (*H264, "-output_ts_offset", "2"), FPS),
    ("gif.gif", (), 10),
    ("raw.h264", H264, FPS),
]


@pytest.mark.parametrize(
    ("name", "options", "fps"),
    [pytest.param(*row, id=row[0], marks=needs_ffmpeg if row[1] is not None else ()) for row in FORMATS],
)
def test_right_frames_at_the_right_times(
    tmp_path: Path, name: str, options: tuple[str, ...] | None, fps: float | str
) -> None:
    path = tmp_path / name
    if options is None:
        write_video(path, 60, fps=fps, fourcc="XVID" if name == "xvid.avi" else None)
    else:
        write_ffmpeg(path, 60, *options, fps=fps)
    fps = float(Fraction(fps))
    clip = read_clip(path, num_frames=16)
    assert frame_numbers(clip.frames) == choose_frames(60, 16).tolist()
    check_clip(clip, regular(60, fps), (0, 60 / fps))
    clips = list(read_clips(path, num_frames=8, window_seconds=20 / fps, stride_seconds=10 / fps))
    assert len(clips) == 5
    for i, clip in enumerate(clips):
        check_clip(clip, regular(60, fps), (10 * i / fps, 10 * i / fps + 20 / fps))


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
@pytest.mark.parametrize("num_frames", [1, 2, 5, 15, 16, 17])
def test_short_videos_repeat_frames(tmp_path: Path, name: str, num_frames: int) -> None:
    clip = read_clip(write_video(tmp_path / name, num_frames), num_frames=16)
    assert frame_numbers(clip.frames) == choose_frames(num_frames, 16).tolist()
    check_clip(clip, regular(num_frames), (0, num_frames / FPS))


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_variable_frame_rate(tmp_path: Path, suffix: str) -> None:
    path = write_ffmpeg(tmp_path / f"a.{suffix}", 60, *VARIABLE)
    times = [slow_then_fast(i) for i in range(60)]
    clip = read_clip(path, num_frames=16)
    assert clip.segment.end_seconds == pytest.approx(times[-1] + 0.04, abs=0.081)  # the last lasts 1 or 3
    check_clip(clip, times, (0, clip.segment.end_seconds))
    clips = list(read_clips(path, num_frames=8, window_seconds=1))
    assert len(clips) == 5
    for i, clip in enumerate(clips[:4]):
        check_clip(clip, times, (i, i + 1))
    check_clip(clips[4], times, (clips[4].segment.end_seconds - 1, clips[4].segment.end_seconds))


@needs_ffmpeg
def test_frames_dropped_inside_an_avi(tmp_path: Path) -> None:
    """As in JHMDB: 25 fps stored as 30, so the header counts six frames for every five that are there."""
    path = write_ffmpeg(tmp_path / "a.avi", 40, "-vf", "setpts='floor(N*6/5)'", "-vsync", "vfr", fps=30)
    times = [i * 6 // 5 / 30 for i in range(40)]
    info = probe(path)
    assert (info.num_frames, info.fps) == (47, 30)
    check_clip(read_clip(path, num_frames=16), times, (0, 47 / 30))


@needs_ffmpeg
def test_an_edit_list_hides_the_first_frames(tmp_path: Path) -> None:
    source = write_ffmpeg(tmp_path / "source.mp4", 100, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "50")
    path = tmp_path / "cut.mp4"
    run_ffmpeg("-ss", "2.6", "-i", str(source), "-c", "copy", str(path))
    assert b"elst" in path.read_bytes()
    clip = read_clip(path, num_frames=10)
    numbers = frame_numbers(clip.frames)
    assert numbers == [65 + i for i in choose_frames(35, 10)]
    np.testing.assert_allclose(clip.pts_seconds, (np.array(numbers) - 65) / FPS, atol=1e-6)
    assert clip.segment.end_seconds == pytest.approx(1.4)


@needs_ffmpeg
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_sound_may_be_longer_and_begin_earlier(tmp_path: Path, name: str) -> None:
    source = write_ffmpeg(tmp_path / "source.mp4", 30, *H264)
    path = tmp_path / name
    sound = ("-f", "lavfi", "-i", "sine=d=5", "-itsoffset", "2", "-i", str(source))
    run_ffmpeg(*sound, "-map", "0", "-map", "1", "-c:v", "copy", str(path))
    check_clip(read_clip(path, num_frames=16), regular(30), (0, 1.2))


@pytest.mark.parametrize("claimed", [0, 1, 10, 39, 41, 44])
def test_a_wrong_frame_count_in_the_header(tmp_path: Path, claimed: int) -> None:
    path = claim_avi_frames(write_video(tmp_path / "a.avi", 40), claimed)
    check_clip(read_clip(path, num_frames=16), regular(40), (0, 1.6))
    clips = list(read_clips(path, num_frames=4, window_seconds=0.4))
    assert [clip.segment.start_seconds for clip in clips] == pytest.approx([0, 0.4, 0.8, 1.2])
    for clip in clips:
        check_clip(clip, regular(40), (clip.segment.start_seconds, clip.segment.end_seconds))


def test_a_video_that_lost_its_end_is_refused(tmp_path: Path) -> None:
    path = claim_avi_frames(write_video(tmp_path / "a.avi", 40), 60)
    with pytest.raises(VideoError, match="damaged: 40 of 60 frames decode"):
        read_clip(path, num_frames=16)


@pytest.mark.parametrize(
    "name",
    ["a.mp4", "a.avi", *(pytest.param(name, marks=needs_ffmpeg) for name in ("b.mp4", "b.webm", "b.ts"))],
)
def test_a_file_cut_anywhere_gives_right_frames_or_an_error(tmp_path: Path, capfd, name: str) -> None:
    path = tmp_path / name
    if name in ("a.mp4", "a.avi"):
        write_video(path, 60)
    else:
        codec = ("-c:v", "libvpx-vp9", "-cpu-used", "8") if name == "b.webm" else H264
        write_ffmpeg(path, 60, *codec, *(("-movflags", "+faststart") if name == "b.mp4" else ()))
    whole = path.read_bytes()
    for tenth in range(1, 10):
        path.write_bytes(whole[: len(whole) * tenth // 10])
        try:
            clip = read_clip(path, num_frames=16)
        except VideoError as error:
            assert name in str(error)
        else:  # a transport stream is cut between two packets
            assert path.suffix == ".ts"
            np.testing.assert_allclose(clip.pts_seconds, np.array(frame_numbers(clip.frames)) / FPS, atol=1e-6)
    assert capfd.readouterr() == ("", "")


# Windows


@pytest.mark.parametrize(
    ("window", "stride", "starts"),
    [
        (1.0, None, [0, 1, 2, 3]),  # the video is 4 s: they fit
        (1.5, None, [0, 1.5, 2.5]),  # a last one covers the tail
        (2.0, 0.5, [0, 0.5, 1, 1.5, 2]),  # overlapping
        (1.0, 2.0, [0, 2]),  # gaps as wanted
        (1.0, 1.75, [0, 1.75, 3]),  # the third would begin at 3.5
        (3.9, None, [0]),  # the tail of 0.1 s is shorter than 3.9 / 8
        (3.0, 0.9, [0, 0.9]),
        (1.2826, None, [0, 1.2826, 2.5652]),  # a tail of 0.95 / 8 of a window
        (1.2774, None, [0, 1.2774, 2.5548, 2.7226]),  # and of 1.05 / 8
        (0.5, 0.5, [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5]),
        (4.0, 1.0, None),
        (60.0, 1.0, None),
        (None, None, None),
    ],
)
def test_windows(tmp_path: Path, window, stride, starts) -> None:
    path = write_video(tmp_path / "a.mp4", 100)
    clips = list(read_clips(path, num_frames=8, window_seconds=window, stride_seconds=stride))
    segments = [(0, 4)] if starts is None else [(start, start + window) for start in starts]
    assert len(clips) == len(segments)
    for clip, segment in zip(clips, segments, strict=True):
        check_clip(clip, regular(100), segment)


@pytest.mark.parametrize("fps", [25, 30])
@pytest.mark.parametrize(("window", "stride", "starts"), [(1.2, None, (0, 1.2, 2.4)), (2.0, 1.0, (0, 1, 2))])
def test_dense_clips(tmp_path: Path, fps: int, window: float, stride: float | None, starts: tuple[float, ...]) -> None:
    """Weights that were trained at 25 frames a second, also on videos of 30; windows side by side, and overlapping."""
    path = write_video(tmp_path / "a.mp4", 4 * fps if stride else round(3.6 * fps), fps=fps)
    dense = {"interval_seconds": 1 / 25, "clips_per_window": 3}
    clips = list(read_clips(path, num_frames=8, window_seconds=window, stride_seconds=stride, **dense))
    windows = [(start, start + window) for start in starts]
    check_dense(clips, regular(4 * fps, fps), windows, interval=1 / 25, each=3)
    if fps == 25:
        assert all((np.diff(frame_numbers(clip.frames)) == 1).all() for clip in clips)


@needs_ffmpeg
def test_dense_clips_of_a_variable_rate(tmp_path: Path) -> None:
    """30 frames at 25 a second, then 30 at 25 / 3: there each is seen three times."""
    path = write_ffmpeg(tmp_path / "a.mp4", 60, *VARIABLE)
    clips = list(read_clips(path, num_frames=8, interval_seconds=1 / 25, clips_per_window=2))
    window = (0.0, clips[0].segment.end_seconds)
    check_dense(clips, [slow_then_fast(i) for i in range(60)], [window], interval=1 / 25, each=2)
    assert len(set(frame_numbers(clips[1].frames))) <= 4


def test_a_dense_clip_of_a_short_video_and_of_a_segment(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 5)
    clips = list(read_clips(path, num_frames=8, interval_seconds=1 / 25, clips_per_window=3))
    # (i + 0.5) * 5 / 8 is 0.3, 0.9, 1.6, 2.2, 2.8, 3.4, 4.1, 4.7
    assert [frame_numbers(clip.frames) for clip in clips] == [[0, 0, 1, 2, 2, 3, 4, 4]]
    path = write_video(tmp_path / "b.mp4", 50)
    clip = read_clip(path, num_frames=4, segment=Segment(0.4, 0.8), interval_seconds=1 / 25)
    assert frame_numbers(clip.frames) == [13, 14, 15, 16]
    clip = read_clip(path, num_frames=4, segment=Segment(0.4, 0.48), interval_seconds=1 / 25)
    assert frame_numbers(clip.frames) == [10, 10, 11, 11]


def test_memory_is_bounded_by_the_windows_at_hand(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 600)
    list(read_clips(path, num_frames=4, window_seconds=1, short_side=96))  # what is allocated once
    tracemalloc.start()
    total = sum(clip.frames.nbytes for clip in read_clips(path, num_frames=4, window_seconds=1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 24 * 4 * 96 * 160 * 3
    assert peak < total / 4


# A segment


@needs_ffmpeg
def test_a_segment_of_a_variable_rate(tmp_path: Path) -> None:
    path = write_ffmpeg(tmp_path / "a.mp4", 60, *VARIABLE)
    clip = read_clip(path, num_frames=9, segment=Segment(0.7, 2.9))
    check_clip(clip, [slow_then_fast(i) for i in range(60)], (0.7, 2.9))


def test_a_segment_past_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_video(tmp_path / "a.mp4", 50)
    with caplog.at_level(logging.WARNING):
        check_clip(read_clip(path, num_frames=4, segment=Segment(1, 3)), regular(50), (1, 2))
    assert "is cut at the end, 2.00 s" in caplog.text
    with pytest.raises(VideoError, match=r"lasts 2\.00 s, but a segment begins at 2\.50 s"):
        read_clip(path, num_frames=4, segment=Segment(2.5, 3))


# Size and colour


@pytest.mark.parametrize(
    ("short_side", "shape"),
    [(None, (96, 160)), (96, (96, 160)), (48, (48, 80)), (50, (50, 83)), (128, (128, 213))],
)
def test_short_side_keeps_the_aspect(tmp_path: Path, short_side: int | None, shape: tuple[int, int]) -> None:
    clip = read_clip(write_video(tmp_path / "a.mp4", 10), num_frames=10, short_side=short_side)
    assert clip.frames.shape == (10, *shape, 3)
    assert frame_numbers(clip.frames) == list(range(10))


def test_a_rotation_flag_is_honoured(tmp_path: Path) -> None:
    clip = read_clip(turn_mp4(write_video(tmp_path / "a.mp4", 10)), num_frames=10, short_side=48)
    assert clip.frames.shape == (10, 80, 48, 3)
    assert frame_numbers(np.rot90(clip.frames, axes=(1, 2))) == list(range(10))


@needs_ffmpeg
def test_odd_sizes(tmp_path: Path) -> None:
    path = write_ffmpeg(tmp_path / "a.mp4", 10, "-c:v", "libx264", "-pix_fmt", "yuv444p", width_px=161, height_px=97)
    clip = read_clip(path, num_frames=10)
    assert clip.frames.shape == (10, 97, 161, 3)
    check_clip(clip, regular(10), (0, 0.4))


@needs_ffmpeg
def test_a_frame_size_that_changes(tmp_path: Path) -> None:
    small = write_ffmpeg(tmp_path / "small.ts", 10, *H264)
    large = write_ffmpeg(tmp_path / "large.ts", 10, *H264, width_px=320, height_px=192)
    path = tmp_path / "both.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    clip = read_clip(path, num_frames=20)
    assert clip.frames.shape == (20, 96, 160, 3)
    assert frame_numbers(clip.frames) == [*range(10), *range(10)]


# Arguments, threads, changes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_frames": 0}, r"num_frames \(0\) must be at least 1"),
        ({"num_frames": 4, "window_seconds": 0.0}, r"window_seconds \(0\.0\) must be above 0"),
        ({"num_frames": 4, "window_seconds": float("nan")}, r"window_seconds \(nan\) must be above 0"),
        (
            {"num_frames": 4, "window_seconds": 1, "stride_seconds": 0},
            r"stride_seconds \(0\) must be above 0",
        ),
        ({"num_frames": 4, "stride_seconds": 1.0}, r"stride_seconds \(1\.0\) needs window_seconds"),
        ({"num_frames": 4, "short_side": 0}, r"short_side \(0\) must be at least 1 px"),
    ],
)
def test_bad_arguments_are_refused_at_once(tmp_path: Path, options: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_clips(tmp_path / "never opened.mp4", **options)


def test_several_threads_read_at_once(tmp_path: Path) -> None:
    paths = [write_video(tmp_path / f"{i}.mp4", 20 + i) for i in range(4)] * 4
    with ThreadPoolExecutor(4) as pool:
        clips = list(pool.map(lambda path: read_clip(path, num_frames=8), paths))
    for path, clip in zip(paths, clips, strict=True):
        assert frame_numbers(clip.frames) == choose_frames(20 + int(path.stem), 8).tolist()


@pytest.mark.realdata
@pytest.mark.skipif("C3DHASH_REAL_DATA" not in os.environ, reason="needs C3DHASH_REAL_DATA")
def test_real_clips() -> None:
    paths = find_videos(Path(os.environ["C3DHASH_REAL_DATA"]) / "jhmdb")
    assert len(paths) >= 600
    for path in paths[::30][:20]:
        clip = read_clip(path, num_frames=16, short_side=112)
        assert clip.frames.shape[:2] == (16, 112)
        assert clip.segment.end_seconds == pytest.approx(probe(path).duration_seconds)
        assert clip.pts_seconds[0] >= 0
        assert (np.diff(clip.pts_seconds) >= 0).all()
        targets = (np.arange(16) + 0.5) * clip.segment.end_seconds / 16
        late = targets - clip.pts_seconds  # frames are shown for 1/30 or 2/30 s
        assert (late > -1e-5).all()
        assert (late < 2 / 30).all()
