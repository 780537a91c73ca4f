"""Lists and look-ups of a gallery in Milvus: they say what the gallery says that was pushed there."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from both import LABELS, Both

from c3dhash.cluster import remote, remote_videos
from c3dhash.errors import GalleryError, LimitError, UsageError
from c3dhash.gallery.catalog import GalleryVideo
from c3dhash.gallery.filters import VideoFilter

LISTED = [
    VideoFilter(folder="/db"), VideoFilter(labels=("walk",)), VideoFilter(labels=(LABELS[2], "walk"), folder="/db/b"),
    VideoFilter(place=("/db", "a")), VideoFilter(folder="/db/b/7.mp4"),
    VideoFilter(folder="/db", added_since="2026-05-15"),
]  # fmt: skip


def said(videos: list[GalleryVideo]) -> list[tuple[GalleryVideo, str]]:
    return [(video, video.added_at) for video in videos]


def check_pages(both: Both) -> None:
    places = itertools.product(LISTED, ("", "1", "A/2", "none"), (0, 1, 17, 40, 200), (1, 7, 100))
    num_shown = 0
    for only, text, offset, limit in places:
        asked = {"text": text, "offset": offset, "limit": limit}
        total, videos = both.there.page(only, **asked)
        assert (total, said(videos)) == ((page := both.here.page(only, **asked))[0], said(page[1])), (only, asked)
        num_shown += len(videos)
    assert num_shown > 1000


def test_pages_are_those_of_the_gallery(both):
    check_pages(both)
    assert both.there.page(limit=0) == (120, []) and both.there.num_videos == 120
    assert both.there.page(is_missing=True) == (0, [])
    assert said(both.there.videos()) == said([video for video in both.here.videos() if video.num_clips])


@pytest.mark.slow
def test_a_page_of_many_is_closed_in(both, monkeypatch):
    """Few rows are read for it; and where the places are that it is looked for between changes nothing of it."""
    monkeypatch.setattr(remote_videos, "MOST_SORTED", 10)
    monkeypatch.setattr(remote, "MOST_SORTED", 10)
    monkeypatch.setattr(both.there, "_places", (0, []))
    check_pages(both)
    assert len(both.there._places[1]) == 120
    num_read: list[int] = []
    read = both.there._tables.videos

    def read_and_count(*arguments: object, **options: object) -> list[dict[str, object]]:
        rows = read(*arguments, **options)
        num_read.append(len(rows))
        return rows

    monkeypatch.setattr(both.there._tables, "videos", read_and_count)
    both.there.page(VideoFilter(folder="/db"), offset=57, limit=5)
    assert max(num_read) <= 10 and sum(num_read) <= 15
    monkeypatch.undo()
    monkeypatch.setattr(remote_videos, "MOST_SORTED", 10)
    monkeypatch.setattr(remote, "MOST_SORTED", 10)
    for places in ([], [(0, "")], [(1, "a/5"), (1, "b/1.mp4"), (1, "b/1.mp4"), (7, "z")]):
        monkeypatch.setattr(both.there, "_places", (120, places))
        check_pages(both)


def test_what_is_looked_up(both):
    videos = [video for video in both.here.videos() if video.num_clips]
    names = [video.video for video in videos]
    firsts = []
    for video in videos[::7]:
        ids, codes = both.here.codes_of(video.id)
        firsts.append(int(ids[0]))
        assert both.there.video(firsts[-1]) == video
        there_ids, there = both.there.codes_of(firsts[-1])
        for one, other in ((ids, there_ids), (codes.codes, there.codes), (codes.end_seconds, there.end_seconds)):
            assert np.array_equal(one, other)
        clip, expected = both.there.clip(int(ids[-1])), both.here.clip(int(ids[-1]))
        assert clip == expected and clip is not None and clip.video_id == firsts[-1]
    assert both.there.middle_clips([*firsts, -1]) == [*both.here.middle_clips([v.id for v in videos[::7]]), None]
    times = zip(both.there.times_of(names), both.here.times_of(names), strict=True)
    assert all(np.array_equal(one.clip_ids, other.clip_ids) and np.array_equal(one.start_seconds, other.start_seconds)
               and one.video_id == one.clip_ids[0] for one, other in times)  # fmt: skip
    assert both.there.root_folders() == ["/db"]
    for number in (-1, -2, 0, 10**9, firsts[0] + 1):
        assert both.there.video(number) is None and not len(both.there.codes_of(number)[0])
    assert both.there.clip(10**9) is None
    with pytest.raises(GalleryError, match="changes while it is searched"):
        both.there.times_of([names[0], "/db/a/gone.mp4"])
    with pytest.raises(UsageError, match=r"label 'nap' is of no video of gallery 'milvus:"):
        both.there.check_labels(VideoFilter(labels=("nap",)))


def test_some_clips_evenly(both):
    clips, codes = both.there.sample(10_000)
    here, here_codes = both.here.sample(10_000)
    assert clips == here and np.array_equal(codes, here_codes) and len(clips) == len(both.there) == len(both.here)
    some, some_codes = both.there.sample(50)
    assert len(some) == 50 and np.ptp([clip.id for clip in some]) > 0.9 * len(here)
    by_id = {clip.id: (clip, code.tobytes()) for clip, code in zip(here, here_codes, strict=True)}
    assert all(by_id[clip.id] == (clip, code.tobytes()) for clip, code in zip(some, some_codes, strict=True))


def test_more_than_are_looked_through(both, monkeypatch):
    monkeypatch.setattr(remote_videos, "MOST_LISTED", 50)
    monkeypatch.setattr(remote_videos, "MOST_SORTED", 10)
    monkeypatch.setattr(remote, "MOST_SORTED", 10)
    monkeypatch.setattr(both.there, "_places", (0, []))
    told = r"has 120 such videos, and 50 at most are looked through one by one in a database: choose fewer"
    for list_them in (both.there.videos, lambda: both.there.page(text="7")):
        with pytest.raises(LimitError, match=told):
            list_them()
    assert both.there.page(limit=10)[0] == 120
    assert both.there.page(VideoFilter(labels=("walk",)), text="7")[0] > 5
