"""What a network that looks at whole clips says of people: of the square tube around each.

    track     |---[ ]---[  ]---[ ]---|      a window slides over it; the square of a window has one size, so that
    window          |------|                nothing seems to grow, and its middle follows the person

The side of the square is CONTEXT times the longest side of the boxes of its window, and no longer than the short side
of the picture: it is moved to lie inside, and nothing is padded. What the network sees is the middle of it, as of any
clip: see `video.transforms`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np

from c3dhash.config import EncodeConfig
from c3dhash.models.encode import Encoder, window_means, window_options
from c3dhash.models.scores import class_probabilities
from c3dhash.recognition.shots import Shot, cut_shots
from c3dhash.recognition.tracks import Track
from c3dhash.records import Segment
from c3dhash.video.clip_plan import Plan
from c3dhash.video.pictures import resize
from c3dhash.video.playback import Frame
from c3dhash.video.transforms import CROP_MARGIN, clip_views, decoded_short_side

CONTEXT = 1.25 * CROP_MARGIN  # so that the middle shows a quarter more than the person


def tube_windows(
    encoder: Encoder,
    tracks: Sequence[Track],
    frames: Iterable[Frame],
    *,
    config: EncodeConfig,
    is_multi_label: bool,
) -> Iterator[tuple[Track, float, float, np.ndarray]]:
    """Yield the windows of tracks, those of one in their order: start and end in seconds, probabilities [num_classes].

    Args:
        encoder: of a network with a class head, on RGB.
        frames: of the video.
        config: windows, clips of a window, views and batch size.
    """
    model = encoder.model
    options = {name: value for name, value in window_options(model, config).items() if name != "channels"}
    plan = Plan(**options)
    owners, shots = list[tuple[Track, Segment, int]](), list[Shot]()
    for track in tracks:
        for segment in plan.segments(track.end_seconds - track.start_seconds):
            there = Segment(segment.start_seconds + track.start_seconds, segment.end_seconds + track.start_seconds)
            clips = plan.clips([there])
            owners += [(track, there, len(clips))] * len(clips)
            shots += [tube_shot(track, clip.targets, size=decoded_short_side(model.clip_size[1])) for clip in clips]
    of_windows: dict[tuple[int, float], list[np.ndarray]] = {}
    done = cut_shots(frames, shots)
    for places, features in _features(encoder, done, num_views=config.views, batch_size=config.batch_size):
        for place, feature in zip(places, features, strict=True):
            track, there, num_clips = owners[place]
            clips_of_it = of_windows.setdefault((track.number, there.start_seconds), [])
            clips_of_it.append(feature)
            if len(clips_of_it) == num_clips:
                del of_windows[track.number, there.start_seconds]
                scores = encoder.heads(window_means(np.stack(clips_of_it), [num_clips])).scores
                assert scores is not None  # the run has a class head
                (probabilities,) = class_probabilities(scores, is_multi_label=is_multi_label)
                yield track, there.start_seconds, there.end_seconds, probabilities


def tube_shot(track: Track, targets: np.ndarray, *, size: int) -> Shot:
    """Plan a clip of a person.

    Args:
        targets: float64 [T], seconds.
        size: px of its frames, which are squares.
    """
    boxes = np.stack([track.at(seconds) for seconds in targets])
    side = CONTEXT * float((boxes[:, 2:] - boxes[:, :2]).max())
    return Shot(targets, partial(_square, track, side=side, size=size))


def _square(track: Track, picture: np.ndarray, seconds: float, *, side: float, size: int) -> np.ndarray:
    """Cut the square around a person out of a picture, uint8 [H, W, 3], and bring it to a size."""
    height_px, width_px = picture.shape[:2]
    side_px = int(np.clip(round(side), 1, min(height_px, width_px)))
    box = track.at(seconds)
    middle_x, middle_y = (box[:2] + box[2:]) / 2
    left = int(np.clip(round(middle_x - side_px / 2), 0, width_px - side_px))
    top = int(np.clip(round(middle_y - side_px / 2), 0, height_px - side_px))
    return resize(picture[top : top + side_px, left : left + side_px], (size, size))


def _features(
    encoder: Encoder, clips: Iterable[tuple[int, np.ndarray]], *, num_views: int, batch_size: int
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Yield the places of shots, and what the backbone says of their clips, the mean of views: [N, feature_dim]."""
    size = encoder.model.clip_size[1]
    places, views = list[int](), list[np.ndarray]()

    def through() -> tuple[list[int], np.ndarray]:
        features = encoder.features(np.stack(views))
        return list(places), window_means(features, [num_views] * len(places))

    for place, clip in clips:
        places.append(place)
        views += map(np.ascontiguousarray, clip_views(clip, size=size, num_views=num_views))
        if len(views) + num_views > max(batch_size, num_views):
            yield through()
            places.clear()
            views.clear()
    if places:
        yield through()
