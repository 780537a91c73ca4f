"""What a network that looks at boxes says of people: of the whole picture, at times, and of what lies in their boxes.

track 1        |-----x---------x---------x--|         key times, a stride apart, the same for all tracks; a track
track 2                  |-----x--|                   without one has its middle
clip of x         k k k k x k k k                     the frames around it, whole pictures
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from c3dhash.models.precision import pick_device
from c3dhash.models.scores import class_probabilities
from c3dhash.recognition.shots import Shot, cut_shots
from c3dhash.recognition.tracks import Track
from c3dhash.video.pictures import resize_picture
from c3dhash.video.playback import Frame

if TYPE_CHECKING:
    from c3dhash.models.action_detector import ActionDetector

STRIDE_SECONDS = 0.5  # AVA's labels are of every second


def scene_windows(
    network: ActionDetector,
    tracks: Sequence[Track],
    frames: Iterable[Frame],
    *,
    size_px: tuple[int, int],
    stride_seconds: float,
    device: str = "auto",
) -> Iterator[tuple[Track, float, float, np.ndarray]]:
    """Yield what the people of a video do, those of one in their order: from when to when, probabilities [num_classes].

    Args:
        network: in evaluation mode; put on the device.
        frames: of the video, of width and height size_px.
        stride_seconds: from key time to key time; a window is half of it before and after one, and may reach out of
            its track.
        device: as in EncodeConfig.
    """
    import torch

    where = pick_device(device)
    network = network.to(where)
    at = times_of(tracks, stride_seconds=stride_seconds)
    times = sorted(at)
    steps = (np.arange(network.num_frames) - network.num_frames // 2) * network.interval_seconds
    shrink = partial(_shrink, short_side=network.short_side)
    for place, clip in cut_shots(frames, [Shot(time + steps, shrink) for time in times]):
        scale = np.tile(np.array(clip.shape[2:0:-1]) / np.array(size_px), 2)  # of width and height
        there = at[times[place]]
        boxes = np.array([[0, *track.at(times[place]) * scale] for track in there], np.float32)
        with torch.inference_mode():
            logits = network(torch.from_numpy(clip)[None].to(where), torch.from_numpy(boxes).to(where))
        for track, values in zip(
            there, class_probabilities(logits.float().cpu().numpy(), is_multi_label=True), strict=True
        ):
            yield track, times[place] - stride_seconds / 2, times[place] + stride_seconds / 2, values


def times_of(tracks: Sequence[Track], *, stride_seconds: float) -> dict[float, list[Track]]:
    """Return who is looked at when: multiples of a stride in seconds, and the middle of tracks that have none."""
    found: dict[float, list[Track]] = {}
    for track in tracks:
        first, last = np.ceil(track.start_seconds / stride_seconds), np.ceil(track.end_seconds / stride_seconds)
        times = np.arange(first, last) * stride_seconds
        for time in times.tolist() or [(track.start_seconds + track.end_seconds) / 2]:
            found.setdefault(time, []).append(track)
    return found


def _shrink(picture: np.ndarray, seconds: float, *, short_side: int) -> np.ndarray:
    return resize_picture(picture, short_side=short_side)
