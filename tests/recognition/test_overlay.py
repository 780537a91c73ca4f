from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from videos import HEIGHT_PX, NUM_BITS, WIDTH_PX, needs_ffmpeg, numbered_frame, turn_mp4, write_ffmpeg, write_video

from c3dhash.errors import UsageError, VideoError
from c3dhash.recognition import overlay
from c3dhash.recognition.over_time import Answer
from c3dhash.recognition.overlay import show_overlay, write_overlay
from c3dhash.recognition.results import Person, Recognition
from c3dhash.recognition.timeline import FirstClasses
from c3dhash.recognition.tracks import Track
from c3dhash.video.decoder import Decoder

needs_av = pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="needs the extra av")


@pytest.fixture
def classes():
    """For a second and three quarters of a frame the one, then the other."""
    classes = FirstClasses(("walk", "run"))
    classes.add(Answer(0, 1.03, np.array([0.8, 0.2])))
    classes.add(Answer(1.03, 2, np.array([0.1, 0.9])))
    return classes


@pytest.fixture
def spoken(monkeypatch):
    """What was written on each frame; the frames stay as they are, so that their numbers can be read."""
    texts = []
    monkeypatch.setattr(overlay, "draw_caption", lambda picture, label, share: texts.append((label, share)))
    return texts


def seen(video, classes):
    return Recognition(video, classes=classes)


def read(path):
    with Decoder(path) as decoder:
        found = [(time, decoder.picture()) for time in decoder.times()]
    return [time for time, _ in found], [picture for _, picture in found]


def number(frame):
    """Read the number of a frame from its upper half: the lower has the caption."""
    height, width = frame.shape[:2]
    places = [(row, column) for row in (0, 1) for column in range(5)]
    cells = [frame[round((row + 0.5) * height / 4), round((column + 0.5) * width / 5)] for row, column in places]
    return sum(int(cell.mean() > 100) << place for place, cell in enumerate(cells[:NUM_BITS]))


def test_each_frame_says_what_is_seen_then(classes, spoken, tmp_path):
    video = write_video(tmp_path / "a.mp4", 50)
    write_overlay(seen(video, classes), tmp_path / "out.mp4")
    assert spoken == [("walk", 0.8)] * 26 + [("run", 0.9)] * 24, "what is seen in the middle of a frame"
    times, pictures = read(tmp_path / "out.mp4")
    assert [number(picture) for picture in pictures] == list(range(50)), "first and last included"
    assert times == pytest.approx(np.arange(50) / 25, abs=1e-3)


def test_the_caption_is_in_the_picture(classes, tmp_path):
    video = write_video(tmp_path / "a.mp4", 30, width_px=640, height_px=384)
    write_overlay(seen(video, classes), tmp_path / "out.mp4")
    _, pictures = read(tmp_path / "out.mp4")
    assert [number(picture) for picture in pictures] == list(range(30))
    plain = numbered_frame(3, width_px=640, height_px=384).astype(int)
    lower_left = np.abs(pictures[3].astype(int) - plain)[330:375, 10:120]
    assert np.mean(lower_left.max(axis=2) > 60) > 0.3
    assert np.abs(pictures[3].astype(int) - plain)[:300].mean() < 12, "and nowhere else"
    assert np.abs(pictures[3].astype(int) - pictures[27].astype(int))[330:375, 10:120].mean() > 3, "another label"


@needs_av
@needs_ffmpeg
def test_a_turned_video_of_its_own_rate(classes, spoken, tmp_path):
    video = turn_mp4(write_ffmpeg(tmp_path / "a.mp4", 24, "-c:v", "libx264", "-pix_fmt", "yuv420p", fps="30000/1001"))
    write_overlay(seen(video, classes), tmp_path / "out.mkv")
    times, pictures = read(tmp_path / "out.mkv")
    assert pictures[0].shape == (WIDTH_PX, HEIGHT_PX, 3), "upright"
    assert times == pytest.approx(np.arange(24) * 1001 / 30000, abs=2e-3)
    assert len(spoken) == 24


def test_a_video_that_breaks_half_way_leaves_nothing(classes, tmp_path):
    video = write_video(tmp_path / "a.avi", 50)
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    with pytest.raises(VideoError, match=r"a\.avi"):
        write_overlay(seen(video, classes), tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["a.avi"]


def test_what_is_refused(classes, tmp_path):
    with pytest.raises(UsageError, match=r"out\.gif': videos can be written as"):
        write_overlay(seen(write_video(tmp_path / "a.mp4", 5), classes), tmp_path / "out.gif")
    (tmp_path / "mine.mp4").write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"mine\.mp4' is there already and stays as it is"):
        write_overlay(seen(tmp_path / "a.mp4", classes), tmp_path / "mine.mp4")
    assert (tmp_path / "mine.mp4").read_bytes() == b"mine"


def test_it_is_shown_until_the_window_is_closed(classes, spoken, tmp_path):
    ends = []

    class Screen:
        def show(self, picture, *, until_seconds):
            ends.append(until_seconds)
            return len(ends) < 5

    show_overlay(seen(write_video(tmp_path / "a.mp4", 50), classes), Screen())
    assert ends == pytest.approx([0.04, 0.08, 0.12, 0.16, 0.2])
    assert spoken[0] == ("walk", 0.8)


def test_people_are_drawn_while_they_are_there(monkeypatch, tmp_path):
    """Two people: boxes that move, at the times of their tracks alone, with one line, or several sure ones."""
    drawn = []
    monkeypatch.setattr(
        overlay,
        "draw_person",
        lambda picture, box, seen, *, number, name, taken: drawn.append(
            (number, round(float(box[0])), [name for name, _ in seen])
        ),
    )
    first, second = FirstClasses(("walk", "run", "talk"), num_kept=3), FirstClasses(("walk", "run", "talk"), num_kept=3)
    first.add(Answer(0, 2, np.array([0.8, 0.15, 0.05])))
    second.add(Answer(1, 1.4, np.array([0.2, 0.9, 0.7])))
    second.add(Answer(1.4, 2, np.array([0.1, 0.3, 0.2])))
    people = (
        Person(Track(1, np.array([0.0, 1.0]), np.array([[0.0, 0, 9, 9], [50, 0, 59, 9]]), 1.2), (), (), first),
        Person(Track(2, np.array([1.0, 1.5]), np.array([[80.0, 0, 90, 9]] * 2), 2.0), (), (), second),
    )
    video = write_video(tmp_path / "a.mp4", 50)
    write_overlay(Recognition(video, people=people), tmp_path / "out.mp4")
    ones, twos = ([each for each in drawn if each[0] == number] for number in (1, 2))
    assert [each[2] for each in ones] == [["walk"]] * 30, "frames that begin before 1.2 s"
    assert [each[1] for each in ones][:26:5] == [0, 10, 20, 30, 40, 50], "it moves from 0 to 50"
    assert [each[2] for each in twos] == [["run", "talk"]] * 10 + [["run"]] * 15
