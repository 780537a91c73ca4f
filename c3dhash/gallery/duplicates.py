"""A gallery -> groups of videos that show the same, wholly or in part.

Note [Groups]
    What A shares with B, and B with C, A need not share with C; groups that follow such chains end up with videos that
    have nothing in common. Here a group is a video, its best one, and those that match it, each by itself, and a video
    may be in several: a compilation is, with each of its sources. Videos are gone through from the best copy to the
    worst, first for their copies, then for what holds the other, then for what shares a part. A match is not told again
    of two copies of one video, nor of the copy of a video of which it is told, nor, if they are no copies, of two
    videos that are in a group together.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from c3dhash.errors import GalleryError, UsageError, VideoError
from c3dhash.gallery.catalog import GalleryVideo
from c3dhash.gallery.filters import VideoFilter, find_video
from c3dhash.gallery.mirrors import mirror_mask
from c3dhash.gallery.pairs import Pair
from c3dhash.gallery.store import Gallery
from c3dhash.records import Duplicate, DuplicateGroup, VideoFacts
from c3dhash.video.reader import probe

logger = logging.getLogger(__name__)

NEARLY_ALL = 0.8  # of the time of a video's clips
COPIES = ("same bytes", "copy")
HELD = (*COPIES, "part")


def find_duplicates(
    gallery: Gallery,
    *,
    radius: int | None = None,
    reference: str | None = None,
    mirror: bool = False,
    on_video: Callable[[], object] = lambda: None,
) -> list[DuplicateGroup]:
    """Find the videos of a gallery that show the same, and group them: Note [Groups].

    Nothing is changed, and only files that are in a group are opened.

    Args:
        radius: bits; take what is within it for the same, as `pairs.matching_pairs` does, in the place of evidence.
        reference: a folder whose videos are the best of their groups, whatever they are like, and members of none.
        mirror: also match videos with the mirror images of others, of codes of which these are known.
        on_video: called for each video of the gallery that has clips.
    Returns:
        Groups, by falling score of their first members.
    Raises:
        UsageError: no video of the gallery lies in the reference; or as of `mirrors.mirror_mask`.
        GalleryError: the gallery is empty.
    """
    mask = mirror_mask(gallery) if mirror else None
    with gallery.reading():
        videos = {video.video: video for video in gallery.videos()}
        if not videos:
            raise GalleryError(f"gallery '{gallery.path}' is empty: run `c3dhash index DIR` first.")
        references = _references(gallery, reference) if reference is not None else set()
        ignored = gallery.not_matches()
        matches: defaultdict[str, dict[str, Duplicate]] = defaultdict(dict)
        for first, second, pair in gallery.matching_pairs(radius=radius, mirror_mask=mask, on_video=on_video):
            contents = min(first.content_hash, second.content_hash), max(first.content_hash, second.content_hash)
            if contents in ignored or {first.video, second.video} <= references:
                continue
            is_same = contents[0] == contents[1]
            matches[first.video][second.video] = _duplicate(second.video, pair, is_same=is_same)
            matches[second.video][first.video] = _duplicate(first.video, pair.turned(), is_same=is_same)
    facts = {name: read_facts(videos[name]) for name in matches}
    order = sorted(matches, key=lambda name: (name not in references, *_by_quality(facts[name]), name))
    groups = []
    for best, names in _stars(matches, order).items():
        members = [replace(matches[best][name], facts=facts[name]) for name in names]
        members.sort(key=lambda member: (-member.score, member.video))
        groups.append(DuplicateGroup(best, facts[best], tuple(members)))
    return sorted(groups, key=lambda group: (-group.members[0].score, group.best))


def redundant(groups: Iterable[DuplicateGroup]) -> list[str]:
    """Return the videos that others, which are not among them, hold nearly all of.

    A video whose copy is in the list stays out of it: of everything, one copy is kept.
    """
    listed: set[str] = set()
    kept: set[str] = set()
    for group in groups:
        held = [member.video for member in group.members if member.relation in HELD and member.video not in kept]
        if group.best not in listed and held:
            kept.add(group.best)
            listed.update(held)
    return sorted(listed)


def note_not_match(gallery: Gallery, video: str, other: str, *, is_match: bool = False) -> None:
    """Remember that two videos of a gallery are no match, whatever their codes say, wherever their files go.

    Args:
        video, other: paths of their files.
        is_match: forget it again.
    Raises:
        UsageError: one of them is not in the gallery, or they have the same bytes.
    """
    known = {each.video: each for each in gallery.videos()}
    contents = [_find(known, gallery, name).content_hash for name in (video, other)]
    if contents[0] == contents[1]:
        raise UsageError(f"'{video}' and '{other}' have the same bytes: they do match.")
    gallery.note_not_matches([(contents[0], contents[1])], are_matches=is_match)


def noted_not_matches(gallery: Gallery) -> list[tuple[str | None, str | None]]:
    """Return the pairs that are noted to be no match: a path of each, the first of files of the same bytes; None for a
    video that the gallery does not have now. Ordered by the paths."""
    with gallery.reading():
        pairs = gallery.not_matches()
        paths = {video.content_hash: video.video for video in reversed(gallery.videos())} if pairs else {}
    named = [sorted((paths.get(content) for content in pair), key=_none_last) for pair in pairs]
    return sorted(((first, second) for first, second in named), key=lambda pair: [_none_last(name) for name in pair])


def _none_last(name: str | None) -> tuple[bool, str]:
    return name is None, name or ""


def read_facts(video: GalleryVideo) -> VideoFacts:
    """Return what the header of a file says, as far as it can be read."""
    try:
        info = probe(video.video)
    except VideoError as error:
        logger.warning("%s", error)
        return VideoFacts(size_bytes=video.size_bytes)
    seconds = info.duration_seconds
    rate = 8 * video.size_bytes / seconds if seconds else 0.0
    return VideoFacts(info.width_px, info.height_px, seconds, rate, video.size_bytes)


def _references(gallery: Gallery, folder: str) -> set[str]:
    names = {video.video for video in gallery.videos(VideoFilter(folder=folder))}
    if not names:
        raise UsageError(f"reference '{folder}' holds no video of gallery '{gallery.path}'.")
    return names


def _find(known: Mapping[str, GalleryVideo], gallery: Gallery, name: str) -> GalleryVideo:
    video = find_video(known, name)
    if video is None:
        raise UsageError(
            f"'{name}' is no video of gallery '{gallery.path}': take a path that `c3dhash duplicates` prints."
        )
    return video


def _duplicate(name: str, pair: Pair, *, is_same: bool) -> Duplicate:
    """Say how the second video of a pair matches the first."""
    is_held, is_whole = pair.second_share >= NEARLY_ALL, pair.first_share >= NEARLY_ALL
    relation = {(True, True): "copy", (True, False): "part", (False, True): "whole"}.get((is_held, is_whole), "shared")
    score = sum(segment.score for segment in pair.segments)
    relation = "same bytes" if is_same else relation
    return Duplicate(name, relation, score, pair.segments, VideoFacts(), pair.is_mirrored)


def _by_quality(facts: VideoFacts) -> tuple[float, ...]:
    """Return what sorts the best copy first: the larger picture, the longer one, the higher bit rate."""
    return -facts.width_px * facts.height_px, -facts.duration_seconds, -facts.bit_rate_bits


def _stars(matches: Mapping[str, Mapping[str, Duplicate]], order: Sequence[str]) -> dict[str, list[str]]:
    """Return groups of names: of the first of each, those that match it. Note [Groups]."""
    members: defaultdict[str, list[str]] = defaultdict(list)
    groups_of: defaultdict[str, set[str]] = defaultdict(set)  # by their best
    original: dict[str, str] = {}  # of a copy
    for relations in (COPIES, ("part", "whole"), ("shared",)):
        for best in order:
            for name, match in matches[best].items():
                if match.relation not in relations or name in members[best] or best in members[name]:
                    continue
                ends = original.get(best, best), original.get(name, name)
                if ends != (best, name) and (ends[0] == ends[1] or ends[1] in matches[ends[0]]):
                    continue
                if relations is not COPIES and groups_of[best] & groups_of[name]:
                    continue
                members[best].append(name)
                groups_of[best].add(best)
                groups_of[name].add(best)
                if relations is COPIES:
                    original.setdefault(name, best)
    return {best: names for best, names in members.items() if names}
