"""What answers requests about one gallery: the gallery, the encoder of its run, and what is remembered.

Nothing here waits in the event loop, and what grows with requests has an end: places for uploads, calls that wait for
threads, remembered queries and pictures.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from c3dhash.config import EncodeConfig, ServeConfig
from c3dhash.errors import C3DHashError, CheckpointError
from c3dhash.gallery.arrivals import QueryEncoder, limits_of, look_at
from c3dhash.gallery.duplicates import note_not_match
from c3dhash.gallery.query import check_mirror
from c3dhash.gallery.served import GalleryPlace, ServedGallery
from c3dhash.gallery.store import Gallery
from c3dhash.records import Sample, Segment
from c3dhash.report.previews import Pictures, stretch_pictures, window_pictures
from c3dhash.web.browsing import count_facets, group_duplicates, whole_gallery
from c3dhash.web.computed import Computation, Computed
from c3dhash.web.encoding import EncoderThread, Job, Kind
from c3dhash.web.figures import Figures
from c3dhash.web.limited import Workers
from c3dhash.web.opened import Opened
from c3dhash.web.pictures import PictureCache, Stretch
from c3dhash.web.refusals import Refused
from c3dhash.web.remembered import Memory, Remembered
from c3dhash.web.searching import check_stretch, no_video
from c3dhash.web.uploads import Place, UploadFolder

logger = logging.getLogger(__name__)

PICTURE_HEIGHT_PX = 144  # of the short side
MAX_PICTURE_SECONDS = 600.0  # of a stretch that is shown: all of it is decoded
MAX_PICTURES = 1000  # of the windows of an upload

Result = TypeVar("Result")


class Service:
    """One gallery, ready to be asked about.

    Args:
        place: where it lies.
        run: that made its codes; None where it is not there: then only what has codes is searched with.
        config: how much is taken of whom.
        encode: device, precision, engine.
    Raises:
        GalleryError: it cannot be opened.
        ModelMismatchError: it holds the codes of another model.
    """

    def __init__(
        self, place: GalleryPlace, run: Any, *, config: ServeConfig, encode: EncodeConfig | None = None
    ) -> None:
        self.name, self.run, self.config = place.name, run, config
        self.encode_config = encode or EncodeConfig()
        self.limits = limits_of(max_pixels=round(config.max_megapixels * 1e6), max_seconds=config.max_seconds)
        self.opened = Opened(place, run)
        self.is_copy = not isinstance(self.gallery, Gallery)
        self._encoder = QueryEncoder(run, self.gallery, config=self.encode_config) if self.can_encode else None
        self.uploads = UploadFolder(max_uploads=config.max_uploads)
        self.memory = Memory(max_queries=config.max_queries)
        self.computed = Computed(place)
        self.figures = Figures()
        self.searchers = Workers("the gallery", num_threads=2, max_waiting=64)
        self.writers = Workers("files", num_threads=4, max_waiting=1000)
        self.readers = Workers("the headers of videos", num_threads=2, max_waiting=config.max_uploads)
        self.painters = Workers("pictures", num_threads=2, max_waiting=256)
        self.strip_painters = Workers("pictures of uploads", num_threads=1, max_waiting=config.max_uploads)
        self.pictures = PictureCache(self.painters)
        self.encoder = EncoderThread(self._encode)
        self.is_closing = self._is_closed = False

    @property
    def can_encode(self) -> bool:
        """Whether videos can be sent: the run is there, and makes codes."""
        return self.run is not None and self.run.model.hash_head is not None

    @property
    def can_classify(self) -> bool:
        """Whether the run tells classes."""
        return self.run is not None and self.run.model.class_head is not None

    @property
    def gallery(self) -> ServedGallery:
        """The gallery, as of `Opened`."""
        return self.opened.gallery

    def text_of(self, error: BaseException, *, files: dict[str, str] | None = None) -> str:
        """Return what is said of an error: in it, paths are names."""
        if isinstance(error, Refused):
            return error.text
        if not isinstance(error, C3DHashError):
            return "the server failed; its log says why."
        return self.opened.latest_names.without_paths(str(error), files=files)

    def renamed(self, error: Exception, *, files: dict[str, str]) -> Exception:
        """Return an error in whose text paths are names.

        Args:
            files: paths of files of strangers -> what these call them.
        """
        return error if isinstance(error, Refused) else _told(self.text_of(error, files=files), error)

    async def ask(self, function: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Call a function of an open gallery and its names, in a thread."""
        return await self.searchers.run(lambda: function(self.gallery, self.opened.names, *args, **kwargs))

    # Videos that are sent

    def check_encodes(self, *, mirror: bool) -> None:
        """Make sure that a video that is sent can be searched with.

        Raises:
            CheckpointError: the run is not there.
            UsageError: its mirror image would make no difference.
        """
        if self._encoder is None:
            raise CheckpointError(
                "the run that made the codes of this gallery is not there: videos of the gallery can be searched with, "
                "others cannot; start the server with --model."
            )
        if mirror:
            check_mirror(self.gallery, self._encoder.config)

    def check_classifies(self) -> None:
        """Make sure that the run tells classes.

        Raises:
            CheckpointError: it does not.
        """
        if self.run is None:
            raise CheckpointError("the run of this gallery is not there, and nothing is recognised: give --model.")
        self.run.class_labels  # noqa: B018 - raises without a class head

    async def take(
        self, place: Place, name: str, kind: Kind, *, content_hash: str, is_to_classify: bool = False
    ) -> Remembered:
        """Look at a video that was received, and have it encoded; its file goes when that is done.

        Args:
            is_to_classify: also have a query classified, once its codes and pictures are there.
        Raises:
            VideoError: it is none, or beyond the limits.
            Refused: the server ends.
        """
        facts = await self.readers.run(look_at, place.path, limits=self.limits)
        job = Job(place.path, kind, self._num_windows(facts.duration_seconds))
        remembered = self.memory.add(name, job, content_hash=content_hash, seconds=facts.duration_seconds)
        remembered.are_classes_coming = is_to_classify
        job.future.add_done_callback(lambda _: self._take_result(remembered, place))
        self._submit(remembered)
        return remembered

    async def take_own(self, video_id: int, kind: Kind) -> Remembered:
        """Have a video of the gallery looked at.

        Raises:
            Refused: there is no such video, or it is missing.
        """
        video, names = await self.searchers.run(lambda: (self.gallery.video(video_id), self.opened.names))
        if video is None:
            raise no_video(video_id)
        name = names.shown(video.video)
        if video.missing_since is not None:
            raise Refused(409, f"the file of video '{name}' is missing.")
        if self.encoder.num_waiting >= self.config.max_uploads:
            raise Refused(429, "too many videos wait: try again.", retry_seconds=self.encoder.retry_seconds())
        job = Job(Path(video.video), kind, max(1, video.num_clips))
        remembered = self.memory.add(name, job, content_hash=video.content_hash)
        job.future.add_done_callback(lambda _: self._take_result(remembered, None))
        self._submit(remembered)
        return remembered

    def _submit(self, remembered: Remembered) -> None:
        try:
            self.encoder.submit(remembered.job)
        except Refused as refused:
            remembered.job.future.set_exception(refused)
            raise

    def _num_windows(self, seconds: float) -> int:
        return 1 if self._encoder is None else self._encoder.num_windows(seconds)

    def _take_result(self, remembered: Remembered, place: Place | None) -> None:
        """Remember what was found out about a video, in the thread of the encoder; and see to its file."""
        error = remembered.job.future.exception()
        if isinstance(error, Exception):
            files = {str(remembered.job.path): remembered.name} if place is not None else {}
            remembered.fail(self.renamed(error, files=files))
        else:
            remembered.finish(remembered.job.future.result())
        if place is None:
            return
        if remembered.error is not None or remembered.job.kind.task != "query":
            remembered.are_classes_coming = False
            place.give_back()
            return
        try:
            self.strip_painters.submit(partial(self._paint_windows, remembered, place))
        except Refused:  # it does without
            self._end_pictures(remembered, place)

    def _paint_windows(self, remembered: Remembered, place: Place) -> None:
        """Make the pictures of the windows of a video that was sent."""
        assert self._encoder is not None
        starts = {round(start, 3): number for number, start in enumerate(remembered.codes[0].start_seconds.tolist())}
        try:
            pictures = window_pictures(
                place.path, **self._encoder.windows, short_side=PICTURE_HEIGHT_PX, limits=self.limits
            )
            for num, (segment, made) in enumerate(pictures):
                if self._is_closed or num >= MAX_PICTURES:
                    break
                number = starts.get(round(segment.start_seconds, 3))
                if number is not None and number not in remembered.pictures:
                    self.memory.add_picture(remembered, number, made)
        except C3DHashError as error:
            logger.warning("no pictures of an upload: %s", error)
        finally:
            self._end_pictures(remembered, place)

    def _end_pictures(self, remembered: Remembered, place: Place) -> None:
        """Have a video that was sent classified, where that was asked; then let its file go."""
        remembered.are_pictures_made = True
        if not remembered.are_classes_coming:
            place.give_back()
            return
        job = Job(place.path, Kind("classify"), len(remembered.codes[0].codes))
        job.future.add_done_callback(lambda _: self._take_classes(remembered, job, place))
        try:
            self.encoder.submit(job)
        except Refused as refused:
            job.future.set_exception(refused)

    def _take_classes(self, remembered: Remembered, job: Job, place: Place) -> None:
        error = job.future.exception()
        if error is None:
            remembered.classes = job.future.result()
        else:
            logger.warning("an upload was not classified: %s", error)
        remembered.are_classes_coming = False
        place.give_back()

    def _encode(
        self, kind: Kind, videos: Iterator[Path | None], on_windows: Callable[[list[Path]], object]
    ) -> Generator[tuple[Path, Any], None, None]:
        """Encode videos of a kind: what the encoder thread does."""
        assert self._encoder is not None
        if kind.task == "query":
            yield from self._encoder.encode(
                videos, with_mirrored=kind.with_mirrored, limits=self.limits, on_windows=on_windows
            )
            return
        from c3dhash.recognition.recognize import recognize_arriving

        found = recognize_arriving(
            self.run, videos, network=self._encoder.network, config=self.encode_config,
            limits=None if kind.is_own else self.limits, on_windows=on_windows,
        )  # fmt: skip
        for each in found:
            yield each.video, each.error or [(guess.label, guess.probability) for guess in each.top]

    async def wait_for(self, remembered: Remembered, *, seconds: float) -> bool:
        """Wait until a video is encoded; tell whether it is.

        Raises:
            Exception: why it failed.
        """
        done, _ = await asyncio.wait([asyncio.wrap_future(remembered.settled)], timeout=seconds)
        if remembered.error is not None:
            raise remembered.error
        return bool(done)

    # Pictures

    async def pictures_of(
        self, video_id: int, *, start_seconds: float, end_seconds: float | None, is_mirrored: bool
    ) -> Pictures:
        """Return the pictures of a stretch of a video of the gallery.

        Raises:
            Refused: there is no such video, or it has no such stretch.
            VideoError: its file cannot be read.
        """

        def find() -> tuple[str, str, Segment]:
            gallery = self.gallery
            with gallery.reading():
                video = gallery.video(video_id)
                if video is None:
                    raise no_video(video_id)
                _, codes = gallery.codes_of(video_id)
            if not len(codes.codes):
                raise Refused(409, "this video has no clips, and nothing to show.")
            seconds = float(codes.end_seconds.max())
            check_stretch(start_seconds, end_seconds, seconds=seconds)
            end = min(seconds if end_seconds is None else end_seconds, seconds)
            if end - start_seconds > MAX_PICTURE_SECONDS:
                raise Refused(422, f"a preview shows at most {MAX_PICTURE_SECONDS:g} s, got {end - start_seconds:g}.")
            if end - start_seconds < 1e-3:
                raise Refused(422, "a preview needs a stretch of a millisecond or more.")
            return video.video, video.content_hash, Segment(start_seconds, end)

        path, content_hash, segment = await self.searchers.run(find)
        stretch = Stretch(
            content_hash, round(100 * segment.start_seconds), round(100 * segment.end_seconds), is_mirrored
        )
        sample = Sample(Path(path), (), "gallery", segment=segment)
        make = partial(stretch_pictures, sample, short_side=PICTURE_HEIGHT_PX, is_mirrored=is_mirrored)
        return await asyncio.shield(asyncio.wrap_future(self.pictures.get(stretch, make)))

    # What takes long

    async def compute(
        self, key: Any, function: Callable[..., Any], *, more_state: Any = None, is_slow: bool = False
    ) -> Computation:
        """Return the computation of something about the gallery as it is now: see `Computed.get`."""
        state = await self.searchers.run(lambda: (self.opened.state, more_state))
        return self.computed.get(key, state, function, is_slow=is_slow)

    async def facets(self) -> Computation:
        """Return the computation of `browsing.count_facets`."""
        return await self.compute("facets", lambda gallery, _: count_facets(gallery, self.opened.names))

    async def duplicates(self, *, radius: int | None, mirror: bool) -> Computation:
        """Return the computation of `browsing.group_duplicates`: anew, where other pairs are no match.

        Raises:
            Refused: the gallery is a copy.
        """
        ignored = await self.ask(lambda gallery, _: frozenset(whole_gallery(gallery).not_matches()))
        find = partial(group_duplicates, radius=radius, mirror=mirror)
        return await self.compute(("duplicates", radius, mirror), find, more_state=ignored, is_slow=True)

    def note_pair(self, video_id: int, other_id: int, *, is_match: bool) -> None:
        """Remember that two videos do not match, or forget that.

        Raises:
            Refused: one of them is not there, or the gallery is a copy.
            UsageError: they have the same bytes.
            GalleryError: another writer is not done in time.
        """
        gallery = whole_gallery(self.gallery)
        videos = [gallery.video(number) for number in (video_id, other_id)]
        for number, video in zip((video_id, other_id), videos, strict=True):
            if video is None or video.missing_since is not None:
                raise no_video(number)
        first, second = (video.video for video in videos if video is not None)
        note_not_match(gallery, first, second, is_match=is_match)

    # The end

    def begin_closing(self) -> None:
        """Refuse what waits and what comes; what is under way goes on."""
        self.is_closing = True
        self.encoder.begin_closing()

    def stop_encoding(self) -> None:
        """Refuse what is under way, too."""
        self.encoder.stop()

    def close(self, *, patience_seconds: float | None = None) -> bool:
        """End all of it, and remove the files of strangers.

        Args:
            patience_seconds: as of `EncoderThread.close`, which says what is returned.
        """
        if self._is_closed:
            return True
        self._is_closed = True
        is_idle = self.encoder.close(patience_seconds=patience_seconds)
        for workers in (self.readers, self.strip_painters, self.painters, self.searchers, self.writers):
            workers.close()
        self.computed.close()
        self.uploads.close()
        self.opened.close()
        self._encoder = None  # the network goes with it: the functions of routes outlive their application in caches
        return is_idle


def _told(text: str, error: Exception) -> Exception:
    """Return an error of the same kind with another text."""
    return type(error)(text) if isinstance(error, C3DHashError) else Refused(500, text)
