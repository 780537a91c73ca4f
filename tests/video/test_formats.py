"""Files as FFmpeg's users have them: every suffix that is known is read, to the same frames by OpenCV and PyAV."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from videos import FPS, H264, check_clip, frame_numbers, needs_ffmpeg, regular, run_ffmpeg, write_ffmpeg, write_video

from c3dhash.errors import VideoError
from c3dhash.video import decoder
from c3dhash.video import reader as reader
from c3dhash.video.containers import VIDEO_SUFFIXES, check_container
from c3dhash.video.reader import find_videos, read_clip

MPEG4 = ("-c:v", "mpeg4")
MPEG2 = ("-c:v", "mpeg2video")
OPTIONS = {
    ".3g2": H264, ".3gp": H264, ".asf": ("-c:v", "wmv2"), ".avi": MPEG4, ".divx": (*MPEG4, "-f", "avi"), ".f4v": H264,
    ".flv": ("-c:v", "flv"), ".gif": (), ".ivf": ("-c:v", "libvpx"), ".m1v": ("-c:v", "mpeg1video"), ".m2v": MPEG2,
    ".m2t": (*MPEG2, "-f", "mpegts"), ".m2ts": H264, ".m4v": (*H264, "-f", "mp4"), ".mk3d": (*H264, "-f", "matroska"),
    ".mkv": H264, ".mov": H264, ".mp4": H264, ".mpe": (*MPEG2, "-f", "mpeg"), ".mpeg": MPEG2, ".mpg": MPEG2,
    ".mts": (*H264, "-mpegts_m2ts_mode", "1"), ".mxf": MPEG2, ".nut": MPEG4, ".ogm": ("-c:v", "libtheora", "-f", "ogg"),
    ".ogv": ("-c:v", "libtheora"), ".qt": (*H264, "-f", "mov"), ".rm": ("-c:v", "rv20"),
    ".rmvb": ("-c:v", "rv20", "-f", "rm"), ".ts": H264, ".vob": (*MPEG2, "-f", "vob"), ".webm": ("-c:v", "libvpx"),
    ".wmv": ("-c:v", "wmv2"), ".wtv": MPEG2, ".y4m": ("-pix_fmt", "yuv420p"),
}  # fmt: skip
# Of sizes or rates of their own.
OTHERS = {
    ".amv": ("-c:v", "amv", "-an", "-r", "25", "-strict", "-1"),
    ".dv": ("-s", "720x576", "-pix_fmt", "yuv420p", "-aspect", "4:3"),
}


def test_every_suffix_is_tried_here() -> None:
    assert OPTIONS.keys() | OTHERS.keys() == VIDEO_SUFFIXES


@needs_ffmpeg
@pytest.mark.parametrize("suffix", sorted(OPTIONS))
def test_a_file_of_each_suffix(tmp_path: Path, suffix: str, library: str) -> None:
    path = write_ffmpeg(tmp_path / f"A{suffix.upper()}", 20, *OPTIONS[suffix])
    assert find_videos(tmp_path) == [path]
    clip = read_clip(path, num_frames=10)
    # A raw MPEG-1 stream has no times, and those that FFmpeg counts for it leave one out.
    wrong = np.array(frame_numbers(clip.frames)) - range(1, 20, 2)
    assert np.abs(wrong).max() <= (suffix == ".m1v")
    np.testing.assert_allclose(clip.pts_seconds, np.arange(1, 20, 2) / FPS, atol=1 / FPS if suffix == ".m1v" else 2e-3)


INTERLACED = [
    ("a.dv", OTHERS[".dv"]),
    ("a.mpg", ("-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-vf", "setfield=tff")),
    ("a.mp4", (*H264, "-flags", "+ildct+ilme", "-x264opts", "tff=1")),
]


@needs_ffmpeg
@pytest.mark.parametrize("uses_packets", [False, True], ids=["passes", "packets"])
@pytest.mark.parametrize(("name", "options"), INTERLACED)
def test_interlaced_frames_are_those_of_the_file(
    tmp_path: Path, name: str, options: tuple[str, ...], uses_packets: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("av")
    if not uses_packets:
        monkeypatch.setattr(reader, "_packets", lambda: None)
    clip = read_clip(write_ffmpeg(tmp_path / name, 20, *options), num_frames=10)
    assert frame_numbers(clip.frames) == list(range(1, 20, 2))
    if name == "a.dv":
        assert clip.frames.shape[1:] == (576, 768, 3)  # 4:3; 720 pixels of 16:15


@needs_ffmpeg
@pytest.mark.parametrize(("name", "options"), INTERLACED)
def test_interlaced_frames_that_are_not_converted_are_said(
    tmp_path: Path, name: str, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    if decoder.CONVERTS_INTERLACED:
        pytest.skip("this OpenCV converts them")
    monkeypatch.setattr(reader, "_packets", lambda: None)
    monkeypatch.setattr(decoder, "_av_capture", lambda: None)
    read_clip(write_ffmpeg(tmp_path / name, 20, *options), num_frames=10)
    assert any(
        "all its pictures are the same; if it is not a still it is interlaced" in text for text in caplog.messages
    )
    caplog.clear()
    read_clip(write_video(tmp_path / "other.mp4", 20), num_frames=10)
    assert caplog.messages == []


@needs_ffmpeg
def test_an_avi_that_was_written_to_a_pipe(tmp_path: Path, library: str) -> None:
    source, path = write_ffmpeg(tmp_path / "a.mp4", 50, *H264), tmp_path / "a.avi"
    with path.open("wb") as file:
        command = ["ffmpeg", "-v", "error", "-i", str(source), "-c:v", "mpeg4", "-f", "avi", "-"]
        subprocess.run(command, stdout=subprocess.PIPE, check=True)
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # what cannot be rewound
            file.write(process.stdout.read())
    assert path.read_bytes()[4:8] == b"\xff\xff\xff\xff"
    check_clip(read_clip(path, num_frames=16), regular(50), (0, 2))


@needs_ffmpeg
@pytest.mark.parametrize("num_bytes", [1, 100, 187])
def test_a_transport_stream_that_ends_inside_a_packet(tmp_path: Path, num_bytes: int, library: str) -> None:
    path = write_ffmpeg(tmp_path / "a.ts", 50, *H264, "-g", "10")
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:num_bytes])
    check_clip(read_clip(path, num_frames=16), regular(50), (0, 2))
    path.write_bytes(whole[: len(whole) * 3 // 4 // 188 * 188 + num_bytes])
    numbers = frame_numbers(read_clip(path, num_frames=8).frames[:4])
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize(
    "text",
    [
        b"ffconcat version 1.0\nfile 'neighbour.mp4'\n",
        b"ffconcat version 1.0\n#\x01\nfile 'neighbour.mp4'\n",
        b"#EXTM3U\n#\x01\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\nneighbour.mp4\n#EXT-X-ENDLIST\n",
        b"v=0\nm=video 5004 RTP/AVP 96\nc=IN IP4 127.0.0.1\n#\x01",
    ],
    ids=["ffconcat", "ffconcat and a control byte", "m3u8", "sdp"],
)
@pytest.mark.parametrize("name", ["list.mp4", "list.m3u8", "list.ffconcat", "list.sdp"])
def test_a_list_does_not_play_its_neighbour(tmp_path: Path, name: str, text: bytes, library: str) -> None:
    write_video(tmp_path / "neighbour.mp4", 10)
    (tmp_path / name).write_bytes(text)
    with pytest.raises(VideoError, match=rf"{name}' is a text or a playlist"):
        read_clip(tmp_path / name, num_frames=4)


def test_a_name_is_a_name_and_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    write_video(tmp_path / "a.mp4", 10)
    monkeypatch.chdir(tmp_path)
    for name in ("concat:a.mp4|a.mp4", "file:a.mp4", "subfile,,start,0,end,9,,:a.mp4", "a%03d.mp4", "pipe:0"):
        with pytest.raises(VideoError, match="does not exist"):
            read_clip(name, num_frames=4)
        write_video(Path("b.mp4"), 3).rename(name)
        assert frame_numbers(read_clip(name, num_frames=3).frames) == [0, 1, 2]


def test_a_pattern_of_pictures_does_not_play_its_neighbours(tmp_path: Path, library: str) -> None:
    for number in range(3):
        write_video(tmp_path / "a.mp4", 3).rename(tmp_path / f"{number}.png")
    path = write_video(tmp_path / "a.mp4", 3).rename(tmp_path / "%d.png")
    with pytest.raises(VideoError, match="may mean a series of pictures"):
        read_clip(path, num_frames=3)


@needs_ffmpeg
def test_sound_in_a_video_suffix(tmp_path: Path, library: str) -> None:
    run_ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", str(tmp_path / "a.mkv"))
    assert check_container(tmp_path / "a.mkv") == "matroska"
    with pytest.raises(VideoError, match="has no picture that can be decoded"):
        read_clip(tmp_path / "a.mkv", num_frames=4)
