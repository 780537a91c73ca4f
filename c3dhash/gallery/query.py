"""A video -> the most similar videos of a gallery, each with the segment that matches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from c3dhash.config import EncodeConfig
from c3dhash.errors import CheckpointError, UsageError, VideoError
from c3dhash.gallery.filters import VideoFilter
from c3dhash.gallery.index import check_top
from c3dhash.gallery.same_film import SameFilm
from c3dhash.gallery.searched import SearchedGallery
from c3dhash.gallery.windows import with_windows
from c3dhash.models.calibration import Calibration, load_calibration
from c3dhash.records import CodeBatch, Hit, SegmentMatch
from c3dhash.video.reader import content_hash

if TYPE_CHECKING:  # torch is imported where a video is encoded, not to search
    from c3dhash.models.encode import VideoResult
    from c3dhash.models.runs import Run

logger = logging.getLogger(__name__)


def encode_video(run: Run, video: Path | str, *, config: EncodeConfig | None = None) -> CodeBatch:
    """Return the codes of one video, or of a still picture, as that of a video of one frame.

    Raises:
        VideoError: it cannot be decoded, or shows nothing.
    """
    from c3dhash.models.encode import encode_videos

    run.hash_length  # noqa: B018 - a run without a hash head says so before anything is decoded
    (result,) = encode_videos(run, [Path(video)], config=config, take_stills=True)
    return codes_of(result)


def codes_of(result: VideoResult) -> CodeBatch:
    """Return the codes of a video that was encoded by a run with a hash head, one or more.

    Raises:
        VideoError: there are none.
    """
    if result.error is not None:
        raise result.error
    assert result.codes is not None
    if not len(result.codes.codes):
        raise VideoError(
            f"video '{result.video}' shows nothing: all frames of its windows ({result.codes.num_flat}) are black, "
            "white or of one colour (to a network on optical flow: nothing moves), and such have no code; take another."
        )
    return result.codes


def query_video(
    run: Run,
    gallery: SearchedGallery,
    video: Path | str,
    *,
    top: int = 10,
    only: VideoFilter | None = None,
    radius: int | None = None,
    not_itself: bool = False,
    mirror: bool = False,
    any_speed: bool = False,
    config: EncodeConfig | None = None,
) -> list[Hit]:
    """Find the videos of a gallery that are most similar to a video, cut into windows as the gallery's are.

    Args:
        video: its path, or that of a still picture, as of `encode_video`.
        top, only, radius, any_speed: as of `query_codes`.
        not_itself: leave out files with the bytes of the video.
        mirror: also search with the mirror image of the video; each video is found once, by the better of the two.
    Raises:
        UsageError: no video passes the filter, or the codes of the gallery are those of mirror images already.
        VideoError: the video cannot be decoded, or shows nothing.
        ModelMismatchError: the gallery holds the codes of another model.
    """
    ((_, answer),) = query_videos(
        run, gallery, [Path(video)],
        top=top, only=only, radius=radius, not_itself=not_itself, mirror=mirror, any_speed=any_speed, config=config,
    )  # fmt: skip
    if isinstance(answer, VideoError):
        raise answer
    return answer


def query_videos(
    run: Run,
    gallery: SearchedGallery,
    videos: Sequence[Path],
    *,
    top: int = 10,
    only: VideoFilter | None = None,
    radius: int | None = None,
    not_itself: bool = False,
    mirror: bool = False,
    any_speed: bool = False,
    config: EncodeConfig | None = None,
) -> Generator[tuple[Path, list[Hit] | VideoError], None, None]:
    """Query one video after the other, while the next ones are decoded.

    Args:
        videos: each is a query.
        top, only, radius, not_itself, mirror, any_speed, config: as of `query_video`.
    Returns:
        Each video, in their order, with its hits, or with why it cannot be read; as each is known.
    Raises:
        UsageError, ModelMismatchError: as `query_video`, and before anything is decoded.
    """
    check_top(top)
    gallery.check_model(run.fingerprint, hash_length=run.hash_length)
    only = only or VideoFilter()
    if only:
        gallery.check_filter(only)
    config = with_windows(config or EncodeConfig(), gallery)
    if mirror:
        check_mirror(gallery, config)
    search = partial(
        _find, gallery, top=top, radius=radius, any_speed=any_speed, calibration=calibration_of(run),
        same_film=gallery.same_film(),
    )  # fmt: skip
    answer = partial(_answer, search, only=only, top=top, not_itself=not_itself)
    return _answer_each(run, videos, answer, mirror=mirror, config=config)


def check_mirror(gallery: SearchedGallery, config: EncodeConfig) -> None:
    """Make sure that it makes a difference whether a query is mirrored.

    Args:
        config: with the windows of the gallery.
    Raises:
        UsageError: the codes of the gallery are those of mirror images already.
    """
    if config.views % 2 == 0:
        raise UsageError(
            f"mirror: the codes of gallery '{gallery.path}' are of {config.views} views, half of them mirror images: "
            "those of a mirrored query are the same, leave --mirror out."
        )


def _answer_each(
    run: Run, videos: Sequence[Path], answer: Callable[[VideoResult], list[Hit]], *, mirror: bool, config: EncodeConfig
) -> Generator[tuple[Path, list[Hit] | VideoError], None, None]:
    """Answer the queries of `query_videos`, each from what is encoded of it: as it is, and in a mirror."""
    from c3dhash.models.encode import encode_videos

    with closing(encode_videos(run, videos, config=config, take_stills=True, with_mirrored=mirror)) as results:
        for video, result in zip(videos, results, strict=True):
            try:
                yield video, answer(result)
            except VideoError as error:
                yield video, error


def _answer(
    search: Callable[..., list[tuple[Hit, float]]],
    result: VideoResult,
    *,
    only: VideoFilter,
    top: int,
    not_itself: bool,
) -> list[Hit]:
    """Answer a query.

    Args:
        search: `_find`, but for the query and the filter.
        result: of the video, with that of its mirror image where it is searched with, too.
    """
    codes = [codes_of(each) for each in (result, result.mirrored) if each is not None]
    only = replace(only, without_content=content_hash(result.video)) if not_itself else only
    return _search_both(partial(search, only=only), codes, top=top)


def _search_both(search: Callable[..., list[tuple[Hit, float]]], codes: Sequence[CodeBatch], *, top: int) -> list[Hit]:
    """Return the hits of a query, and of its mirror image where there are codes of that behind its own."""
    found = [search(each) for each in codes]
    if len(found) == 1:
        return [hit for hit, _ in found[0]]
    mirrored = [(replace(hit, is_mirrored=True), distance) for hit, distance in found[1]]
    return _better_of(found[0], mirrored, top=top, by_distance=len(codes[0].codes) == 1)


def _better_of(
    found: list[tuple[Hit, float]], others: list[tuple[Hit, float]], *, top: int, by_distance: bool
) -> list[Hit]:
    """Join what `_find` found for two queries: one hit a video, of ties the first.

    Args:
        by_distance: whether the order is by that, as of queries of one window.
    """
    order = sorted([*found, *others], key=lambda each: (each[1] if by_distance else -each[0].score, each[0].distance))
    best: dict[str, Hit] = {}
    for hit, _ in order:
        best.setdefault(hit.video, hit)
    return [replace(hit, rank=rank) for rank, hit in enumerate(list(best.values())[:top], 1)]


def calibration_of(run: Run) -> Calibration | None:
    """Return what the distances of a run mean; None where that was not measured or, after a warning, not read."""
    try:
        return load_calibration(run.path, hash_length=run.hash_length)
    except CheckpointError as error:
        logger.warning("%s", error)
        return None


def query_codes(
    gallery: SearchedGallery,
    query: CodeBatch,
    *,
    mirrored: CodeBatch | None = None,
    top: int = 10,
    only: VideoFilter | None = None,
    radius: int | None = None,
    any_speed: bool = False,
    calibration: Calibration | None = None,
    same_film: SameFilm | None = None,
) -> list[Hit]:
    """Find the videos that show the same as a query, or something similar.

    Args:
        gallery: is searched.
        query: codes and times of the windows of one video.
        mirrored: those of its mirror image; each video is then found once, by the better of the two.
        top: how many videos.
        only: which videos may be found; None for all.
        radius: bits; a video whose distance is larger is left out. None leaves none out.
        any_speed: also find what plays slower or faster in the query, 0.8 to 1.25 times.
        calibration: what the distances of the codes mean, where that was measured.
        same_film: what scores mean, where that was measured.
    Returns:
        At most `top` hits, one a video, by falling score, which is 0 of those that are only near; then by rising
        distance, then by clip id. Of a query of one window, by distance, the asymmetric one where its embedding is
        known. See c3dhash.gallery.evidence and c3dhash.gallery.finer.
    Raises:
        UsageError: top is below 1, or no video passes the filter.
        GalleryError: the gallery is empty, or all of its videos are missing.
    """
    search = partial(
        _find, gallery,
        top=top, only=only, radius=radius, any_speed=any_speed, calibration=calibration, same_film=same_film,
    )  # fmt: skip
    return _search_both(search, [query] if mirrored is None else [query, mirrored], top=top)


def _find(
    gallery: SearchedGallery,
    query: CodeBatch,
    *,
    top: int,
    only: VideoFilter | None,
    radius: int | None,
    any_speed: bool,
    calibration: Calibration | None,
    same_film: SameFilm | None,
) -> list[tuple[Hit, float]]:
    """Return the hits of `query_codes`, each with the distance by which those of a query of one window are ordered."""
    found = gallery.similar_videos(query, top=top, only=only, radius=radius, any_speed=any_speed)
    if not found and len(query.codes):
        gallery.check_filled()
    hits = []
    for rank, (evidence, clip) in enumerate(found, 1):
        segments = evidence.segments
        if len(query.codes) == 1:
            window = query.start_seconds.item(), query.end_seconds.item()
            place = clip.start_seconds, clip.end_seconds
            segments = (SegmentMatch(*window, *place, 1, evidence.distance, evidence.score),)
        first = segments[0] if segments else clip
        num_pairs = len(query.codes) * clip.num_clips
        precision = None if calibration is None else calibration.precision(evidence.distance, num_pairs=num_pairs)
        hit = Hit(
            rank, evidence.distance, clip.video, first.start_seconds, first.end_seconds, clip.label, evidence.score,
            segments, precision, same_film=None if same_film is None else same_film.precision(evidence.score),
        )  # fmt: skip
        hits.append((hit, evidence.finer_distance))
    return hits
