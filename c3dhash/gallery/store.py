"""A gallery: one folder with the codes of many videos, searched by Hamming distance.

gallery/
  catalog.sqlite   the truth: videos, clips, codes, and the model that made them (catalog.py)
  codes.bin        a copy of the codes to search in (codes_file.py, replica.py); it may be deleted, and is made again
  approximate.bin  an index of these that looks at some of them, where there is one (companion.py); it may be deleted
  model/           a run directory, where the gallery has a model of its own (fitting.py)
  writer.lock      who writes all of this now (lock.py); there while somebody does
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from c3dhash.bits import check_codes, num_code_bytes
from c3dhash.config import INDEX_KINDS
from c3dhash.errors import CodesError, GalleryError, ModelMismatchError, UsageError
from c3dhash.gallery import lock, schema
from c3dhash.gallery.catalog import EMPTY, Catalog, GalleryClip, GalleryVideo, VideoTimes
from c3dhash.gallery.companion import Companion
from c3dhash.gallery.edits import Edits, no_video
from c3dhash.gallery.evidence import VideoEvidence, measure, rank_videos
from c3dhash.gallery.filters import VideoFilter, nothing_passes, unknown_label
from c3dhash.gallery.index import HammingIndex
from c3dhash.gallery.layout import spread_evenly
from c3dhash.gallery.pairs import Pair, matching_pairs
from c3dhash.gallery.recall import Search, choose_elsewhere
from c3dhash.gallery.replica import SAVE_SHARE, Replica
from c3dhash.gallery.roots import may_be_of
from c3dhash.gallery.same_film import COPIES_NAME, SameFilm, load_same_film
from c3dhash.gallery.searched import check_same_model
from c3dhash.records import CodeBatch

CATALOG_NAME = "catalog.sqlite"
CODES_NAME = "codes.bin"
APPROXIMATE_NAME = "approximate.bin"
MODEL_DIR = "model"
DEFAULT_TIMEOUT_SECONDS = 10.0


class Gallery:
    """An open gallery: `Gallery.open(path)`, best in a `with`.

    Threads may share one; their calls take turns. Processes open one each: any number of them read while
    one writes. `add`, `remove` and `touch` are each one turn at writing, and wait `timeout_seconds` for another
    writer, such as `c3dhash index`; `writing` makes one turn of several.

    Attributes:
        path: the folder.
        hash_length: of its codes, bits.
        model_fingerprint, model_name: of the model that made the codes; the name is for people.
        run: what else was noted when the gallery was made.
    """

    def __init__(self, path: str | Path, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise GalleryError(f"gallery '{path}' does not exist: run `c3dhash index DIR` first.")
        if not self.path.is_dir():
            raise GalleryError(f"gallery '{path}' is a file; a gallery is a folder, made by `c3dhash index DIR`.")
        self._catalog = Catalog(self.path / CATALOG_NAME, timeout_seconds=timeout_seconds)
        meta = self._catalog.meta
        self.hash_length = self._catalog.hash_length
        self.model_fingerprint, self.model_name = meta["model_fingerprint"], meta["model_name"]
        self.run: dict[str, object] = json.loads(meta["run"])
        self._timeout_seconds = timeout_seconds
        self._lock = threading.RLock()
        self._turns = threading.RLock()  # of writers: one that waits for another process keeps no reader waiting
        self._replica = Replica(self._catalog, self.path / CODES_NAME)
        self._companion = Companion(self._catalog, self.path / APPROXIMATE_NAME)
        self._num_written = 0  # clips that this object added to the catalog

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        hash_length: int,
        model_fingerprint: str,
        model_name: str = "",
        run: Mapping[str, object] | None = None,
        exist_ok: bool = False,
    ) -> Gallery:
        """Make an empty gallery for the codes of a model and open it.

        Args:
            path: the folder; made where it is missing.
            hash_length: bits of its codes.
            model_fingerprint: tells the model from every other; `check_model` compares it.
            model_name: what a person would pass to --model.
            run: anything of the run that is worth keeping; JSON values.
            exist_ok: open the gallery that is there, if it is of the same model.
        Raises:
            GalleryError: there is a gallery, or the folder cannot be written.
            ModelMismatchError: the gallery that may be there holds the codes of another model.
            UsageError: hash_length is out of range, or the fingerprint is empty.
        """
        num_code_bytes(hash_length)
        if not model_fingerprint:
            raise UsageError(f"model_fingerprint ({model_fingerprint!r}) must not be empty; a run has one.")
        meta = {
            "hash_length": str(hash_length),
            "model_fingerprint": model_fingerprint,
            "model_name": model_name,
            "run": json.dumps(dict(run or {})),
        }
        with lock.writing(Path(path), timeout_seconds=DEFAULT_TIMEOUT_SECONDS):
            catalog_path = Path(path) / CATALOG_NAME
            is_new = schema.create(catalog_path, meta=meta, timeout_seconds=DEFAULT_TIMEOUT_SECONDS)
        if not (is_new or exist_ok):
            raise GalleryError(f"gallery '{path}' exists already: open it, or choose another folder.")
        gallery = cls.open(path)
        try:
            gallery.check_model(model_fingerprint, hash_length=hash_length)
        except ModelMismatchError:
            gallery.close()
            raise
        return gallery

    @classmethod
    def open(cls, path: str | Path, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> Gallery:
        """Open a gallery; where its folder cannot be written, it can still be searched.

        Args:
            path: the folder.
            timeout_seconds: how long its calls wait for another process that writes.
        Raises:
            GalleryError: there is no gallery, or it is locked, damaged or of a newer c3dhash.
        """
        return cls(path, timeout_seconds=timeout_seconds)

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """Return the number of clips that can be found: without those of missing videos."""
        with self._lock:
            return len(self._replica.index())

    @property
    def num_videos(self) -> int:
        """The number of videos that a search can find: of those that have clips and whose files are not missing."""
        with self._lock:
            return self._replica.index().num_videos

    def __repr__(self) -> str:
        return f"Gallery('{self.path}', hash_length={self.hash_length}, model {self.model_fingerprint[:8]})"

    def close(self) -> None:
        """Close the gallery, after bringing codes.bin up to date if this object added many clips."""
        with self._lock:
            try:
                if self._num_written and self._num_written >= SAVE_SHARE * self._catalog.num_clips():
                    self._replica.index()
            finally:
                self._num_written = 0
                self._catalog.close()

    def check_model(self, fingerprint: str, *, hash_length: int) -> None:
        """Raise a ModelMismatchError unless the gallery holds the codes of this model."""
        check_same_model(self, fingerprint, hash_length=hash_length)

    def add(
        self,
        video: str,
        codes: CodeBatch,
        *,
        content_hash: str,
        size_bytes: int = 0,
        mtime_ns: int = 0,
        label: str | None = None,
        root: str | None = None,
    ) -> np.ndarray:
        """Add a video, in place of what the gallery has under that name. It is on the disk on return.

        Args:
            video: its name in the gallery, usually its path.
            codes: of its clips; there may be none.
            content_hash, size_bytes, mtime_ns: of its file, to see later whether it changed.
            root: an absolute folder that the file lies in, with `video` as its absolute path: stored relative to it,
                so that the gallery can be moved together with the folder. None keeps the name as it is.
        Returns:
            The ids of its clips, int64 [N], rising; never given before.
        Raises:
            UsageError: the video does not lie in the root.
            CodesError: the codes have another length than the gallery's.
            GalleryError: the name cannot be stored, or the catalog cannot be written.
        """
        if codes.hash_length != self.hash_length:
            raise CodesError(
                f"gallery '{self.path}' holds {self.hash_length}-bit codes, got {codes.hash_length}-bit ones."
            )
        check_codes(codes.codes, hash_length=self.hash_length)
        try:
            video.encode()
        except UnicodeEncodeError as error:
            raise GalleryError(f"video name {video!r} is not valid UTF-8: rename the file.") from error
        if root is not None and not may_be_of(root, video):
            raise UsageError(f"video {video!r} must lie in its root, an absolute folder, got {root!r}.")
        with self.editing() as edits:
            return edits.add(
                video,
                codes,
                content_hash=content_hash,
                size_bytes=size_bytes,
                mtime_ns=mtime_ns,
                label=label,
                root=root,
            )

    def remove(self, videos: Iterable[str]) -> None:
        """Remove videos with their clips: all of them, or none where it fails.

        Raises:
            GalleryError: one of them is not there, or the catalog cannot be written.
        """
        with self.editing() as edits:
            for video in videos:
                if not edits.remove(video):
                    raise no_video(self.path, video)

    def touch(self, video: str, *, size_bytes: int, mtime_ns: int) -> None:
        """Note a new size and time of a video whose content did not change.

        Raises:
            GalleryError: the video is not there, or the catalog cannot be written.
        """
        with self.editing() as edits:
            if not edits.touch(video, size_bytes=size_bytes, mtime_ns=mtime_ns):
                raise no_video(self.path, video)

    @contextlib.contextmanager
    def writing(self, *, timeout_seconds: float | None = None) -> Iterator[None]:
        """Be the gallery's one writer while the `with` lasts.

        Args:
            timeout_seconds: how long to wait for another writer; None for as long as it takes.
        Raises:
            GalleryError: another writer, who is named, is not done in time.
        """
        with lock.writing(self.path, timeout_seconds=timeout_seconds):
            yield

    @contextlib.contextmanager
    def editing(self) -> Iterator[Edits]:
        """Make one transaction of several changes; nothing of them where one fails. See edits.py."""
        with self._turn():
            with self._catalog.editing() as edits:
                yield edits
            self._num_written += edits.num_added

    def engines(self) -> dict[str, str]:
        """Return what computed the codes, each with its version and precision, and the day it last did."""
        with self._lock:
            return self._catalog.engines()

    def note_engine(self, name: str) -> None:
        """Note what computes the codes that come now."""
        self.note_engines({name: datetime.now(timezone.utc).date().isoformat()})

    def note_engines(self, days: Mapping[str, str]) -> None:
        """Note what computed codes -> the day it last did, as in 2026-11-24 (UTC); the later day counts."""
        if days:
            with self._turn():
                self._catalog.note_engines(days)

    def note_moved_roots(self) -> None:
        """Store where the folders of videos are now, where the gallery was moved with or without them."""
        with self._turn():
            self._catalog.note_moved_roots()

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        with self._turns, self.writing(timeout_seconds=self._timeout_seconds), self._lock:
            yield

    def search(self, codes: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Find the k nearest clips of each query, among all that the gallery holds at this moment.

        Where the gallery has an approximate index, nearly all of them: see c3dhash.gallery.approximate.

        Args:
            codes: queries, uint8 [Q, ceil(hash_length / 8)].
            k: results per query, 1 or more.
        Returns:
            distances: int32 [Q, k], bits, 0..hash_length.
            ids: int64 [Q, k], for `clips`. Each row is ordered by (distance, id). Where the gallery holds
            fewer than k clips, the rest of a row has id -1 at distance 2**31 - 1.
        Raises:
            UsageError: k is below 1.
            CodesError: the codes have another width.
        """
        with self._lock:
            index = self._replica.index()
            approximate = self._companion.current(index)
            return index.search(codes, k=k) if approximate is None else approximate.search(index, codes, k=k)

    def similar_videos(
        self,
        query: CodeBatch,
        *,
        top: int,
        only: VideoFilter | None = None,
        radius: int | None = None,
        any_speed: bool = False,
    ) -> list[tuple[VideoEvidence, GalleryClip]]:
        """Find the videos that most speaks for: see c3dhash.gallery.evidence.

        What is found and what is told about it come from one state of the gallery, whoever writes meanwhile.

        Args:
            query: the windows of a video.
            top: how many videos, 1 or more.
            only: which may be found; None for all.
            radius, any_speed: as of `evidence.rank_videos`.
        Returns:
            (evidence, nearest clip) of each video, in the order of `evidence.rank_videos`; fewer than `top` where the
            gallery has fewer. Of clips at one distance, the one with the lowest id is a video's nearest.
        Raises:
            UsageError: top is below 1, or no video passes the filter (but that the query itself is all there is).
            CodesError: the codes have another width.
        """
        with self._lock, self._catalog.snapshot():
            index = self._replica.index()
            allowed = self._allowed(index, only) if only and len(index) else None
            approximate = self._companion.current(index)
            search_videos = None if approximate is None else partial(approximate.search_videos, index)
            found = rank_videos(
                index, query, top=top, times=self._catalog.times, allowed=allowed, radius=radius, any_speed=any_speed,
                search_videos=search_videos,
            )  # fmt: skip
            return list(zip(found, self._catalog.clips(each.clip_id for each in found), strict=True))

    def matching_pairs(
        self,
        *,
        radius: int | None = None,
        mirror_mask: np.ndarray | None = None,
        on_video: Callable[[], object] = lambda: None,
    ) -> list[tuple[GalleryClip, GalleryClip, Pair]]:
        """Find the pairs of videos that have a segment in common: see c3dhash.gallery.pairs.

        Args:
            radius, mirror_mask: as of `pairs.matching_pairs`.
            on_video: called for each video of the gallery that has clips.
        Returns:
            The first clip of each of the two, and the pair. Videos of the same bytes are always among them.
        """
        with self._lock, self._catalog.snapshot():
            index = self._replica.index()
            clips = self._catalog.clips(index.first_ids)
            contents = [clip.content_hash for clip in clips]
            pairs = matching_pairs(
                index, times=self._catalog.times, contents=contents, radius=radius, mirror_mask=mirror_mask,
                on_video=on_video,
            )  # fmt: skip
            return [(clips[pair.first], clips[pair.second], pair) for pair in pairs]

    def not_matches(self) -> set[tuple[str, str]]:
        """Return the pairs of content hashes that are known to be no match, each in its order."""
        with self._lock:
            return self._catalog.not_matches()

    def note_not_matches(self, pairs: Iterable[tuple[str, str]], *, are_matches: bool = False) -> None:
        """Note pairs of content hashes that are no match, whatever their codes say; or, with are_matches, forget it."""
        with self._turn():
            self._catalog.note_not_matches(pairs, are_matches=are_matches)

    def settle_search(self, kind: str | None = None) -> None:
        """Choose what searches the gallery, and build it where need be: see c3dhash.gallery.companion.

        `index`, `import` and `merge` do so in the end. Nothing else of the gallery changes.

        Args:
            kind: what to search with from now on, one of `config.INDEX_KINDS`; None leaves what was asked for.
        Raises:
            UsageError: another kind.
            GalleryError: another writer is not done in time.
        """
        if kind is not None and kind not in INDEX_KINDS:
            raise UsageError(f"kind ({kind!r}) must be one of {', '.join(INDEX_KINDS)}.")
        with self._turn():
            index = self._replica.index()
            self._companion.settle(index, self._replica.revision, kind=kind)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Let everything that is read inside come from one state of the gallery."""
        with self._lock, self._catalog.snapshot():
            yield

    def check_filter(self, only: VideoFilter) -> None:
        """Raise a UsageError where no video of a gallery with clips passes, or none has a label that is named."""
        with self._lock, self._catalog.snapshot():
            if self._catalog.num_clips():
                self._first_clips(only)

    def check_filled(self) -> None:
        """Raise a GalleryError where no video can be found, which says why."""
        with self.reading():
            num_flat, num_missing = len(self.videos()), len(self.missing_videos())
            if self.num_videos:
                return
        why = f"has only videos whose files are missing ({num_missing})" if num_missing else "is empty"
        if num_flat:
            why = f"has only videos that show nothing ({num_flat}), which have no codes"
        raise GalleryError(f"gallery '{self.path}' {why}: run `c3dhash index DIR` first.")

    def same_film(self) -> SameFilm | None:
        """Return what scores mean, as `c3dhash gallery calibrate` measured it; None where it did not."""
        return load_same_film(self.path, model_fingerprint=self.model_fingerprint)

    @property
    def same_film_state(self) -> int | None:
        """What tells what `same_film` returns from what it returned before."""
        path = self.path / COPIES_NAME
        return path.stat().st_mtime_ns if path.exists() else None  # it comes by renaming

    def measured(self) -> dict[str, Any]:
        """Return what chance makes of the codes, as `evidence.notes_of` takes it."""
        with self._lock:
            return measure(self._replica.index())

    def choose_effort(
        self, search_with: Callable[[int], Search], efforts: list[int], *, target: float
    ) -> tuple[int, float]:
        """Return how hard a copy elsewhere must search, and its recall: as of `recall.choose_elsewhere`."""
        with self._lock:
            return choose_elsewhere(search_with, efforts, self._replica.index(), target=target)

    def _allowed(self, index: HammingIndex, only: VideoFilter) -> np.ndarray:
        """Return which videos of the index pass a filter, bool [num_videos]."""
        allowed = np.ones(index.num_videos, bool)
        if replace(only, without_content=None):
            allowed[:] = False
            allowed[index.videos_of(self._first_clips(only))] = True
        if only.without_content is not None:
            allowed[index.videos_of(self._catalog.first_clips_of(only.without_content))] = False
        return allowed

    def check_labels(self, only: VideoFilter) -> None:
        """Raise a UsageError where no video at all has a label that a filter names."""
        if only.labels and (unknown := sorted(set(only.labels) - set(labels := self._catalog.labels()))):
            raise unknown_label(unknown[0], labels, num_labels=len(labels), gallery=self.path)

    def _first_clips(self, only: VideoFilter) -> np.ndarray:
        self.check_labels(only)
        first_ids = self._catalog.first_clips(only)
        if not len(first_ids):
            raise nothing_passes(only, gallery=self.path)
        return first_ids

    def clips(self, ids: Iterable[int]) -> list[GalleryClip]:
        """Look clips up, in the order of `ids`: ints, or int64 [N].

        Raises:
            GalleryError: an id is not there; -1 fills the results of a small gallery and is none.
        """
        with self._lock:
            return self._catalog.clips(ids)

    def codes(self) -> tuple[np.ndarray, np.ndarray]:
        """Read all codes from the catalog: ids int64 [N], rising, and uint8 [N, ceil(hash_length / 8)]."""
        with self._lock, self._catalog.snapshot():
            changes = self._catalog.changes(since=EMPTY, last_id=0)
            assert changes is not None  # EMPTY is a state of every catalog
            none = np.empty((0, num_code_bytes(self.hash_length)), np.uint8)
            codes = np.concatenate([none, *self._catalog.codes()])
        starts = np.cumsum(changes.num_clips) - changes.num_clips
        return np.arange(len(codes)) + np.repeat(changes.first_ids - starts, changes.num_clips), codes

    def problem_of_codes_file(self) -> str | None:
        """Say what is wrong with codes.bin, which is made again where something is; None where nothing is."""
        with self._lock:
            return self._replica.problem()

    def problem_of_approximate_file(self) -> str | None:
        """Say what is wrong with approximate.bin, which is passed over then; None where nothing is."""
        with self._lock:
            return self._companion.problem(self._replica.index())

    def videos(self, only: VideoFilter | None = None) -> list[GalleryVideo]:
        """List what the gallery knows about its videos, in the order of their names; without those that are missing.

        Args:
            only: which videos, whatever their content; None for all.
        """
        with self._lock:
            return self._catalog.videos(only)

    def missing_videos(self, only: VideoFilter | None = None) -> list[GalleryVideo]:
        """List the videos whose files `index` did not find any more, in the order of their names.

        Their codes are kept, and are in no answer until the files are back.

        Args:
            only: as of `videos`.
        """
        with self._lock:
            return self._catalog.missing_videos(only)

    def video(self, video_id: int) -> GalleryVideo | None:
        """Return the video of a number, as of `GalleryVideo.id`, missing or not; None where there is none."""
        with self._lock:
            return self._catalog.video(video_id)

    def root_folders(self) -> list[str]:
        """List the roots that videos are stored in, as GalleryVideo has them; with "" for those without one."""
        with self._lock:
            return self._catalog.root_folders()

    def failures(self) -> list[dict[str, str]]:
        """Return the videos that `index` could not take in when it last looked at them: {`video` `reason`} of each."""
        with self._lock:
            return self._catalog.failures()

    def note_failures(self, failures: Sequence[Mapping[str, str]]) -> None:
        """Note which videos cannot be taken in, in the place of what was noted; nothing is written where that is so."""
        if list(map(dict, failures)) != self.failures():
            with self._turn():
                self._catalog.note_failures(failures)

    def clip(self, clip_id: int) -> GalleryClip | None:
        """Return a clip that can be found, by its id; None where there is none."""
        with self._lock:
            return self._catalog.clip(clip_id)

    def video_id(self, name: str) -> int | None:
        """Return the number of a video by its name; None where there is none of this name."""
        with self._lock:
            return self._catalog.video_id(name)

    def page(
        self,
        only: VideoFilter | None = None,
        *,
        text: str = "",
        is_missing: bool = False,
        offset: int = 0,
        limit: int = 100,
    ) -> tuple[int, list[GalleryVideo]]:
        """Return how many videos there are of a kind, and some of these: see `Catalog.page`."""
        with self._lock:
            return self._catalog.page(
                only or VideoFilter(), text=text, is_missing=is_missing, offset=offset, limit=limit
            )

    def codes_of(self, video_id: int) -> tuple[np.ndarray, CodeBatch]:
        """Return the ids, int64 [N], and the codes of the clips of a video; none where it is missing, or not there."""
        with self._lock:
            return self._catalog.codes_of(video_id)

    def times_of(self, names: Sequence[str]) -> list[VideoTimes]:
        """Return when the clips of videos are, by their names.

        Raises:
            GalleryError: one of them is not there.
        """
        with self.reading():
            found = [(name, self._catalog.video_id(name)) for name in names]
            told = []
            for name, video_id in found:
                if video_id is None:
                    raise no_video(self.path, name)
                ids, codes = self._catalog.codes_of(video_id)
                told.append(VideoTimes(video_id, ids, codes.start_seconds, codes.end_seconds))
        return told

    def middle_clips(self, video_ids: Iterable[int]) -> list[int | None]:
        """Return the id of the clip in the middle of each video; None of one without clips."""
        with self.reading():
            return [self._catalog.middle_clip(video_id) for video_id in video_ids]

    def sample(self, most: int) -> tuple[list[GalleryClip], np.ndarray]:
        """Return clips that can be found, at most so many, evenly; and their codes, uint8 [N, width]."""
        with self.reading():
            ids, codes = self.codes()
            taken = spread_evenly(len(ids), most=most)
            return self._catalog.clips(ids[taken]), codes[taken]

    @property
    def state(self) -> tuple[int, int]:
        """What tells the state that the gallery is in, whoever writes it, from every other; takes microseconds."""
        with self._lock:
            revision = self._catalog.revision()
        return revision.number, revision.token


def is_gallery(path: Path) -> bool:
    """Tell whether there is a gallery; a folder with a model or features alone is none yet."""
    catalog_path = path / CATALOG_NAME
    return catalog_path.is_file() and catalog_path.stat().st_size > 0
