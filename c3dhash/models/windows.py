"""A video -> what a network says of each of its windows, as they are decoded.

In memory are a few batches of clips, however long the video is. What needs all windows of many videos at once is in
`encode`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from c3dhash.config import EncodeConfig
from c3dhash.errors import VideoError
from c3dhash.models.clip_stream import ClipStream
from c3dhash.models.encode import Encoder, window_means, window_options


class Window(NamedTuple):
    """A window of a video, and its class scores, float32 [num_classes]; None without a class head."""

    start_seconds: float
    end_seconds: float
    scores: np.ndarray | None


def encode_windows(encoder: Encoder, video: Path, *, config: EncodeConfig) -> Generator[Window, None, None]:
    """Yield the windows of a video, in their order.

    Args:
        config: windows, views and batch size.
    Raises:
        UsageError: as of `window_options`.
        VideoError: it does not decode; that may show after windows were yielded.
    """
    model = encoder.model
    options = window_options(model, config)
    stream = ClipStream([video], size=model.clip_size[1], config=config, options=options, prepare=None)
    try:
        for span, features in groupby(_clips(stream, encoder), key=lambda pair: pair[0]):
            clips = [feature for _, feature in features]
            scores = encoder.heads(window_means(np.stack(clips), [len(clips)])).scores
            yield Window(span[0], span[1], None if scores is None else scores[0])
    finally:
        stream.close()


def _clips(stream: ClipStream, encoder: Encoder) -> Iterator[tuple[tuple[float, float], np.ndarray]]:
    """Yield the window of each clip of the one video of a stream, and the clip's feature."""
    num_clips = 0
    for chunk in stream.chunks():
        clips = [message for message in chunk if message.clip is not None]
        if clips:
            features = encoder.features(np.stack([message.clip for message in clips if message.clip is not None]))
            for message, feature in zip(clips, features, strict=True):
                assert message.span is not None  # a clip has one
                num_clips += 1
                yield message.span, feature
        for message in chunk:
            if message.is_end and (message.error is not None or not num_clips):
                raise message.error or VideoError(f"'{message.video}' gave no clip.")
