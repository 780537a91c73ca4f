"""Networks that look at boxes: which clip, which boxes, and when their answers stand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from upstream import filled, mmaction2_resnet50_shapes
from videos import frame_number, write_video

from c3dhash.models.action_detector import AVA_LABELS, load_action_detector
from c3dhash.recognition.people import recognize_people
from c3dhash.recognition.scenes import scene_windows, times_of
from c3dhash.recognition.tracks import Track
from c3dhash.video.playback import Frame

SLOW = [[1] * 3, [1] * 4, [3] * 6, [3] * 3]


class Remembering(torch.nn.Module):
    """Says of a box where it is, and remembers the clips."""

    labels = ("wide", "high", "left")
    num_frames, interval_seconds, short_side = 4, 0.1, 32

    def __init__(self):
        super().__init__()
        self.clips = []

    def forward(self, clips, boxes):
        assert clips.dtype == torch.uint8 and clips.shape[0] == 1 and (boxes[:, 0] == 0).all()
        self.clips.append(clips[0].numpy())
        return torch.stack([boxes[:, 3] - boxes[:, 1], boxes[:, 4] - boxes[:, 2], boxes[:, 1]], dim=1) / 10


def logits(probabilities):
    return np.log(probabilities / (1 - probabilities))


def test_key_times_are_shared():
    first = Track(1, np.array([0.2, 1.6]), np.zeros((2, 4)), 1.7)
    short = Track(2, np.array([1.05]), np.zeros((1, 4)), 1.3)
    late = Track(3, np.array([1.0]), np.zeros((1, 4)), 1.5)
    found = times_of([first, short, late], stride_seconds=0.5)
    assert {time: [track.number for track in tracks] for time, tracks in found.items()} == {
        0.5: [1], 1.0: [1, 3], 1.5: [1], (1.05 + 1.3) / 2: [2]
    }  # fmt: skip


def test_clips_are_around_key_times_and_boxes_in_their_px():
    """A video of 64 x 128 px, halved for the network: so are the boxes, where they are at that time."""
    frames = [
        Frame(np.full((64, 128, 3), number, np.uint8), number / 10, (number + 1) / 10) for number in range(20)
    ]  # every 0.1 s
    walking = Track(1, np.array([0.0, 2.0]), np.array([[0.0, 0, 20, 40], [80, 0, 100, 40]]), 2.0)
    network = Remembering()
    windows = list(scene_windows(network, [walking], frames, size_px=(128, 64), stride_seconds=0.5, device="cpu"))
    assert [(start, end) for _, start, end, _ in windows] == [(-0.25, 0.25), (0.25, 0.75), (0.75, 1.25), (1.25, 1.75)]
    assert [clip[:, 0, 0, 0].tolist() for clip in network.clips] == [
        [0, 0, 0, 1], [3, 4, 5, 6], [8, 9, 10, 11], [13, 14, 15, 16]
    ]  # fmt: skip
    assert {clip.shape for clip in network.clips} == {(4, 32, 64, 3)}
    for (track, *_, probabilities), x in zip(windows, (0, 20, 40, 60), strict=True):
        assert track is walking
        assert logits(probabilities) * 10 == pytest.approx([10, 20, x / 2], abs=1e-4)


def test_what_somebody_does_ends_with_them(tmp_path):
    """Key times at 0, 0.5, 1.0, 1.5 s; the last window ends at 1.75, the person at 2. Likely, as logits are above 0:"""
    video = write_video(tmp_path / "a.mp4", 60)
    rows = [f"{step / 2},20,0,60,96" for step in range(4)]
    (tmp_path / "boxes.csv").write_text("\n".join(["seconds,x0,y0,x1,y1", *rows]))
    (found,) = recognize_people(Remembering(), [video], boxes=tmp_path / "boxes.csv")
    (person,) = found.people
    assert [(each.label, each.start_seconds, each.end_seconds) for each in person.segments] == [
        ("high", 0.0, 2.0), ("wide", 0.0, 2.0), ("left", 0.0, 2.0)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A file of mmaction2's SlowOnly for AVA, its weights from a formula."""
    shapes = mmaction2_resnet50_shapes("backbone.", stem_frames=1, kernel_frames=SLOW)
    shapes |= {"roi_head.bbox_head.fc_cls.weight": (81, 2048), "roi_head.bbox_head.fc_cls.bias": (81,)}
    path = tmp_path_factory.mktemp("ava") / "epoch_8.pth"
    torch.save({"state_dict": filled(shapes)}, path)
    yield path
    path.unlink()


BOXES = "seconds,x0,y0,x1,y1,id\n0,0,0,60,96,a\n0,70,10,160,90,b\n0.5,0,0,60,96,a\n0.5,70,10,160,90,b\n"


def test_all_the_way(checkpoint, tmp_path):
    """Two people in one clip: what the network says of clip and boxes that are put together by hand."""
    network = load_action_detector(checkpoint)
    network.short_side = 64
    video = write_video(tmp_path / "a.mp4", 25)
    (tmp_path / "boxes.csv").write_text(BOXES)
    (found,) = recognize_people(network, [video], top=80, boxes=tmp_path / "boxes.csv", stride_seconds=2.0)
    assert [person.track.id for person in found.people] == ["a", "b"]
    seen = []
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
    list(recognize_people(network, [video], boxes=tmp_path / "boxes.csv", stride_seconds=2.0))
    ((clip, boxes),) = seen
    assert clip.shape == (1, 8, 64, 107, 3)
    # the key time is 0: frames 0, 0, 0, 0 and then 0, 8, 16, 24 thirtieths of a second later, of 25 a second
    assert [frame_number(frame) for frame in clip[0].numpy()] == [0, 0, 0, 0, 0, 6, 13, 20]
    assert boxes.numpy() == pytest.approx(
        np.array([[0, 0, 0, 60, 96], [0, 70, 10, 160, 90]]) * [1, 107 / 160, 64 / 96, 107 / 160, 64 / 96], rel=1e-5
    )
    with torch.inference_mode():
        expected = torch.sigmoid(network(clip, boxes)).numpy()
    for person, values in zip(found.people, expected, strict=True):
        assert {each.label for each in person.top} == set(AVA_LABELS)
        by_label = {each.label: each.probability for each in person.top}
        assert [by_label[label] for label in AVA_LABELS] == pytest.approx(values.tolist(), abs=1e-5)


def test_by_the_command(checkpoint, run, tmp_path):
    write_video(tmp_path / "a.mp4", 25)
    (tmp_path / "boxes.csv").write_text(BOXES)
    network = ["--backbone", "slowonly", "--weights", checkpoint]
    code, out, err = run(
        "classify", "a.mp4", "--people", "--boxes", "boxes.csv", *network, "--json", "--top", "3", "--overlay", "o.mp4",
        "--stride-seconds", "2",
    )  # fmt: skip
    assert code == 0, err
    (content,) = json.loads(out)
    assert [len(person["top3"]) for person in content["people"]] == [3, 3]
    assert {each["label"] for each in content["people"][0]["top3"]} <= set(AVA_LABELS)
    code, out, err = run("classify", "a.mp4", "--people", "--boxes", "boxes.csv", *network, "--views", "4")
    assert (code, out) == (2, "") and "looks at boxes in whole pictures: leave out --views." in err
    code, out, err = run("classify", "a.mp4", *network)
    assert (code, out) == (1, "") and "c3dhash classify VIDEO --people --backbone slowonly" in err
