"""A gallery in Milvus, as queries search it and servers show it: with the hits of the gallery that was pushed there."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from c3dhash.cluster.address import Address, parse_address
from c3dhash.cluster.connection import MOST_ROWS, Connection, Lately
from c3dhash.cluster.expressions import any_of, expression, literal, stored_label, with_content
from c3dhash.cluster.remote_codes import Changed, Passing, RemoteCodes
from c3dhash.cluster.remote_videos import FIELDS, MOST_SORTED, Lists, Place
from c3dhash.cluster.tables import FACTS_ROW, STATE_ROW, find_tables
from c3dhash.errors import CodesError, GalleryError
from c3dhash.gallery.catalog import GalleryClip, GalleryVideo, VideoTimes
from c3dhash.gallery.evidence import VideoEvidence, notes_of, rank_videos
from c3dhash.gallery.filters import VideoFilter, nothing_passes, unknown_label
from c3dhash.gallery.index import check_top
from c3dhash.gallery.same_film import SameFilm, of_content
from c3dhash.gallery.searched import check_same_model
from c3dhash.records import CodeBatch

logger = logging.getLogger(__name__)

TRIES = 3  # of a query, while somebody pushes


class _Told(NamedTuple):
    """What is known about all of a gallery; never changed, so that threads share it."""

    state: dict[str, Any]
    facts: dict[str, Any]
    notes: dict[str, Any]
    lists: Lists

    @property
    def stamp(self) -> str:
        return json.dumps(self.state, sort_keys=True)


class RemoteGallery:
    """An open gallery in Milvus; best in a `with`. As of `gallery.served.ServedGallery`; threads may share it.

    What was pushed before it was opened is seen, what is pushed later a few seconds after: Milvus' bounded consistency.
    Videos are known by the ids of their first clips, not by the numbers of the gallery that was pushed. Videos without
    codes, and those that are missing, are not in it.

    Args:
        text: its address.
    Raises:
        UsageError: that is none, or pymilvus is not installed.
        GalleryError: no server, or no gallery there.
    """

    def __init__(self, text: str) -> None:
        address = parse_address(text)
        self.path = str(address)
        self._known: _Told | None = None
        self._places: tuple[int, list[Place]] = (0, [])  # where lists are cut, and of how many videos these were taken
        self._used_roots: tuple[str, list[str]] = ("", [])
        self._connection = Connection(address)
        try:
            tables = find_tables(self._connection)
            if tables is None:
                raise not_there(address)
            tables.load()
            self._tables = tables
            told = self._tell(strong=True)
            tables.wait()
        except BaseException:
            self._connection.close()
            raise
        self._lately = Lately(self._tell)
        self.hash_length, self.model_fingerprint = tables.mark.hash_length, tables.mark.model
        self.model_name, self.run = str(told.facts["model_name"]), dict(told.facts["run"])
        if not told.state.get("is_complete"):
            logger.warning("'%s' is not whole: a push is under way, or was cut off. Run it again.", self.path)

    def __enter__(self) -> RemoteGallery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """Return the number of clips."""
        return int(self._now().facts["num_clips"])

    @property
    def num_videos(self) -> int:
        """The number of videos."""
        return self._now().lists.num_videos

    def __repr__(self) -> str:
        return f"RemoteGallery('{self.path}', hash_length={self.hash_length}, model {self.model_fingerprint[:8]})"

    def close(self) -> None:
        self._connection.close()

    def _tell(self, *, strong: bool = False) -> _Told:
        """Read what is known about all of the gallery, where a push changed it."""
        known, state = self._known, self._tables.read(STATE_ROW, strong=strong)
        if known is not None and state == known.state:
            return known
        facts = self._tables.read(FACTS_ROW, strong=strong)
        if state is None or facts is None:
            raise self._tables.cut_off()
        roots = {int(root_id): str(folder) for root_id, folder in facts["roots"].items()}
        measured = facts["measured"]
        notes = {} if measured is None else notes_of(measured, hash_length=self._tables.mark.hash_length)
        self._tables.looked_at = int(state.get("looked_at", {}).get("lists", 0))
        lists = Lists(self._tables, roots, int(facts["num_videos"]), int(state["last_id"]))
        self._known = told = _Told(state, facts, notes, lists)
        return told

    def _now(self) -> _Told:
        """Return what was known a moment ago at most."""
        return self._lately.get()

    @property
    def state(self) -> str:
        """What tells the state that the gallery is in from every other; a second old at most."""
        return self._now().stamp

    def reading(self) -> contextlib.AbstractContextManager[None]:
        """Do nothing: in Milvus there are no states to read from. What goes meanwhile is not there."""
        return contextlib.nullcontext()

    def check_model(self, fingerprint: str, *, hash_length: int) -> None:
        """Raise a ModelMismatchError unless the gallery holds the codes of this model."""
        check_same_model(self, fingerprint, hash_length=hash_length)

    def check_filled(self) -> None:
        """Raise a GalleryError where no video can be found."""
        if not self._tell().facts["num_clips"]:
            raise GalleryError(f"gallery '{self.path}' is empty: index videos, then push again.")

    def check_filter(self, only: VideoFilter) -> None:
        """Raise a UsageError where no video passes, or none has a label that is named."""
        self._num_passing(only, self._tell())

    def check_labels(self, only: VideoFilter) -> None:
        """Raise a UsageError where no video has a label that a filter names."""
        for label in sorted(set(only.labels)):
            if not self._tables.num_videos(f"label == {literal(stored_label(label))}"):
                facts = self._tell().facts
                raise unknown_label(label, facts["labels"], num_labels=facts["num_labels"], gallery=self.path)

    def same_film(self) -> SameFilm | None:
        """Return what scores mean, as it was measured before the push; None where it was not."""
        content = self._now().facts["same_film"]
        return None if content is None else of_content(content)

    @property
    def same_film_state(self) -> str:
        """What tells what `same_film` returns from what it returned before."""
        return self.state

    # Searched

    def similar_videos(
        self,
        query: CodeBatch,
        *,
        top: int,
        only: VideoFilter | None = None,
        radius: int | None = None,
        any_speed: bool = False,
    ) -> list[tuple[VideoEvidence, GalleryClip]]:
        """Find the videos that most speaks for: as `Gallery.similar_videos`."""
        check_top(top)
        if query.hash_length != self.hash_length:
            raise CodesError(
                f"gallery '{self.path}' holds {self.hash_length}-bit codes, got {query.hash_length}-bit ones."
            )
        for _ in range(TRIES):
            try:
                return self._similar_videos(query, top, only or VideoFilter(), radius, any_speed)
            except Changed:
                logger.info("'%s' changed while it was searched: once more.", self.path)
        raise GalleryError(f"'{self.path}' changes while it is searched, as somebody pushes: ask again.")

    def _similar_videos(
        self, query: CodeBatch, top: int, only: VideoFilter, radius: int | None, any_speed: bool
    ) -> list[tuple[VideoEvidence, GalleryClip]]:
        told = self._tell()
        if not told.facts["num_clips"] or not len(query.codes):
            return []
        codes = RemoteCodes(
            self._tables, query.codes, notes=told.notes, num_videos=told.lists.num_videos,
            num_clips=told.facts["num_clips"], last_id=told.lists.last_id,
        )  # fmt: skip
        allowed = self._allowed(codes, only, told)
        found = rank_videos(
            codes, query, top=top, times=codes.times, allowed=allowed, radius=radius, any_speed=any_speed
        )
        return list(zip(found, self._clips([each.clip_id for each in found], told.lists), strict=True))

    def _allowed(self, codes: RemoteCodes, only: VideoFilter, told: _Told) -> Passing:
        num_passing = self._num_passing(only, told)
        which, without, listed = expression(only, told.lists.roots), list[int](), None
        if num_passing is not None and num_passing <= MOST_ROWS:
            listed = [row["id"] for row in self._tables.videos(which, ())]
        if only.without_content is not None:
            without = [row["id"] for row in self._tables.videos(with_content(only.without_content), ())]
        return Passing(codes, self._tables, which=which, without=without, listed=listed)

    def _num_passing(self, only: VideoFilter, told: _Told) -> int | None:
        """Count the videos that pass a filter, whatever their content; None where it leaves out none.

        Raises:
            UsageError: there are none, or none has a label that it names.
        """
        self.check_labels(only)
        if only == VideoFilter(without_content=only.without_content):
            return None
        num_passing = self._tables.num_videos(expression(only, told.lists.roots))
        if not num_passing:
            raise nothing_passes(only, gallery=self.path)
        return num_passing

    def _clips(self, ids: list[int], lists: Lists) -> list[GalleryClip]:
        """Look clips up, with what is known of their videos."""
        clips = self._tables.clips(ids)
        if len(clips) < len(ids):
            raise Changed
        videos: dict[int, dict[str, Any]] = {}
        if ids:
            first_ids = sorted({clip[0] for clip in clips.values()})
            videos = {row["id"]: row for row in self._tables.videos(any_of("id", first_ids), FIELDS)}
        if any(clip[0] not in videos for clip in clips.values()):
            raise Changed
        return [lists.clip_of(clip_id, clips[clip_id], videos[clips[clip_id][0]]) for clip_id in ids]

    # Shown

    def root_folders(self) -> list[str]:
        """List the roots that videos are stored in, as GalleryVideo has them; with "" for those without one."""
        told = self._now()
        if self._used_roots[0] != told.stamp:
            self._used_roots = told.stamp, told.lists.used_roots()
        return list(self._used_roots[1])

    def videos(self) -> list[GalleryVideo]:
        """List all videos, in the order of their names.

        Raises:
            LimitError: there are more than are looked through.
        """
        lists = self._now().lists
        rows = lists.all(expression(VideoFilter(), lists.roots), lists.num_videos)
        return sorted(map(lists.video_of, rows), key=lambda video: video.video)

    def page(
        self,
        only: VideoFilter | None = None,
        *,
        text: str = "",
        is_missing: bool = False,
        offset: int = 0,
        limit: int = 100,
    ) -> tuple[int, list[GalleryVideo]]:
        """Return how many videos there are of a kind, and some of these: see `Catalog.page`. None is missing.

        Raises:
            LimitError: more videos than are looked through may have the text.
        """
        if is_missing:
            return 0, []
        lists, places = self._now().lists, self._places
        if lists.num_videos > MOST_SORTED and not places[0] / 2 < lists.num_videos < 2 * places[0]:
            self._places = places = lists.num_videos, lists.spread_places()
        which = expression(only or VideoFilter(), lists.roots)
        return lists.page(which, text=text, places=places[1], offset=offset, limit=limit)

    def video(self, video_id: int) -> GalleryVideo | None:
        """Return the video of a number; None where there is none."""
        return self._now().lists.video(video_id)

    def clip(self, clip_id: int) -> GalleryClip | None:
        """Return a clip by its id; None where there is none."""
        try:
            return self._clips([clip_id], self._now().lists)[0]
        except Changed:
            return None

    def codes_of(self, video_id: int) -> tuple[np.ndarray, CodeBatch]:
        """Return the ids, int64 [N], and the codes of the clips of a video; none where it is not there."""
        return self._now().lists.codes_of(video_id)

    def times_of(self, names: Sequence[str]) -> list[VideoTimes]:
        """Return when the clips of videos are, by their names.

        Raises:
            GalleryError: one of them is not there.
        """
        found = self._now().lists.times_of(names)
        if any(times is None for times in found):
            raise GalleryError(f"'{self.path}' changes while it is searched, as somebody pushes: ask again.")
        return [times for times in found if times is not None]

    def middle_clips(self, video_ids: Iterable[int]) -> list[int | None]:
        """Return the id of the clip in the middle of each video; None of one that is not there."""
        return self._now().lists.middle_clips(video_ids)

    def sample(self, most: int) -> tuple[list[GalleryClip], np.ndarray]:
        """Return all clips with their codes, uint8 [N, width]; or, of more than so many, some, evenly by their ids."""
        told = self._now()
        return told.lists.sample(most, num_clips=int(told.facts["num_clips"]))


def not_there(address: Address) -> GalleryError:
    """Return what is said where there is no gallery."""
    return GalleryError(f"'{address}' is not there: `c3dhash gallery push --to {address}` makes it.")
