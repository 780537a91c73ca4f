from __future__ import annotations

from pathlib import Path

import cv2
import pytest
from videos import needs_ffmpeg, numbered_frame, run_ffmpeg, write_ffmpeg, write_video

from c3dhash.errors import VideoError
from c3dhash.video.containers import ASF_HEADER, ASF_PROPERTIES, check_container

RIFF_OF_12 = b"RIFF\x0c\0\0\0AVI " + b"\0" * 8
FREE_OF_8 = b"\0\0\0\x08free"


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["a.avi", "b.mp4"])
def test_a_whole_file_passes_and_its_container_is_named(tmp_path: Path, name: str) -> None:
    assert check_container(write_video(tmp_path / name, 3)) == name[2:]


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.mkv", "matroska"), ("b.gif", "gif"), ("c.ts", "ts"), ("d.flv", "other"), ("e.mov", "mp4"), ("f.wmv", "asf")],
)
def test_more_containers_are_named(tmp_path: Path, name: str, kind: str) -> None:
    assert check_container(write_ffmpeg(tmp_path / name, 3)) == kind


@pytest.mark.parametrize(
    "name",
    ["a.avi", "a.mp4", *(pytest.param(f"a.{kind}", marks=needs_ffmpeg) for kind in ("mkv", "gif", "wmv"))],
)
def test_a_file_cut_at_every_tenth_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    (write_video if name in ("a.avi", "a.mp4") else write_ffmpeg)(path, 30)
    whole = path.read_bytes()
    for tenth in range(1, 10):
        part = whole[: len(whole) * tenth // 10]
        with pytest.raises(VideoError, match=rf"cut short: .*{len(part)}"):
            check_container(write(path, part))


@pytest.mark.parametrize("size", ["0", "1"])
def test_mp4_boxes_of_open_and_of_64_bit_length(tmp_path: Path, size: str) -> None:
    box = {"0": b"\0\0\0\0mdat", "1": b"\0\0\0\x01mdat" + (16 + 20).to_bytes(8, "big")}[size]
    path = tmp_path / "a.mp4"
    assert check_container(write(path, FREE_OF_8 + box + b"\1" * 20)) == "mp4"
    if size == "1":
        with pytest.raises(VideoError, match="holds 34 of the 44 bytes"):
            check_container(write(path, FREE_OF_8 + box + b"\1" * 10))


def test_what_follows_the_last_mp4_box_does_not_matter(tmp_path: Path) -> None:
    for extra in (b"\0" * 100, b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8" * 3):
        assert check_container(write(tmp_path / "a.mp4", FREE_OF_8 + extra)) == "mp4"


def test_half_an_mp4_box_header_is_a_cut(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="holds 13 of the"):
        check_container(write(tmp_path / "a.mp4", FREE_OF_8 + b"\0\0\0\x10m"))


def test_avi_in_several_riffs_and_one_that_was_never_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    second = RIFF_OF_12.replace(b"AVI ", b"AVIX")
    assert check_container(write(path, RIFF_OF_12 + second)) == "avi"
    with pytest.raises(VideoError, match="holds 28 of the 40 bytes"):
        check_container(write(path, RIFF_OF_12 + second[:8]))
    odd = b"RIFF\x0d\0\0\0AVI " + b"\0" * 10  # 13 bytes and one of padding
    with pytest.raises(VideoError, match="holds 30 of the 42 bytes"):
        check_container(write(path, odd + second[:8]))
    for open_length in (b"\0\0\0\0", b"\xff\xff\xff\xff"):
        assert check_container(write(path, b"RIFF" + open_length + b"AVI " + b"\0" * 99)) == "avi"


def test_live_matroska_has_no_length_to_check(tmp_path: Path) -> None:
    ebml = b"\x1a\x45\xdf\xa3\x81\x42"  # the header holds 1 byte
    path = tmp_path / "a.webm"
    live = b"\x18\x53\x80\x67\x01" + b"\xff" * 7
    assert check_container(write(path, ebml + live + b"\0" * 9)) == "matroska"
    known = b"\x18\x53\x80\x67\x40\x64"  # 100 bytes, in a length of two bytes
    assert check_container(write(path, ebml + known + b"\0" * 100)) == "matroska"
    with pytest.raises(VideoError, match="holds 62 of the 112 bytes"):
        check_container(write(path, ebml + known + b"\0" * 50))
    with pytest.raises(VideoError, match="cut short: it holds 10 of"):
        check_container(write(path, ebml + known[:4]))


def test_a_broadcast_asf_has_no_length_to_check(tmp_path: Path) -> None:
    header = ASF_HEADER + b"\0" * 14 + ASF_PROPERTIES + b"\x68" + b"\0" * 7 + b"\1" * 16
    path = tmp_path / "a.wmv"
    assert check_container(write(path, header + b"\0" * 99)) == "asf"
    with pytest.raises(VideoError, match="holds 178 of the 1000 bytes"):
        check_container(write(path, header + (1000).to_bytes(8, "little") + b"\0" * 100))
    assert check_container(write(path, ASF_HEADER + b"\0" * 99)) == "asf"  # without properties


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"empty \(0 bytes\)"),
        (b"no video, just words\n" * 90, "text or a playlist, not a video: it begins b'no video"),
        (b"ffconcat version 1.0\nfile other.mp4\n", "playlist"),
        (b"ffconcat version 1.0\n#\x01\nfile other.mp4\n", "playlist"),
        (b"\xef\xbb\xbf\n ffconcat version 1.0\n#\0\n", "playlist"),
        (b"#EXTM3U\n#\x01\n#EXTINF:1,\nother.ts\n", "playlist"),
        (b"v=0\nm=video 0 RTP/AVP 96\nc=IN IP4 127.0.0.1\n\x01", "playlist"),
        (b'<?xml version="1.0"?>\x01<MPD profiles="x">', "playlist"),
        (b"\x01\x02<MPD>", "playlist"),
        ("Überschrift\n".encode() * 9, "text"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "a sound file"),
        (b"ID3\x04\0\0", "a sound file"),
        (b"fLaC\0\0", "a sound file"),
        (b"\0\0\0\x1cftypM4A \0\0", "a sound file"),
    ],
)
def test_what_is_no_video_is_refused_with_a_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    path = write(tmp_path / "pretends.mp4", content)
    with pytest.raises(VideoError, match=rf"pretends\.mp4.*{reason}"):
        check_container(path)


