"""Videos that arrive while others are encoded -> their codes; for a service, which has strangers' videos, and a queue.

`query` knows its videos when it begins, this does not: an iterator of videos yields None while there is none, and what
arrives meanwhile goes through the network in one batch with what is under way.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c3dhash.config import EncodeConfig
from c3dhash.errors import VideoError
from c3dhash.gallery.query import codes_of
from c3dhash.gallery.searched import SearchedGallery
from c3dhash.gallery.windows import with_windows
from c3dhash.records import CodeBatch
from c3dhash.video.clip_plan import Plan
from c3dhash.video.isolation import shared_pool
from c3dhash.video.limits import HeaderFacts, Limits, header_facts

if TYPE_CHECKING:  # torch is imported where a network is made ready
    from c3dhash.models.runs import Run


class QueryEncoder:
    """A network that is ready to encode queries of a gallery, again and again; for one thread at a time.

    Args:
        run: with a hash head, whose codes the gallery holds.
        gallery: says how videos are cut into windows.
        config: device, precision, engine, batch size, workers.
    Attributes:
        network: as `recognition` takes it, so that both have one.
        windows: how videos are cut: num_frames, window_seconds and stride_seconds, as of `reader.read_clips`.
    Raises:
        ModelMismatchError: the gallery holds the codes of another model.
    """

    def __init__(self, run: Run, gallery: SearchedGallery, *, config: EncodeConfig | None = None) -> None:
        from c3dhash.models.encode import Encoder, window_options

        gallery.check_model(run.fingerprint, hash_length=run.hash_length)
        self._run, self.config = run, with_windows(config or EncodeConfig(), gallery)
        engine = "torch" if self.config.engine == "auto" else self.config.engine
        self.network = Encoder(run.model, device=self.config.device, precision=self.config.precision, engine=engine)
        options = window_options(run.model, self.config)
        self.windows: dict[str, Any] = {
            name: options[name] for name in ("num_frames", "window_seconds", "stride_seconds")
        }
        self._plan = Plan(**self.windows)

    def num_windows(self, seconds: float) -> int:
        """Return how many windows a video of a length has; 1 where that is not known (0)."""
        return max(1, len(self._plan.segments(seconds)))

    def encode(
        self,
        videos: Iterable[Path | None],
        *,
        with_mirrored: bool,
        limits: Limits,
        on_windows: Callable[[list[Path]], object],
    ) -> Generator[tuple[Path, list[CodeBatch] | VideoError], None, None]:
        """Encode videos, or still pictures, each as soon as it may be, and yield each as it is through.

        Args:
            videos: paths; None among them says that there is none at the moment, and that more may come.
            with_mirrored: encode also what they are in a mirror.
            limits: of what is read.
            on_windows: as of `models.encode.encode_videos`; what it raises ends all of this.
        Yields:
            A video, and its codes, with those of its mirror image behind them; or why there are none.
        """
        from c3dhash.models.encode import encode_videos

        results = encode_videos(
            self._run, videos, config=self.config, encoder=self.network, limits=limits, in_order=False,
            take_stills=True, with_mirrored=with_mirrored, on_windows=on_windows,
        )  # fmt: skip
        with closing(results):
            for result in results:
                try:
                    yield result.video, [codes_of(each) for each in (result, result.mirrored) if each is not None]
                except VideoError as error:
                    yield result.video, error


LEAST_WORK_SECONDS = 60.0  # that a decoder may compute on a video, however short videos must be


def limits_of(*, max_pixels: int, max_seconds: float) -> Limits:
    """Return what is read of a stranger's video: to decode it may take as long as it may last."""
    return Limits(max_pixels, max_seconds, max(LEAST_WORK_SECONDS, max_seconds))


def look_at(video: Path, *, limits: Limits) -> HeaderFacts:
    """Return what the header of a stranger's video or still picture says, read in a process of its own.

    Raises:
        VideoError: it is neither, cut short, or beyond the limits.
    """
    return shared_pool().call(header_facts, video, limits=limits)
