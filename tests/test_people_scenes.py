"""The script that pastes clips into scenes, and people who are really there."""

from __future__ import annotations

import numpy as np
import people as script
import pytest

from c3dhash.datasets.find import find_dataset
from c3dhash.recognition.detectors import HogDetector
from c3dhash.recognition.people import find_tracks
from c3dhash.recognition.results import Person, Prediction
from c3dhash.recognition.timeline import FirstClasses
from c3dhash.recognition.tracks import Track
from c3dhash.video.decoder import Decoder


def track(*boxes, number=1, seconds=None):
    seconds = np.arange(len(boxes)) / 4 if seconds is None else np.array(seconds)
    return Track(number, seconds, np.array(boxes, float), float(seconds[-1]) + 0.25)


def test_clips_are_where_and_when_it_says(motion, tmp_path):
    samples = motion.split("query")[:3]
    pasted = script.write_scene(tmp_path / "a.mp4", samples, rng=np.random.default_rng(0))
    with Decoder(tmp_path / "a.mp4") as decoder:
        pictures = [decoder.picture().astype(int) for _ in decoder.times()]
    assert len(pictures) > max(each.end_seconds for each in pasted) * script.FPS
    for each, sample in zip(pasted, samples, strict=True):
        frames = script.read_frames(sample.video)
        first, last = (round(time * script.FPS) for time in (each.start_seconds, each.end_seconds))
        assert last - first == len(frames) and 0 <= first <= script.LATEST_SECONDS * script.FPS
        x0, y0, x1, y1 = each.box
        for number in (0, len(frames) - 1):
            shown = script.cv2.resize(frames[number], (x1 - x0, y1 - y0), interpolation=script.cv2.INTER_AREA)
            assert np.abs(pictures[first + number][y0:y1, x0:x1] - shown).mean() < 12
        after = np.abs(pictures[last][y0:y1, x0:x1] - pictures[last - 1][y0:y1, x0:x1]).mean()
        assert after > 12, "and gone after it"


def test_whose_track_it_is(motion):
    sample = motion.split("query")[0]
    pasted = [script.Pasted(sample, (0, 0, 100, 100), 0, 1), script.Pasted(sample, (200, 0, 300, 100), 0, 0.5)]
    inside, other, nowhere = [40, 40, 60, 60], [240, 40, 260, 60], [140, 40, 160, 60]
    assert script.clip_of(track(inside, inside, other, inside), pasted) == (0, 0.75)
    assert script.clip_of(track(nowhere, nowhere, inside), pasted) == (-1, pytest.approx(2 / 3))
    assert script.clip_of(track(other, other, other, other), pasted)[1] == 0.5, "the second is over after 0.5 s"


def test_counts_by_hand(motion):
    sample = motion.split("query")[0]
    pasted = [script.Pasted(sample, (0, 0, 100, 100), 0.1, 1.1)]  # key pictures at 0.25, 0.5, 0.75, 1.0
    counts = script.Counts()
    inside, nowhere = [40, 40, 60, 60], [140, 40, 160, 60]
    tracks = [track(inside, inside, seconds=[0.25, 0.5]), track(nowhere, number=2)]
    counts.add(tracks, pasted, {sample.labels[0]}, 0.25)
    assert (counts.boxes, counts.good_boxes) == (3, 2)
    assert (counts.moments, counts.found_moments) == (4, 2)
    assert (counts.single_clips, counts.single_tracks, counts.purities) == (1, 1, [1.0])


def test_what_several_people_say_together():
    """0.8 for one second against 0.5 for two and a quarter."""
    labels = ("walk", "run")

    def person(which, label, probability):
        return Person(which, (Prediction(label, probability),), (), FirstClasses(labels))

    short, long = track(*[[0, 0, 9, 9]] * 4), track(*[[0, 0, 9, 9]] * 9)
    assert script.said_of([person(short, "walk", 0.8), person(long, "run", 0.5)]) == "run"
    assert script.said_of([person(short, "walk", 0.8)]) == "walk"
    assert script.said_of([]) is None


@pytest.mark.realdata
def test_real_people_are_found_and_followed(real_data, tmp_path):
    """Clips that show one person each, of recordings on which no threshold was chosen; HOG, three scenes."""
    dataset = find_dataset(real_data / "ut")
    single = dataset.classes.index("point")
    samples = [sample for sample in dataset.split("query") if sample.labels == (single,)]
    rng, counts = np.random.default_rng(0), script.Counts()
    for number in range(2):
        scene = tmp_path / f"{number}.mp4"
        pasted = script.write_scene(scene, samples[3 * number : 3 * number + 3], rng=rng)
        tracks, size_px = find_tracks(scene, HogDetector(), every_seconds=0.5)
        assert size_px == (script.WIDTH_PX, script.HEIGHT_PX)
        counts.add(tracks, pasted, {single}, 0.5)
    assert counts.found_moments / counts.moments > 0.75
    assert counts.good_boxes / counts.boxes > 0.6
    assert counts.single_tracks <= 2 * counts.single_clips
    assert np.mean(counts.purities) > 0.9
