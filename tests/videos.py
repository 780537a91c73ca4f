"""Make video files whose pixels carry the frame number, and read the number back from a frame.

A frame is a grid of 4 x 5 light and dark blocks: ten bits of the number, lowest first, then their
complement, so that a blended, broken or turned frame is noticed and survives lossy codecs. Light blocks are
orange, so that swapped colour channels are noticed too.
"""

from __future__ import annotations

import functools
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from c3dhash.records import Clip

FPS = 25
WIDTH_PX, HEIGHT_PX = 160, 96
NUM_BITS = 10
ROWS, COLUMNS = 4, 5
ORANGE = (255, 210, 160)
H264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "3", "-g", "250")
VP9 = ("-c:v", "libvpx-vp9", "-cpu-used", "8")
VARIABLE = ("-vf", "setpts='if(lt(N,30),N,3*N-60)'", "-vsync", "vfr", *H264)
# Containers in which segments are sought, with key frames every 2 s.
FAR = [
    ("a.mp4", (*H264, "-g", "50")),
    ("a.mkv", (*H264, "-g", "50")),
    ("fragments.mp4", (*H264, "-g", "50", "-movflags", "frag_keyframe+empty_moov")),
    ("open-gop.mp4", ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "50", "-x264-params", "open-gop=1")),
    ("late.mp4", (*H264, "-g", "50", "-output_ts_offset", "2")),
    ("a.webm", (*VP9, "-g", "50")),
    ("mpeg4.mov", ("-c:v", "mpeg4", "-bf", "2", "-g", "50")),
]

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the ffmpeg program")


@functools.cache
def numbered_frame(number: int, *, width_px: int = WIDTH_PX, height_px: int = HEIGHT_PX) -> np.ndarray:
    """Draw a frame: uint8 [H, W, 3], RGB."""
    bits = (number >> np.arange(NUM_BITS)) & 1
    grid = np.concatenate([bits, 1 - bits]).reshape(ROWS, COLUMNS, 1) * np.array(ORANGE)
    rows = np.arange(height_px) * ROWS // height_px
    columns = np.arange(width_px) * COLUMNS // width_px
    return grid[rows][:, columns].astype(np.uint8)


def frame_number(frame: np.ndarray) -> int:
    """Read the number of an upright RGB frame of any size; an AssertionError where it is not intact."""
    height_px, width_px = frame.shape[:2]
    rows = ((np.arange(ROWS) + 0.5) * height_px / ROWS).astype(int)
    columns = ((np.arange(COLUMNS) + 0.5) * width_px / COLUMNS).astype(int)
    lights = frame[rows][:, columns].astype(int)
    bits = (lights.mean(axis=2) > sum(ORANGE) / 6).astype(int).ravel()
    assert np.array_equal(bits[:NUM_BITS], 1 - bits[NUM_BITS:]), "the frame is blended, broken or turned"
    assert lights[..., 0].sum() > lights[..., 2].sum(), "red and blue are swapped"
    return int(bits[:NUM_BITS] @ (1 << np.arange(NUM_BITS)))


def frame_numbers(frames: np.ndarray) -> list[int]:
    return [frame_number(frame) for frame in frames]


def shown(times: list[float], start: float, end: float, num_frames: int) -> list[int]:
    """Oracle: the index of the last frame that has begun, at the centre of each of `num_frames` parts."""
    indices = []
    for part in range(num_frames):
        target = start + (part + 0.5) * (end - start) / num_frames
        indices.append(max(i for i, time in enumerate(times) if time <= target + 1e-6 or i == 0))
    return indices


def check_clip(clip: Clip, times: list[float], segment: tuple[float, float], *, atol: float = 1e-5) -> None:
    """Check the segment, the numbers and the times of a clip of a video whose frame i has number i."""
    np.testing.assert_allclose([clip.segment.start_seconds, clip.segment.end_seconds], segment, atol=atol)
    numbers = frame_numbers(clip.frames)
    assert numbers == shown(times, *segment, len(numbers))
    np.testing.assert_allclose(clip.pts_seconds, np.array(times)[numbers], atol=atol)


def check_dense(
    clips: list[Clip], times: list[float], windows: list[tuple[float, float]], *, interval: float, each: int
) -> None:
    """Check the clips of windows against a slow oracle: whole intervals after the start, evenly, none reaches out."""
    at = 0
    for start, end in windows:
        num_frames = len(clips[at].frames)
        num_places = 1
        while start + (num_places + num_frames) * interval <= end + 1e-6:
            num_places += 1
        for part in range(each):
            first = int(num_places * (part + 0.5) / each)
            expected = []
            for place in range(first, first + num_frames):
                target = start + place * interval + 1 / 120
                expected.append(max(i for i, time in enumerate(times) if time <= target + 1e-6))
            clip = clips[at]
            np.testing.assert_allclose([clip.segment.start_seconds, clip.segment.end_seconds], (start, end), atol=1e-5)
            assert frame_numbers(clip.frames) == expected
            np.testing.assert_allclose(clip.pts_seconds, np.array(times)[expected], atol=1e-5)
            at += 1
    assert at == len(clips)


def regular(num_frames: int, fps: float = FPS) -> list[float]:
    return [i / fps for i in range(num_frames)]


def slow_then_fast(index: int) -> float:
    """Seconds: 30 frames at 25 fps, then at 25/3 fps; as VARIABLE writes them."""
    return (index if index < 30 else 30 + 3 * (index - 30)) / FPS


