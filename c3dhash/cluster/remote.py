"""A gallery in Milvus, as queries search it: the same hits as in the gallery that was pushed there."""

from __future__ import annotations

import logging
import threading
from typing import Any

from c3dhash.cluster.address import parse_address
from c3dhash.cluster.connection import MOST_ROWS, Connection
from c3dhash.cluster.expressions import any_of, expression, label_of, literal, stored_label, with_content
from c3dhash.cluster.remote_codes import Changed, Passing, RemoteCodes
from c3dhash.cluster.tables import FACTS_ROW, STATE_ROW, find_tables
from c3dhash.errors import CodesError, GalleryError
from c3dhash.gallery.catalog import GalleryClip
from c3dhash.gallery.evidence import VideoEvidence, notes_of, rank_videos
from c3dhash.gallery.filters import VideoFilter, nothing_passes, unknown_label
from c3dhash.gallery.index import check_top
from c3dhash.gallery.roots import join
from c3dhash.gallery.same_film import SameFilm, of_content
from c3dhash.gallery.searched import check_same_model
from c3dhash.records import CodeBatch

logger = logging.getLogger(__name__)

TRIES = 3  # of a query, while somebody pushes
CLIP_FACTS = ("root_id", "path", "label", "content_hash", "num_clips")


class RemoteGallery:
    """An open gallery in Milvus; best in a `with`. As of `gallery.searched.SearchedGallery`; threads take turns.

    What was pushed before it was opened is seen, what is pushed later a few seconds after: Milvus' bounded consistency.

    Args:
        text: its address.
    Raises:
        UsageError: that is none, or pymilvus is not installed.
        GalleryError: no server, or no gallery there.
    """

    def __init__(self, text: str) -> None:
        address = parse_address(text)
        self.path, self._lock = str(address), threading.RLock()
        self._state: dict[str, Any] = {}
        self._facts: dict[str, Any] = {}
        self._connection = Connection(address)
        try:
            tables = find_tables(self._connection)
            if tables is None:
                raise GalleryError(f"'{address}' is not there: `c3dhash gallery push --to {address}` makes it.")
            tables.load()
            self._tables = tables
            self._take_facts(strong=True)
            tables.wait()
        except BaseException:
            self._connection.close()
            raise
        self.hash_length, self.model_fingerprint = tables.mark.hash_length, tables.mark.model
        self.model_name, self.run = str(self._facts["model_name"]), dict(self._facts["run"])
        if not self._state.get("is_complete"):
            logger.warning("'%s' is not whole: a push is under way, or was cut off. Run it again.", self.path)

    def __enter__(self) -> RemoteGallery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"RemoteGallery('{self.path}', hash_length={self.hash_length}, model {self.model_fingerprint[:8]})"

    def close(self) -> None:
        self._connection.close()

    def _take_facts(self, *, strong: bool = False) -> None:
        """Read what is known about all of the gallery, where a push changed it."""
        state = self._tables.read(STATE_ROW, strong=strong)
        facts: dict[str, Any] | None = self._facts
        if state != self._state:
            facts = self._tables.read(FACTS_ROW, strong=strong)
        if state is None or facts is None:
            raise self._tables.cut_off()
        self._state, self._facts = state, facts
        self._roots = {int(root_id): str(folder) for root_id, folder in facts["roots"].items()}
        measured = facts["measured"]
        self._notes = {} if measured is None else notes_of(measured, hash_length=self._tables.mark.hash_length)

    def check_model(self, fingerprint: str, *, hash_length: int) -> None:
        """Raise a ModelMismatchError unless the gallery holds the codes of this model."""
        check_same_model(self, fingerprint, hash_length=hash_length)

    def check_filled(self) -> None:
        """Raise a GalleryError where no video can be found."""
        if not self._facts["num_clips"]:
            raise GalleryError(f"gallery '{self.path}' is empty: index videos, then push again.")

    def check_filter(self, only: VideoFilter) -> None:
        """Raise a UsageError where no video passes, or none has a label that is named."""
        with self._lock:
            self._num_passing(only)

    def same_film(self) -> SameFilm | None:
        """Return what scores mean, as it was measured before the push; None where it was not."""
        content = self._facts["same_film"]
        return None if content is None else of_content(content)

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
                with self._lock:
                    return self._similar_videos(query, top, only or VideoFilter(), radius, any_speed)
            except Changed:
                logger.info("'%s' changed while it was searched: once more.", self.path)
        raise GalleryError(f"'{self.path}' changes while it is searched, as somebody pushes: ask again.")

    def _similar_videos(
        self, query: CodeBatch, top: int, only: VideoFilter, radius: int | None, any_speed: bool
    ) -> list[tuple[VideoEvidence, GalleryClip]]:
        self._take_facts()
        if not self._facts["num_clips"] or not len(query.codes):
            return []
        codes = RemoteCodes(
            self._tables, query.codes, notes=self._notes, num_videos=self._facts["num_videos"],
            num_clips=self._facts["num_clips"], last_id=self._state["last_id"],
        )  # fmt: skip
        allowed = self._allowed(codes, only)
        found = rank_videos(
            codes, query, top=top, times=codes.times, allowed=allowed, radius=radius, any_speed=any_speed
        )
        return list(zip(found, self._clips([each.clip_id for each in found]), strict=True))

    def _allowed(self, codes: RemoteCodes, only: VideoFilter) -> Passing:
        num_passing = self._num_passing(only)
        which, without, listed = expression(only, self._roots), list[int](), None
        if num_passing is not None and num_passing <= MOST_ROWS:
            listed = [row["id"] for row in self._tables.videos(which, ())]
        if only.without_content is not None:
            without = [row["id"] for row in self._tables.videos(with_content(only.without_content), ())]
        return Passing(codes, self._tables, which=which, without=without, listed=listed)

    def _num_passing(self, only: VideoFilter) -> int | None:
        """Count the videos that pass a filter, whatever their content; None where it leaves out none.

        Raises:
            UsageError: there are none, or none has a label that it names.
        """
        for label in sorted(set(only.labels)):
            if not self._tables.num_videos(f"label == {literal(stored_label(label))}"):
                facts = self._facts
                raise unknown_label(label, facts["labels"], num_labels=facts["num_labels"], gallery=self.path)
        if only == VideoFilter(without_content=only.without_content):
            return None
        num_passing = self._tables.num_videos(expression(only, self._roots))
        if not num_passing:
            raise nothing_passes(only, gallery=self.path)
        return num_passing

    def _clips(self, ids: list[int]) -> list[GalleryClip]:
        """Look clips up, with what is known of their videos."""
        clips = self._tables.clips(ids)
        if len(clips) < len(ids):
            raise Changed
        videos: dict[int, dict[str, Any]] = {}
        if ids:
            first_ids = sorted({clip[0] for clip in clips.values()})
            videos = {row["id"]: row for row in self._tables.videos(any_of("id", first_ids), CLIP_FACTS)}
        if any(clip[0] not in videos for clip in clips.values()):
            raise Changed
        return [self._clip(clip_id, clips[clip_id], videos[clips[clip_id][0]]) for clip_id in ids]

    def _clip(self, clip_id: int, clip: tuple[int, float, float, bytes], video: dict[str, Any]) -> GalleryClip:
        folder = self._roots.get(video["root_id"], "")
        name = join(folder, video["path"])
        _, start, end, _ = clip
        facts = label_of(video["label"]), video["content_hash"], video["num_clips"]
        return GalleryClip(clip_id, name, start, end, *facts, video_id=video["id"])
