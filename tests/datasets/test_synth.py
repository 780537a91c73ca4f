"""The generated motion set: the same seed gives the same set, and one frame says nothing of the class."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from c3dhash.datasets.check import check_dataset
from c3dhash.datasets.synth import (
    HEIGHT_PX,
    MOTIONS,
    SPLITS,
    WIDTH_PX,
    make_motion_set,
    render_video,
    scaled_splits,
    write_video,
)
from c3dhash.errors import DatasetError, UsageError
from c3dhash.video.reader import read_clip

FEW = {"train": 2, "query": 1}


def digests(directory: Path) -> dict[str, str]:
    """Return name -> hash of the bytes of all videos."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*.mp4")
    }


class TestSet:
    def test_it_is_a_data_set(self, motion_dir, motion):
        assert motion.describe() == "3 classes, 12 train, 6 val, 9 gallery, 6 query"
        assert motion.format == "folders"
        assert check_dataset(motion_dir).is_clean

    def test_same_seed_same_bytes(self, tmp_path):
        for name, seed in (("a", 3), ("b", 3), ("c", 4)):
            make_motion_set(tmp_path / name, num_classes=2, videos_per_class=FEW, seed=seed)
        one, same, other = (digests(tmp_path / name) for name in "abc")
        assert one == same
        assert set(one) == set(other)
        assert not set(one.values()) & set(other.values())

    def test_a_larger_set_begins_with_the_smaller(self, tmp_path):
        make_motion_set(tmp_path / "a", num_classes=2, videos_per_class=FEW)
        make_motion_set(tmp_path / "b", num_classes=3, videos_per_class={"train": 3, "query": 1})
        small, large = digests(tmp_path / "a"), digests(tmp_path / "b")
        assert small.items() <= large.items()

    def test_no_two_videos_are_the_same(self, motion_dir):
        assert len(set(digests(motion_dir).values())) == len(list(motion_dir.rglob("*.mp4")))

    def test_a_half_written_set_is_completed(self, tmp_path):
        make_motion_set(tmp_path, num_classes=2, videos_per_class=FEW)
        before = digests(tmp_path)
        gone = tmp_path / min(before)
        kept = tmp_path / max(before)
        gone.unlink()
        kept_time = kept.stat().st_mtime_ns
        make_motion_set(tmp_path, num_classes=2, videos_per_class=FEW)
        assert digests(tmp_path) == before
        assert kept.stat().st_mtime_ns == kept_time

    def test_another_seed_is_another_folder(self, tmp_path):
        """It would keep the videos that are there, and be a set of two seeds."""
        make_motion_set(tmp_path, num_classes=2, videos_per_class=FEW)
        before = digests(tmp_path)
        with pytest.raises(UsageError, match=r"holds the set of seed 0 \(version 1\), not of seed 1"):
            make_motion_set(tmp_path, num_classes=2, videos_per_class=FEW, seed=1)
        make_motion_set(tmp_path, num_classes=3, videos_per_class=FEW)
        assert before.items() < digests(tmp_path).items()

    def test_a_folder_of_somebody_else(self, tmp_path):
        mine = tmp_path / "train/move_up/move_up_000.mp4"
        mine.parent.mkdir(parents=True)
        mine.write_bytes(b"mine")
        with pytest.raises(UsageError, match=r"holds what c3dhash data synth did not write \(train\)"):
            make_motion_set(tmp_path, num_classes=2, videos_per_class=FEW)
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]

    def test_seed_out_of_range(self, tmp_path):
        with pytest.raises(UsageError, match=r"seed \(-1\) must be 0 or more"):
            make_motion_set(tmp_path, seed=-1)

    def test_video_is_what_was_rendered(self, tmp_path):
        make_motion_set(tmp_path, num_classes=2, videos_per_class={"train": 1}, seed=5)
        frames, fps = render_video("move_up", rng=np.random.default_rng([5, 0, 0, 0]))
        clip = read_clip(tmp_path / "train/move_up/move_up_000.mp4", num_frames=len(frames))
        assert clip.segment.end_seconds == pytest.approx(len(frames) / fps)
        assert np.abs(clip.frames.astype(int) - frames).mean() < 8  # MPEG-4

    @pytest.mark.parametrize("num_classes", [0, 1, 13])
    def test_number_of_classes(self, tmp_path, num_classes):
        with pytest.raises(UsageError, match=rf"num_classes \({num_classes}\) must be between 2 and 12"):
            make_motion_set(tmp_path, num_classes=num_classes)

    def test_a_container_that_cannot_be_written(self, tmp_path):
        with pytest.raises(DatasetError, match=r"cannot write '.*a.nothing'.*'.nothing' files"):
            write_video(tmp_path / "a.nothing", np.zeros((2, 32, 32, 3), np.uint8), fps=25)


