"""All frames of a sample: a clip made of them is the clip that is read directly, frame by frame."""

from __future__ import annotations

from pathlib import Path

import breakers
import cv2
import numpy as np
import pytest
from trees import write_flow, write_pictures
from videos import FAR, H264, VARIABLE, frame_numbers, needs_ffmpeg, regular, run_ffmpeg, write_ffmpeg, write_video

from c3dhash.errors import VideoError
from c3dhash.records import FrameFolder, Preprocessing, Sample, Segment
from c3dhash.video import every_frame
from c3dhash.video.cache import FrameCache, cache_usage
from c3dhash.video.clips import ClipReader
from c3dhash.video.every_frame import video_frames
from c3dhash.video.reader import read_clips
from c3dhash.video.stored import LOSSLESS, Unkept
from c3dhash.video.transforms import augment_clip, decoded_short_side
from c3dhash.video.views import read_views

SEGMENTS = [None, Segment(0.3, 0.92), Segment(0.5, 50)]
# Interval in seconds, clips, phase: spread, and dense.
CLIPS = [(None, 1, 0.0), (None, 1, 0.5), (None, 1, 0.97), (1 / 25, 1, 0.0), (1 / 25, 3, 0.5), (1 / 25, 1, 0.97)]


def clips_of(reader: ClipReader, sample: Sample, *, num_clips: int = 1, phase: float = 0.5) -> np.ndarray:
    """Return whole frames of clips, not their middles."""
    return reader._clips(sample, reader._plan(sample, num_clips, phase=phase))


def check_same(tmp_path: Path, sample: Sample, *, channels: str = "RGB", quality: int = LOSSLESS) -> None:
    """Compare clips from the cache with those read directly: each pixel, or the frame numbers and nearly each pixel."""
    cache = FrameCache(tmp_path / "cache", max_bytes=1 << 24, quality=quality)
    before = cache_usage(cache.directory)[0]
    none = FrameCache(tmp_path / "none", max_bytes=0)
    for interval_seconds, num_clips, phase in CLIPS:
        reader, direct = (ClipReader(9, 84, where, channels, interval_seconds) for where in (cache, none))
        kept, read = (clips_of(one, sample, num_clips=num_clips, phase=phase) for one in (reader, direct))
        if quality == LOSSLESS:
            assert np.array_equal(kept, read)
        else:
            assert frame_numbers(kept.reshape(-1, *kept.shape[2:])) == frame_numbers(read.reshape(-1, *read.shape[2:]))
            assert 0 < np.abs(kept.astype(int) - read).mean() < 4
    assert cache_usage(cache.directory)[0] == before + 1


@pytest.mark.parametrize("segment", SEGMENTS)
@pytest.mark.parametrize("name", ["a.avi", "a.mp4"])
def test_clips_of_a_video(tmp_path: Path, name: str, segment: Segment | None) -> None:
    sample = Sample(write_video(tmp_path / name, 40), (0,), "train", segment=segment)
    check_same(tmp_path, sample)
    check_same(tmp_path, sample, quality=90)


@needs_ffmpeg
@pytest.mark.parametrize("segment", [*SEGMENTS, Segment(1.21, 2.5)])
def test_clips_of_a_variable_rate(tmp_path: Path, segment: Segment | None) -> None:
    check_same(tmp_path, Sample(write_ffmpeg(tmp_path / "a.mp4", 50, *VARIABLE), (0,), "train", segment=segment))