@pytest.mark.parametrize("suffix", ["jpeg", "png", "bmp", "tiff", "webp"])
def test_a_picture_is_no_video_whatever_its_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    assert cv2.imwrite(str(path), numbered_frame(5))
    with pytest.raises(VideoError, match=rf"(?i)is a {suffix} picture"):
        check_container(path.rename(tmp_path / "a.mp4"))


def test_uncompressed_video_that_begins_like_a_text_passes(tmp_path: Path) -> None:
    assert check_container(write(tmp_path / "a.y4m", b"YUV4MPEG2 W32 H32 F25:1\nFRAME\n" + b"~" * 1536)) == "other"


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "options"),
    [("a.nut", ("-c:v", "mpeg4")), ("a.mpjpeg", ("-f", "mpjpeg", "-c:v", "mjpeg"))],
)
def test_more_videos_that_begin_like_a_text_pass(tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    assert check_container(write_ffmpeg(tmp_path / name, 3, *options)) == "other"


@pytest.mark.parametrize("name", ["a%03d.png", "a*.jpg", "a?.bmp", "{a,b}.tga", "100%/a.webp"])
def test_a_name_that_means_a_series_of_pictures(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    write(path, FREE_OF_8)
    with pytest.raises(VideoError, match="has a name that may mean a series of pictures"):
        check_container(path)
    assert check_container(path.rename(path.with_suffix(".mp4"))) == "mp4"


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"nowhere\.mp4' does not exist"):
        check_container(tmp_path / "nowhere.mp4")
    with pytest.raises(VideoError, match=r"is not a file but a folder; name a regular file"):
        check_container(tmp_path)


def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.mp4", FREE_OF_8)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # root may read everything, so chmod does not do
    with pytest.raises(VideoError, match=r"a\.mp4' cannot be read \(Permission denied\)"):
        check_container(path)


@needs_ffmpeg
def test_real_sound_files_are_refused(tmp_path: Path) -> None:
    for name in ("a.wav", "a.flac"):
        run_ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", str(tmp_path / name))
        with pytest.raises(VideoError, match=rf"{name}' is a sound file"):
            check_container(tmp_path / name)
