"""Videos and clips by their numbers, and lists of videos page by page."""

from __future__ import annotations

import numpy as np
from galleries import batch_of, make_gallery, name_of

from c3dhash.gallery.filters import VideoFilter
from c3dhash.gallery.store import Gallery


def test_a_video_by_its_number_and_its_name(tmp_path):
    with Gallery.open(make_gallery(tmp_path / "gallery", range(4), missing=[3])) as gallery:
        for video in [*gallery.videos(), *gallery.missing_videos()]:
            assert gallery.video(video.id) == video and gallery.video_id(video.video) == video.id
        assert gallery.video(99) is None and gallery.video_id("/db/99.mp4") is None and gallery.video_id("x") is None
        assert gallery.root_folders() == ["/db"]
        ids, codes = gallery.codes_of(gallery.video_id(name_of(1)))
        assert np.array_equal(codes.codes, batch_of(1).codes)
        assert np.array_equal(codes.end_seconds, batch_of(1).end_seconds)
        clip = gallery.clip(int(ids[2]))
        assert (clip.video, clip.video_id, clip.start_seconds) == (name_of(1), gallery.video_id(name_of(1)), 2.0)
        assert gallery.clip(9999) is None
        assert len(gallery.codes_of(gallery.video_id(name_of(3)))[0]) == 0


def test_names_without_a_root(tmp_path):
    with Gallery.open(make_gallery(tmp_path / "gallery", range(2), root=None)) as gallery:
        assert gallery.root_folders() == [""]
        assert gallery.video(gallery.video_id("1.mp4")).video == "1.mp4"


def test_pages(tmp_path):
    with Gallery.open(make_gallery(tmp_path / "gallery", range(12), missing=[3])) as gallery:

        def names(**asked) -> tuple[int, list[str]]:
            total, videos = gallery.page(**asked)
            return total, [video.video.removeprefix("/db/") for video in videos]

        assert names(limit=3) == (11, ["0.mp4", "1.mp4", "10.mp4"])
        assert names(limit=3, offset=9) == (11, ["8.mp4", "9.mp4"])
        assert names(is_missing=True) == (1, ["3.mp4"])
        assert names(text="1.MP4") == (2, ["1.mp4", "11.mp4"])
        assert names(only=VideoFilter(labels=("wave",)), limit=2) == (4, ["1.mp4", "10.mp4"])
        assert names(text="%") == (0, [])


def test_places_are_names_and_no_paths(tmp_path):
    """A root and a folder in it, as the gallery stores them; "." and ".." are not resolved."""
    with Gallery.create(tmp_path / "gallery", hash_length=48, model_fingerprint="a" * 32) as gallery:
        for root, path in (("/db", "a/1.mp4"), ("/db", "a/b/2.mp4"), ("/db", "ab/3.mp4"), ("/other", "a/4.mp4")):
            gallery.add(f"{root}/{path}", batch_of(1), content_hash=path, root=root)
        gallery.add("a/5.mp4", batch_of(1), content_hash="5")

        def found(root: str, folder: str) -> set[str]:
            return {video.video for video in gallery.videos(VideoFilter(place=(root, folder)))}

        assert found("/db", "a") == {"/db/a/1.mp4", "/db/a/b/2.mp4"} == found("/db", "a/")
        assert len(found("/db", "")) == 3 and found("/other", "a") == {"/other/a/4.mp4"}
        assert found("", "a") == {"a/5.mp4"}
        assert found("/db", "../db/a") == found("/none", "") == found("/db", "b") == set()
        assert str(VideoFilter(place=("/db", "a"))) == "folder 'a'"
