"""A query -> hits, as answers: from codes of the gallery, or of a video that was sent."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from c3dhash.errors import UsageError
from c3dhash.gallery.catalog import VideoTimes
from c3dhash.gallery.filters import VideoFilter
from c3dhash.gallery.mirrors import mirror_mask
from c3dhash.gallery.query import query_codes
from c3dhash.gallery.served import ServedGallery
from c3dhash.records import CodeBatch, Hit
from c3dhash.web.answers import AskedWith, HitAnswer, QueryAnswer
from c3dhash.web.asked import QueryAsked
from c3dhash.web.names import Names
from c3dhash.web.refusals import Refused
from c3dhash.web.remembered import Remembered, between, chosen


@dataclass(frozen=True)
class Meaning:
    """What is known of what hits mean: as `query_codes` takes it."""

    calibration: Any = None
    same_film: Any = None


@dataclass(frozen=True, eq=False)
class Query:
    """What is searched with: codes, with those of the mirror image behind them where these are known."""

    name: str
    codes: Sequence[CodeBatch]
    content_hash: str
    seconds: float
    video_id: int | None = None
    query_id: str | None = None


def query_of(
    gallery: ServedGallery, names: Names, asked: QueryAsked, remembered: Remembered | None, *, mirror: bool, run: Any
) -> Query:
    """Return what is searched with: a video that was sent, or one of the gallery.

    Args:
        remembered: the video that was sent; None for `asked.video_id`.
        mirror, run: as of `of_gallery`.
    Raises:
        Refused, UsageError: as of `of_upload` and `of_gallery`.
    """
    if remembered is not None:
        return of_upload(remembered, mirror=mirror)
    assert asked.video_id is not None  # one of the two is asked for
    return of_gallery(gallery, names, asked.video_id, mirror=mirror, run=run)


def of_gallery(gallery: ServedGallery, names: Names, video_id: int, *, mirror: bool, run: Any) -> Query:
    """Return a video of the gallery as a query, by the codes that the gallery has.

    Args:
        mirror: also by those of its mirror image.
        run: that made the codes; None where it is not there.
    Raises:
        Refused: there is no such video, or it has no codes.
        UsageError: its mirror image is asked for, and what its codes are is not known.
    """
    video = gallery.video(video_id)
    if video is None:
        raise no_video(video_id)
    _, codes = gallery.codes_of(video_id)
    name = names.shown(video.video)
    if not len(codes.codes):
        why = "its file is missing" if video.missing_since else "it shows nothing"
        raise Refused(409, f"video '{name}' has no codes to search with, since {why}: take another.")
    batches = [codes]
    if mirror:
        try:
            mask = mirror_mask(gallery, run=run)
        except UsageError as error:
            raise UsageError(f"{error} Or send the video itself, which is then mirrored.") from error
        batches.append(CodeBatch(codes.codes ^ mask, codes.hash_length, codes.start_seconds, codes.end_seconds))
    return Query(name, batches, video.content_hash, float(codes.end_seconds[-1]), video_id=video_id)


def of_upload(remembered: Remembered, *, mirror: bool) -> Query:
    """Return a video that was sent as a query.

    Raises:
        Refused: it was not encoded in a mirror.
    """
    batches = remembered.codes if mirror else remembered.codes[:1]
    if mirror and len(batches) < 2:
        raise Refused(409, "this query was sent without mirror, and its file is gone: send it again with mirror.")
    seconds = max(remembered.seconds, float(batches[0].end_seconds[-1]))
    return Query(remembered.name, batches, remembered.content_hash, seconds, query_id=remembered.id)


def search(gallery: ServedGallery, names: Names, query: Query, asked: QueryAsked, meaning: Meaning) -> QueryAnswer:
    """Search with a query, or with some windows of it.

    Raises:
        Refused: no window is meant, or the gallery is empty.
        UsageError: as of `query_codes`.
    """
    windows = _windows(query, asked)
    batches = [chosen(codes, windows) for codes in query.codes]
    only = dataclasses.replace(_filter(names, asked), without_content=query.content_hash if asked.not_itself else None)
    with gallery.reading():
        if not len(gallery):
            raise Refused(409, "the gallery is empty: `c3dhash index DIR` fills it.")
        hits = query_codes(
            gallery, batches[0], mirrored=batches[1] if len(batches) > 1 else None, top=asked.top, only=only,
            radius=asked.radius, any_speed=asked.any_speed, calibration=meaning.calibration,
            same_film=meaning.same_film,
        )  # fmt: skip
        all_times = gallery.times_of([hit.video for hit in hits])
    told = [_answer(names, hit, times) for hit, times in zip(hits, all_times, strict=True)]
    taken = batches[0]
    return QueryAnswer(
        status="done",
        query=AskedWith(
            name=query.name, video_id=query.video_id, query_id=query.query_id, seconds=query.seconds,
            num_windows=len(query.codes[0].codes), windows=windows.tolist(),
            start_seconds=float(taken.start_seconds.min()), end_seconds=float(taken.end_seconds.max()),
        ),
        hits=told,
    )  # fmt: skip


def _filter(names: Names, asked: QueryAsked) -> VideoFilter:
    place = None if asked.folder is None else names.place(asked.folder)
    return VideoFilter(labels=tuple(asked.label), place=place, added_since=asked.added_since)


def check_filter(gallery: ServedGallery, names: Names, asked: QueryAsked) -> None:
    """Make sure that a search can find something, before a video is encoded for it.

    Raises:
        UsageError: no video passes what is asked for.
    """
    gallery.check_filter(_filter(names, asked))


def _windows(query: Query, asked: QueryAsked) -> np.ndarray:
    codes = query.codes[0]
    if asked.clips is not None:
        if asked.start_seconds is not None or asked.end_seconds is not None:
            raise Refused(422, "clips and start_seconds or end_seconds both say what is searched with: give one.")
        wrong = [number for number in asked.clips if number >= len(codes.codes)]
        if wrong or not asked.clips:
            told = f"{wrong[0]}" if wrong else "none"
            raise Refused(422, f"clips ({told}) must be some of 0 to {len(codes.codes) - 1}, which this video has.")
        return np.unique(np.array(asked.clips, np.int64))
    check_stretch(asked.start_seconds, asked.end_seconds, seconds=query.seconds)
    windows = between(codes, start_seconds=asked.start_seconds, end_seconds=asked.end_seconds)
    if not len(windows):
        raise Refused(422, "no window of the video lies there: it shows nothing then.")
    return windows


def check_stretch(start_seconds: float | None, end_seconds: float | None, *, seconds: float) -> None:
    """Refuse a stretch that a video does not have.

    Args:
        seconds: how long the video is, as far as it is known; its end may be asked for, up to a second behind.
    Raises:
        Refused: it begins or ends outside.
    """
    start = 0.0 if start_seconds is None else start_seconds
    if start >= seconds:
        raise Refused(422, f"start_seconds ({start:g}) must be below {seconds:g}, where the video ends.")
    if end_seconds is not None and not start < end_seconds <= seconds + 1:
        raise Refused(422, f"end_seconds ({end_seconds:g}) must be above {start:g} and at most {seconds:g}.")


def _answer(names: Names, hit: Hit, times: VideoTimes) -> HitAnswer:
    place = int(np.abs(times.start_seconds - hit.start_seconds).argmin())
    numbers = {"video_id": times.video_id, "clip_id": int(times.clip_ids[place])}
    told = {**asdict(hit), **numbers, "video": names.shown(hit.video)}
    return HitAnswer(**told, video_seconds=float(times.end_seconds.max()))


def no_video(video_id: int) -> Refused:
    """Return what is said where the gallery has no such video."""
    return Refused(404, f"the gallery has no video {video_id}: `GET /api/videos` lists them.")