@needs_ffmpeg
@pytest.mark.parametrize(("name", "options"), FAR[:4])
def test_a_segment_that_is_sought(tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    path = write_ffmpeg(tmp_path / name, 350, *options)
    grabbed: list[int] = []
    segment = Segment(11.03, 12.2)
    for _ in video_frames(path, segment=segment, short_side=96, on_frame=lambda: grabbed.append(1)):
        pass
    assert len(grabbed) < 150
    check_same(tmp_path, Sample(path, (0,), "train", segment=segment))
    check_same(tmp_path, Sample(path, (0,), "train", segment=Segment(11.03, 99)))


@pytest.mark.parametrize("segment", SEGMENTS)
def test_clips_of_a_frame_folder(tmp_path: Path, segment: Segment | None) -> None:
    folder = write_pictures(tmp_path / "v", range(40))
    (folder / "times.txt").write_text(" ".join(str(0.03 * place + 0.02 * (place > 20)) for place in range(41)))
    check_same(tmp_path, Sample(folder, (0,), "train", segment=segment, frames=FrameFolder(3, 32)))


@pytest.mark.parametrize("is_kept", [True, False], ids=["kept", "read"])
@pytest.mark.parametrize("segment", [None, Segment(0.4, 1.6)])
@pytest.mark.parametrize("is_folder", [False, True])
def test_dense_clips_are_those_of_indexing(
    tmp_path: Path, is_kept: bool, segment: Segment | None, is_folder: bool
) -> None:
    """Evaluation sees what indexing sees of a window; a training clip begins anywhere in it."""
    if is_folder:
        sample = Sample(write_pictures(tmp_path / "v", range(50)), (0,), "train", segment=segment, frames=FrameFolder())
    else:
        sample = Sample(write_video(tmp_path / "a.avi", 50), (0,), "train", segment=segment)
    cache = FrameCache(tmp_path / "cache", max_bytes=is_kept << 24, quality=LOSSLESS)
    reader = ClipReader.of_network((6, 84, 84), Preprocessing(interval_seconds=1 / 25), cache, clips_per_window=3)
    assert reader.evaluation_clips(sample).shape == (3, 6, 84, 84, 3)
    plan = reader._plan(sample, 3)
    found = [frame_numbers(frames) for frames in reader._clips(sample, plan)]
    assert found == [clip.shown(regular(50)) for clip in plan.clips(plan.segments(2.0))]
    if segment is None and not is_folder:
        clips = read_clips(sample.video, num_frames=6, interval_seconds=1 / 25, clips_per_window=3)
        assert found == [frame_numbers(clip.frames) for clip in clips]
    first, last = (0, 44) if segment is None else (10, 34)
    plans = [reader._plan(sample, 1, phase=phase) for phase in np.arange(0, 1, 0.01)]
    starts = {frame_numbers(frames)[0] for plan in plans for frames in reader._clips(sample, plan)}
    assert starts == set(range(first, last + 1))


def test_clips_of_flow(tmp_path: Path) -> None:
    folder = write_flow(tmp_path / "v", 20)
    check_same(tmp_path, Sample(folder, (0,), "train", frames=FrameFolder(1, 12)), channels="flow")


@pytest.mark.parametrize("kind", ["video", "pictures", "flow"])
@pytest.mark.parametrize("segment", [None, Segment(0.3, 0.92)])
def test_stacks_from_the_cache_are_those_that_are_read(tmp_path: Path, kind: str, segment: Segment | None) -> None:
    path = {"video": lambda: write_video(tmp_path / "a.avi", 40), "flow": lambda: write_flow(tmp_path / "v", 25),
            "pictures": lambda: write_pictures(tmp_path / "v", range(40))}[kind]()  # fmt: skip
    sample = Sample(path, (0,), "train", segment=segment, frames=None if kind == "video" else FrameFolder())
    cache, none = (FrameCache(tmp_path / f"{size}", max_bytes=size, quality=LOSSLESS) for size in (1 << 24, 0))
    preprocessing = Preprocessing("flow", 1, (128,) * 6, (128,) * 6, stack=3)
    if kind == "pictures":  # no flow: the stacks of frames that it would be computed of
        readers = [ClipReader(4, 84, where, stack=4) for where in (cache, none)]
    else:
        readers = [ClipReader.of_network((4, 84, 84), preprocessing, where) for where in (cache, none)]
    for phase in (0.0, 0.5, 0.97):
        kept, read = (clips_of(reader, sample, phase=phase) for reader in readers)
        assert np.array_equal(kept, read)
    assert cache_usage(cache.directory)[0] == 1
    assert kept.shape == ((1, 16, *kept.shape[2:4], 3) if kind == "pictures" else (1, 4, *kept.shape[2:4], 6))
    if kind == "pictures":
        numbers = np.reshape(frame_numbers(kept[0]), (4, 4))
        assert (np.diff(numbers, axis=1) == 1).all()
    if kind == "flow":  # in x written as 10 more each time, in y as 1 less
        assert (np.diff(kept[0, :, 0, 0, ::2].astype(int), axis=1) == 10).all()
        assert (np.diff(kept[0, :, 0, 0, 1::2].astype(int), axis=1) == -1).all()
        views = readers[0].evaluation_clips(sample)
        assert views.shape == (1, 4, 84, 84, 6)
    if kind == "video" and segment is None:
        ((_, (indexed,)),) = read_views(
            path, size=84, num_views=1, num_frames=4, stack=3, channels="flow", short_side=decoded_short_side(84)
        )
        assert np.array_equal(readers[0].evaluation_clips(sample)[0], indexed), "what indexing sees"


def draw(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a clip of the largest square."""
    return augment_clip(frames, size=84, min_crop_scale=1.0, flip=False, rng=rng)


def test_the_same_seed_gives_the_same_clip(tmp_path: Path) -> None:
    sample = Sample(write_video(tmp_path / "a.avi", 40), (0,), "train")
    on, off = FrameCache(tmp_path / "c", max_bytes=1 << 24, quality=LOSSLESS), FrameCache(tmp_path, max_bytes=0)
    clips = [
        [ClipReader(4, 84, cache).training_clip(sample, seed=(seed,), draw=draw) for seed in range(12)]
        for cache in (on, on, off)
    ]
    assert np.array_equal(clips[0], clips[1])
    assert np.array_equal(clips[0], clips[2])
    assert len({clip.tobytes() for clip in clips[0]}) > 6  # of ten places in a fourth of the video


def test_training_draws_a_dense_clip_anywhere(tmp_path: Path) -> None:
    """Of 40 frames at 25 a second, 4 in a row; the first of 37 places and the last are among many draws."""
    reader = ClipReader(4, 84, FrameCache(tmp_path / "c", max_bytes=1 << 24), interval_seconds=1 / 25)
    sample = Sample(write_video(tmp_path / "a.avi", 40), (0,), "train")
    drawn = [
        frame_numbers(clips_of(reader, sample, phase=np.random.default_rng(seed).uniform())[0]) for seed in range(200)
    ]
    assert all(numbers == list(range(numbers[0], numbers[0] + 4)) for numbers in drawn)
    assert {numbers[0] for numbers in drawn} >= {0, 36}
    clips = {reader.training_clip(sample, seed=(seed,), draw=draw).tobytes() for seed in range(12)}
    assert len(clips) > 6


class TestNotKept:
    """What is better read from the video each time."""

    def test_many_frames(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write_video(tmp_path / "a.avi", 40)
        monkeypatch.setattr(every_frame, "MAX_FRAMES", 39)
        with pytest.raises(Unkept, match="it has 40 frames"):
            next(video_frames(path, segment=None, short_side=96, on_frame=lambda: None))
        next(video_frames(path, segment=Segment(0, 1), short_side=96, on_frame=lambda: None))

    @needs_ffmpeg
    def test_no_frame_at_the_start_of_a_segment(self, tmp_path: Path) -> None:
        gap = ("-vf", "setpts='if(lt(N,20),N,N+100)'", "-vsync", "vfr", *H264)
        path = write_ffmpeg(tmp_path / "a.mp4", 40, *gap)
        with pytest.raises(Unkept, match=r"no frame in the 2\.0 s before"):
            next(video_frames(path, segment=Segment(4.0, 5.2), short_side=96, on_frame=lambda: None))

    @needs_ffmpeg
    def test_a_video_that_ends_early(self, tmp_path: Path) -> None:
        source = write_ffmpeg(tmp_path / "source.mp4", 300, *H264)
        path = tmp_path / "a.mkv"  # says how long its longest stream is
        run_ffmpeg(
            "-f", "lavfi", "-i", "sine=d=30", "-i", str(source), "-map", "0", "-map", "1", "-c:v", "copy", str(path)
        )
        with pytest.raises(Unkept, match="the video ends before its header says"):
            list(video_frames(path, segment=Segment(11, 20), short_side=96, on_frame=lambda: None))

    def test_what_breaks_there_is_read_directly(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        sample = Sample(write_video(tmp_path / "a.avi", 20), (0,), "train")
        monkeypatch.setattr("c3dhash.video.samples._every_frame", breakers.crash)
        cache = FrameCache(tmp_path / "cache", max_bytes=1 << 24)
        assert frame_numbers(clips_of(ClipReader(20, 84, cache), sample)[0]) == list(range(20))
        assert cache_usage(cache.directory) == (0, 0)


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_segment_after_the_end(tmp_path: Path, is_folder: bool) -> None:
    path = write_pictures(tmp_path / "a", range(9)) if is_folder else write_video(tmp_path / "a.avi", 9)
    frames = FrameFolder() if is_folder else None
    reader = ClipReader(4, 84, FrameCache(tmp_path / "cache", max_bytes=1 << 24))
    with pytest.raises(VideoError, match=r"lasts 0\.36 s, but a segment begins at 5\.00 s"):
        reader.evaluation_clips(Sample(path, (0,), "train", segment=Segment(5, 6), frames=frames))


def test_flow_of_a_video(tmp_path: Path) -> None:
    """It is that of the frames of a clip and one more, as where videos are indexed; the cache keeps the frames."""
    sample = Sample(write_video(tmp_path / "a.avi", 20), (0,), "train")
    cache = FrameCache(tmp_path / "cache", max_bytes=1 << 24, quality=LOSSLESS)
    reader = ClipReader(4, 84, cache, "flow")
    clips = reader.evaluation_clips(sample)
    assert clips.shape == (1, 4, 84, 84, 2)
    ((_, (indexed,)),) = read_views(
        sample.video, size=84, num_views=1, num_frames=4, channels="flow", short_side=decoded_short_side(84)
    )
    assert np.array_equal(clips[0], indexed)
    assert np.array_equal(clips, ClipReader(4, 84, FrameCache(tmp_path, max_bytes=0), "flow").evaluation_clips(sample))
    files = sorted((tmp_path / "cache").glob("*.frames"))
    ClipReader(9, 84, cache).evaluation_clips(sample)
    assert len(files) == 1 and sorted((tmp_path / "cache").glob("*.frames")) == files, "RGB has the same"


def test_a_folder_whose_pictures_change_their_size(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "a", range(9))
    cv2.imwrite(str(folder / "img_00009.jpg"), np.zeros((50, 50, 3), np.uint8))
    reader = ClipReader(2, 84, FrameCache(tmp_path / "cache", max_bytes=1 << 24))
    assert frame_numbers(clips_of(reader, Sample(folder, (0,), "train", frames=FrameFolder()))[0]) == [2, 6]
