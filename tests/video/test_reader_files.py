"""More files that people have: short ones of each codec, cut and scratched ones, 4K; see also test_video.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from videos import FPS, H264, VP9, frame_numbers, needs_ffmpeg, numbered_frame, run_ffmpeg, write_ffmpeg, write_video

from c3dhash.errors import VideoError
from c3dhash.video.isolation import DecoderPool
from c3dhash.video.reader import choose_frames, read_clip, read_clips


@needs_ffmpeg
@pytest.mark.parametrize("num_frames", [1, 2, 5, 15, 16, 17])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", H264),
        ("a.mkv", H264),
        ("a.webm", VP9),
        ("a.gif", ()),
        ("a.mov", ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p")),
        ("a.avi", ("-c:v", "mpeg4", "-bf", "2", "-vtag", "XVID")),
    ],
)
def test_short_videos_of_other_codecs(tmp_path: Path, name: str, options: tuple[str, ...], num_frames: int) -> None:
    clip = read_clip(write_ffmpeg(tmp_path / name, num_frames, *options), num_frames=16)
    assert frame_numbers(clip.frames) == choose_frames(num_frames, 16).tolist()
    np.testing.assert_allclose(clip.pts_seconds, choose_frames(num_frames, 16) / FPS, atol=1e-5)


CUT = [
    ("a.mov", H264),
    ("fragments.mp4", (*H264, "-movflags", "frag_keyframe+empty_moov", "-g", "10")),
    ("a.mkv", H264),
    ("a.3gp", H264),
    ("a.gif", ()),
    ("a.flv", H264),
    ("a.mpg", ("-c:v", "mpeg2video", "-bf", "2")),
    ("a.wmv", ("-c:v", "wmv2")),
    ("b-frames.avi", ("-c:v", "mpeg4", "-bf", "2", "-vtag", "XVID")),
]
# Recordings that may end anywhere: cut, they are shorter ones, and their header does not say otherwise. (So are raw
# streams, a.h264, where even a cut inside the first picture cannot be told from a bad picture.)
OPEN_ENDED = {"a.mpg", "fragments.mp4"}


@needs_ffmpeg
@pytest.mark.parametrize(("name", "options"), [pytest.param(*row, id=row[0]) for row in CUT])
def test_a_file_cut_at_every_tenth(tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    path = write_ffmpeg(tmp_path / name, 60, *options)
    whole = path.read_bytes()
    for tenth in range(10):
        path.write_bytes(whole[: len(whole) * tenth // 10])
        try:
            clip = read_clip(path, num_frames=8)
        except VideoError as error:
            assert name in str(error)
        else:
            assert name in OPEN_ENDED
            first = frame_numbers(clip.frames[:4])  # the last frames may be half there
            np.testing.assert_allclose(clip.pts_seconds[:4], np.array(first) / FPS, atol=1e-5)


@needs_ffmpeg
@pytest.mark.parametrize(("name", "options"), [("a.mp4", H264), ("a.webm", VP9), ("a.avi", ("-c:v", "mpeg4"))])
def test_scratched_files_end_with_clips_or_an_error(tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    """Bytes overwritten anywhere: whatever comes out, the process that reads the next file is well."""
    whole = write_ffmpeg(tmp_path / f"whole-{name}", 40, *options).read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / name
    good = write_video(tmp_path / "good.mp4", 20)
    with DecoderPool(silence_seconds=30) as pool:
        for _ in range(25):
            content = np.frombuffer(whole, np.uint8).copy()
            content[rng.integers(0, len(content), 1 + len(content) // 500)] = rng.integers(0, 256)
            path.write_bytes(content.tobytes())
            try:
                for clip in pool.stream(read_clips, path, num_frames=8):
                    assert clip.frames.shape[0] == 8
            except VideoError as error:
                assert name in str(error)
        clip = pool.call(read_clips, good, num_frames=4)
    assert frame_numbers(clip.frames) == choose_frames(20, 4).tolist()


@needs_ffmpeg
@pytest.mark.parametrize(
    ("codec", "suffix"), [("libx264", "mp4"), pytest.param("libx265", "mkv", marks=pytest.mark.slow)]
)
def test_4k_within_the_memory_of_a_process(tmp_path: Path, codec: str, suffix: str) -> None:
    path = write_ffmpeg(tmp_path / f"a.{suffix}", 6, "-c:v", codec, "-preset", "ultrafast", "-pix_fmt", "yuv420p",
                        *(("-x265-params", "log-level=none") if codec == "libx265" else ()),
                        width_px=3840, height_px=2160)  # fmt: skip
    numbered_frame.cache_clear()  # 25 MB each
    with DecoderPool() as pool:
        clip = pool.call(read_clips, path, num_frames=6, short_side=108)
        full = pool.call(read_clips, path, num_frames=2)
    assert clip.frames.shape == (6, 108, 192, 3)
    assert frame_numbers(clip.frames) == list(range(6))
    assert full.frames.shape == (2, 2160, 3840, 3)
    assert frame_numbers(full.frames) == [1, 4]


@needs_ffmpeg
@pytest.mark.parametrize("name", ["-x.mp4", "ünïcode ✓ 動画.mp4", "a b;c&d(e)#[f].avi", "a:b.mkv"])
def test_any_name_goes_through_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_ffmpeg(tmp_path / f"plain{Path(name).suffix}", 5).rename(tmp_path / name)
    with DecoderPool() as pool:
        assert frame_numbers(pool.call(read_clips, Path(name), num_frames=5).frames) == [0, 1, 2, 3, 4]


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["webm", "mov"])
def test_a_variable_frame_rate_of_other_containers(tmp_path: Path, suffix: str) -> None:
    """Frame i at i * (i + 1) / 2 periods: the gaps grow with every frame."""
    codec = VP9 if suffix == "webm" else H264
    path = write_ffmpeg(tmp_path / f"a.{suffix}", 20, "-vf", "setpts='N*(N+1)/2'", "-vsync", "vfr", *codec)
    clip = read_clip(path, num_frames=16)
    numbers = np.array(frame_numbers(clip.frames))
    np.testing.assert_allclose(clip.pts_seconds, numbers * (numbers + 1) / 2 / FPS, atol=1.1e-3)
    times = np.arange(20) * (np.arange(20) + 1) / 2 / FPS
    targets = (np.arange(16) + 0.5) * clip.segment.end_seconds / 16
    assert numbers.tolist() == (np.searchsorted(times, targets, side="right") - 1).tolist()


@needs_ffmpeg
def test_only_sound_of_every_container_is_refused(tmp_path: Path) -> None:
    for name in ("a.webm", "a.mov", "a.flv", "a.mpg"):
        run_ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", str(tmp_path / name))
        with pytest.raises(VideoError, match=name):
            read_clip(tmp_path / name, num_frames=4)