def write_video(
    path: Path,
    num_frames: int,
    *,
    fourcc: str | None = None,
    fps: float = FPS,
    width_px: int = WIDTH_PX,
    height_px: int = HEIGHT_PX,
) -> Path:
    """Write frames 0 .. num_frames - 1 with OpenCV: mp4v in .mp4, MJPG elsewhere, or the codec named."""
    frames = [numbered_frame(number, width_px=width_px, height_px=height_px) for number in range(num_frames)]
    return write_frames(path, frames, fourcc=fourcc, fps=fps)


def write_frames(path: Path, frames: Sequence[np.ndarray], *, fourcc: str | None = None, fps: float = FPS) -> Path:
    """Write frames, each uint8 [H, W, 3] RGB, with OpenCV; the codec as of `write_video`."""
    fourcc = fourcc or ("mp4v" if path.suffix == ".mp4" else "MJPG")
    code = cv2.VideoWriter.fourcc(*fourcc)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, fps, frames[0].shape[1::-1])
    assert writer.isOpened(), f"OpenCV does not write {fourcc} to {path.name}"
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def black_frames(num_frames: int, *, width_px: int = WIDTH_PX, height_px: int = HEIGHT_PX) -> list[np.ndarray]:
    return [np.zeros((height_px, width_px, 3), np.uint8)] * num_frames


def write_ffmpeg(
    path: Path,
    num_frames: int,
    *options: str,
    fps: float | str = FPS,
    width_px: int = WIDTH_PX,
    height_px: int = HEIGHT_PX,
) -> Path:
    """Write frames 0 .. num_frames - 1 with the ffmpeg program and its output `options`."""
    frames = [numbered_frame(number, width_px=width_px, height_px=height_px) for number in range(num_frames)]
    source = f"-f rawvideo -pix_fmt rgb24 -s {width_px}x{height_px} -r {fps} -i -"
    run_ffmpeg(*source.split(), *options, str(path), stdin=b"".join(frame.tobytes() for frame in frames))
    return path


def run_ffmpeg(*arguments: str, stdin: bytes = b"") -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments], input=stdin, check=True)


def turn_mp4(path: Path, *, degrees: int = 90) -> Path:
    """Set the rotation flag of an MP4: a player turns its frames clockwise.

    Source: ISO/IEC 14496-12, 8.3.2: the matrix (a b u; c d v; x y w) of the track header, 16.16 and 2.30
    fixed point, for 90 degrees (0 1 0; -1 0 0; 0 0 1); it begins 44 bytes after the name of a version 0 box.
    """
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 44
    cosine, sine = (round(value * 65536) for value in (np.cos(np.radians(degrees)), np.sin(np.radians(degrees))))
    matrix = np.array([cosine, sine, 0, -sine, cosine, 0, 0, 0, 1 << 30], ">i4")
    content[start : start + 36] = matrix.tobytes()
    path.write_bytes(content)
    return path


def claim_avi_frames(path: Path, num_frames: int) -> Path:
    """Overwrite the number of frames in the headers of an AVI (dwTotalFrames, and dwLength of stream 0)."""
    content = bytearray(path.read_bytes())
    for name, offset in ((b"avih", 24), (b"strh", 40)):
        start = content.index(name) + offset
        content[start : start + 4] = num_frames.to_bytes(4, "little")
    path.write_bytes(content)
    return path


def write_growing_avi(path: Path, *, num_frames: int = 30, num_small: int = 5) -> Path:
    """Write JPEG frames of 160 x 96 px, and behind them some of 320 x 192; the headers know of the former alone.

    Source: AVI RIFF File Reference: `avih`, `strh` and `strf` are MainAVIHeader, AVIStreamHeader, BITMAPINFOHEADER.
    """
    sizes = [
        (WIDTH_PX, HEIGHT_PX) if number < num_small else (2 * WIDTH_PX, 2 * HEIGHT_PX) for number in range(num_frames)
    ]
    frames = [
        numbered_frame(number, width_px=width_px, height_px=height_px)
        for number, (width_px, height_px) in enumerate(sizes)
    ]
    jpegs = [cv2.imencode(".jpg", frame[..., ::-1])[1].tobytes() for frame in frames]

    def chunk(name: bytes, content: bytes) -> bytes:
        return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)

    size = (WIDTH_PX, HEIGHT_PX)
    main = struct.pack("<14I", 1_000_000 // FPS, 0, 0, 0x10, num_frames, 0, 1, 0, *size, 0, 0, 0, 0)
    stream = b"vidsMJPG" + struct.pack("<10I4H", 0, 0, 0, 1, FPS, 0, num_frames, 0, 0xFFFFFFFF, 0, 0, 0, *size)
    bitmap = struct.pack("<IiiHH4sIiiII", 40, *size, 1, 24, b"MJPG", 3 * size[0] * size[1], 0, 0, 0, 0)
    headers = chunk(b"LIST", b"strl" + chunk(b"strh", stream) + chunk(b"strf", bitmap))
    movie, index = b"movi", b""
    for jpeg in jpegs:
        index += b"00dc" + struct.pack("<III", 0x10, len(movie), len(jpeg))
        movie += chunk(b"00dc", jpeg)
    body = b"AVI " + chunk(b"LIST", b"hdrl" + chunk(b"avih", main) + headers)
    path.write_bytes(chunk(b"RIFF", body + chunk(b"LIST", movie) + chunk(b"idx1", index)))
    return path