class TestScaledSplits:
    def test_default(self):
        assert scaled_splits(None) == SPLITS

    def test_in_proportion(self):
        scaled = scaled_splits(2 * SPLITS["train"])
        assert scaled == {split: 2 * count for split, count in SPLITS.items()}
        assert min(scaled_splits(1)[split] for split in SPLITS if split != "train") == 2

    def test_out_of_range(self):
        with pytest.raises(UsageError, match=r"train_videos \(0\) must be 1 or more"):
            scaled_splits(0)


class TestMotions:
    @pytest.mark.parametrize("motion", MOTIONS)
    def test_frames(self, motion):
        frames, fps = render_video(motion, rng=np.random.default_rng(1))
        assert frames.dtype == np.uint8
        assert frames.shape[1:] == (HEIGHT_PX, WIDTH_PX, 3)
        assert 24 <= len(frames) <= 40
        assert 15 <= fps <= 30
        moved = [np.abs(frame.astype(int) - frames[0]).mean() for frame in frames[1:]]
        assert (max(moved) == 0) if motion == "still" else (max(moved) > 1)

    @pytest.mark.parametrize(("motion", "reverse"), [("move_up", "move_down"), ("zoom_in", "zoom_out")])
    def test_some_classes_are_others_in_reverse(self, motion, reverse):
        """The parameters of one, run backwards, are those of the other: no set of frames tells them apart."""
        time = np.linspace(0, 1, 50)
        for phase in np.linspace(0, 0.99, 7):
            forwards = MOTIONS[motion](time, 1.0, phase, 1)
            for of_forwards, of_reverse in zip(forwards, MOTIONS[reverse](time, 1.0, phase, 1), strict=True):
                if np.ndim(of_forwards):
                    steps = np.diff(of_forwards), np.diff(of_reverse)
                    ordinary = (np.abs(steps[0]) < 0.5) & (np.abs(steps[1]) < 0.5)  # not where a sawtooth jumps
                    np.testing.assert_allclose(steps[0][ordinary], -steps[1][ordinary], atol=1e-12)

    @pytest.mark.parametrize("motion", [name for name in MOTIONS if name in ("zoom_in", "zoom_out", "pulse")])
    @pytest.mark.parametrize("moment", [0.0, 0.3, 0.9])
    def test_scale_at_any_moment_is_uniform(self, motion, moment):
        phases = (np.arange(10_000) + 0.5) / 10_000
        scales = np.array([float(MOTIONS[motion](np.array([moment]), 1.1, phase, 1)[2][0]) for phase in phases])
        counts, _ = np.histogram(scales, bins=10, range=(-1, 1))
        assert counts.min() > 950
        assert counts.max() < 1050

    def test_motions_that_have_a_mirror_image_go_both_ways(self):
        """A flipped clip keeps its class: to the left is as often as to the right, and clockwise as counter."""
        time = np.linspace(0, 1, 20)
        for motion in ("move_sideways", "spin", "orbit"):
            one, other = (MOTIONS[motion](time, 1.0, 0.25, way) for way in (-1, 1))
            assert any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True) if a is not None)

    def test_one_frame_says_nothing(self):
        """The mean colour of frames, and the share of light pixels, do not depend on the class.

        Drawn from one distribution, the n = 40 values of a class have ranks among all N = 80 whose mean is (N - 1) / 2
        with variance (N + 1) (N - n) / (12 n): a mean that is 4 standard errors off is rarer than 1 in 10,000.
        """
        rng = np.random.default_rng(0)
        values = []
        labels = []
        for motion in ("move_up", "zoom_in"):
            for _ in range(40):
                frames, _ = render_video(motion, rng=rng)
                frame = frames[int(rng.integers(len(frames)))].astype(float)
                values.append((frame.mean(), frame.std()))
                labels.append(motion)
        is_up = np.array(labels) == "move_up"
        assert Counter(labels) == {"move_up": 40, "zoom_in": 40}
        for value in np.array(values).T:
            ranks = value.argsort(kind="stable").argsort(kind="stable")
            assert abs(ranks[is_up].mean() - 79 / 2) < 4 * np.sqrt(81 * 40 / (12 * 40))
