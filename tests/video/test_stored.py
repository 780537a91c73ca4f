"""Frames in a file: what goes in comes out, as well as the quality says, and what is damaged is seen."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
from videos import frame_numbers, numbered_frame

from c3dhash.video import stored
from c3dhash.video.stored import LOSSLESS, Chunk, StoredFrames, TooLarge, Unkept, compress, write_frames

FRAMES = [numbered_frame(number) for number in range(6)]


def timed(frames: list[np.ndarray]) -> list[tuple[float, np.ndarray | None]]:
    return [*((index / 25, frame) for index, frame in enumerate(frames)), (len(frames) / 25, None)]


def write(path: Path, frames: list[np.ndarray], *, quality: int = LOSSLESS) -> StoredFrames:
    num_bytes = write_frames(path, compress(timed(frames), quality=quality), max_bytes=1 << 20)
    assert num_bytes == path.stat().st_size
    return StoredFrames(path)


@pytest.mark.parametrize(("quality", "error"), [(LOSSLESS, 0), (95, 1), (50, 6)])
def test_frames_come_out_as_they_went_in(tmp_path: Path, quality: int, error: float) -> None:
    kept = write(tmp_path / "a", FRAMES, quality=quality)
    assert kept.times == [0, 0.04, 0.08, 0.12, 0.16, 0.2]
    assert kept.end_seconds == 0.24
    frames = kept.frames([1, 1, 4, 5])
    assert frames.dtype == np.uint8
    assert frame_numbers(frames) == [1, 1, 4, 5]
    off = np.abs(frames.astype(int) - np.stack([FRAMES[index] for index in (1, 1, 4, 5)])).mean()
    assert (off == 0) == (quality == LOSSLESS)
    assert off <= error


@pytest.mark.parametrize(("quality", "error"), [(LOSSLESS, 0), (90, 3)])
def test_flow_keeps_its_two_channels(tmp_path: Path, quality: int, error: int) -> None:
    rows, columns = np.mgrid[:20, :30].astype(np.uint8)
    flow = [np.stack([100 + columns + number, 200 - rows], axis=-1) for number in range(3)]
    frames = write(tmp_path / "a", flow, quality=quality).frames([0, 2])
    assert frames.shape == (2, 20, 30, 2)
    assert np.abs(frames.astype(int) - np.stack([flow[0], flow[2]])).max() <= error


def test_chunks_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "one", FRAMES)
    monkeypatch.setattr(stored, "CHUNK_BYTES", 10)
    assert len(list(compress(timed(FRAMES), quality=LOSSLESS))) == len(FRAMES) + 1
    write(tmp_path / "many", FRAMES)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "many").read_bytes()


def test_too_many_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "MAX_FRAMES", 5)
    with pytest.raises(Unkept, match="frame 6"):
        list(compress(timed(FRAMES), quality=50))


def test_a_size_that_changes() -> None:
    with pytest.raises(Unkept, match=r"frame 2 is \(96, 80, 3\), the first \(96, 160, 3\)"):
        list(compress(timed([FRAMES[0], FRAMES[1][:, :80]]), quality=50))


def test_chunks_without_an_end(tmp_path: Path) -> None:
    with pytest.raises(Unkept, match="it has no end"):
        write_frames(tmp_path / "a", [Chunk([0.0], [b"x"])], max_bytes=100)


def test_chunks_are_taken_to_the_end(tmp_path: Path) -> None:
    """A decoder process whose task is not run to its end is not used again."""
    chunks = compress(timed(FRAMES), quality=50)
    write_frames(tmp_path / "a", chunks, max_bytes=1 << 20)
    assert inspect.getgeneratorstate(chunks) == inspect.GEN_CLOSED


def test_more_than_there_may_be(tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match="more than 50 bytes"):
        write_frames(tmp_path / "a", [Chunk([0.0], [bytes(40)])], max_bytes=50)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (-1, "it ends with"),
        (-30, "its table is damaged"),
        (-50, "its table is damaged"),
        (-70, "its table is damaged"),
        (30, "frame 0 is damaged"),
    ],
)
def test_a_byte_that_changed(tmp_path: Path, place: int, message: str) -> None:
    path = tmp_path / "a"
    write(path, FRAMES[:1])
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        StoredFrames(path).frames([0])


@pytest.mark.parametrize("num_bytes", [1, 20, 60])
def test_a_file_cut_short(tmp_path: Path, num_bytes: int) -> None:
    path = tmp_path / "a"
    write(path, FRAMES[:1])
    path.write_bytes(path.read_bytes()[:num_bytes])
    with pytest.raises(ValueError, match="it ends with"):
        StoredFrames(path)
