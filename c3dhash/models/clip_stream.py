"""Video files -> clips, from many decoders at once, in one bounded queue."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from enum import Enum, auto
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from c3dhash.config import EncodeConfig
from c3dhash.errors import StorageError, VideoError
from c3dhash.video.isolation import shared_pool
from c3dhash.video.loader import Stopped, stop_when
from c3dhash.video.views import read_views

AHEAD = 128  # videos that may be begun before the first of them is through


class Message(NamedTuple):
    """A clip of a video, and its window; with clip None, a window of which a flat clip is left out; without that, too,
    the end of the video, with the error that ended it. is_mirrored: the clip is of the video in a mirror."""

    number: int
    video: Path
    clip: np.ndarray | None
    span: tuple[float, float] | None
    error: VideoError | None
    is_mirrored: bool = False

    @property
    def is_end(self) -> bool:
        return self.span is None


class Pause(Enum):
    """A thread gives no more messages: for now, or for good."""

    WAITING = auto()
    DONE = auto()


class ClipStream:
    """Threads that carry clips from processes, one each, into one bounded queue of messages.

    Args:
        videos: paths; None among them says that there is none at the moment, and that more may come. As long as that is
            so it must come again and again: where clips are on their way, one None alone does not send them off.
        size: of the clips, px.
        config: views, batch size and workers.
        options: of `read_views`, but for those.
        prepare: as for `encode.encode_videos`.
    """

    def __init__(
        self,
        videos: Iterable[Path | None],
        *,
        size: int,
        config: EncodeConfig,
        options: dict[str, Any],
        prepare: Callable[[Path], AbstractContextManager[Path]] | None,
    ) -> None:
        self.num_taken = 0  # videos whose results were taken, which happens in their order
        self._batch_size, self._prepare = config.batch_size, prepare or nullcontext
        self._options = {**options, "size": size, "num_views": config.views}
        self._taken = threading.Condition()
        self._videos = iter(videos)
        self._videos_lock = threading.Lock()
        self._num_begun = 0
        self._queue: queue.Queue[Message | Pause] = queue.Queue(maxsize=2 * config.batch_size)
        self._closed = threading.Event()
        self._failure: BaseException | None = None
        self._pool = shared_pool().part()  # to start a process takes longer than to decode a short video
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(config.workers)]
        for thread in self._threads:
            thread.start()

    def chunks(self) -> Iterator[list[Message]]:
        """Yield messages in lists with at most one batch of clips each, until all threads are done.

        Where a thread waits, for results or for a video, or has nothing more to do, what there is makes a batch; a list
        may be empty then.
        """
        running = len(self._threads)
        chunk: list[Message] = []
        num_clips = 0
        while running:
            message = self._queue.get()
            if isinstance(message, Message):
                chunk.append(message)
                num_clips += message.clip is not None
            else:
                running -= message is Pause.DONE
            if isinstance(message, Pause) or num_clips in (0, self._batch_size):
                yield chunk
                chunk, num_clips = [], 0
        if self._failure is not None:
            raise self._failure

    def take(self) -> None:
        """Note that one more result was taken, so that one more video may be begun."""
        with self._taken:
            self.num_taken += 1
            self._taken.notify_all()

    def close(self) -> None:
        """End the threads, and with them the processes that are in the middle of a video."""
        self._stop()
        self._pool.close()
        for thread in self._threads:
            while thread.is_alive():
                with contextlib.suppress(queue.Empty):  # it may wait for a place
                    while True:
                        self._queue.get_nowait()
                thread.join(timeout=0.05)

    def _stop(self) -> None:
        """Let no thread begin or go on with a video."""
        self._closed.set()
        with self._taken:
            self._taken.notify_all()

    def _work(self) -> None:
        stop_when(self._closed)
        try:
            while not self._closed.is_set():
                with self._videos_lock:
                    video = next(self._videos, Pause.DONE)
                    number = self._num_begun
                    self._num_begun += video is not None
                if isinstance(video, Pause):
                    break
                if video is None:
                    if self._queue.empty():  # else a batch is on its way, and need not be a smaller one
                        self._queue.put(Pause.WAITING)
                    continue
                self._wait_for_turn(number)
                self._read(number, Path(video))
        except BaseException as error:  # of the caller's iterator, or of all videos; raised where results are taken
            self._failure = self._failure or error
            if isinstance(error, StorageError):  # the others would wait for what does not come
                self._stop()
        finally:
            self._queue.put(Pause.DONE)

    def _wait_for_turn(self, number: int) -> None:
        """Wait until a video may be begun; the one that all others wait for is always begun already."""
        with self._taken:
            if number < self.num_taken + AHEAD:
                return
        self._queue.put(Pause.WAITING)
        with self._taken:
            self._taken.wait_for(lambda: number < self.num_taken + AHEAD or self._closed.is_set())

    def _read(self, number: int, video: Path) -> None:
        error = None
        try:
            with self._prepare(video) as path:
                for segment, views in self._pool.stream(read_views, path, **self._options):
                    if self._closed.is_set():
                        return
                    span = (segment.start_seconds, segment.end_seconds)
                    if not views:
                        self._queue.put(Message(number, video, None, span, None))
                    for place, view in enumerate(views):
                        is_mirrored = place >= self._options["num_views"]  # read_views: these are behind the others
                        self._queue.put(Message(number, video, view, span, None, is_mirrored))
        except Stopped:
            return
        except StorageError:  # that of all videos
            raise
        except VideoError as caught:
            error = caught
        except Exception as caught:  # a bug in a thread must not leave the consumer waiting for ever
            error = VideoError(f"'{video}' failed in the decoder: {caught!r}.")
        self._queue.put(Message(number, video, None, None, error))
