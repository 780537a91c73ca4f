"""Which videos are meant by names and by filters, and what is an error before anything is done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from galleries import batch_of, make_gallery

from c3dhash.errors import UsageError
from c3dhash.gallery.filters import VideoFilter
from c3dhash.gallery.removal import chosen_videos
from c3dhash.gallery.store import Gallery


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    path = make_gallery(tmp_path / "gallery", range(6), root=str(tmp_path / "db"), missing=[4])
    with Gallery.open(path) as gallery:
        gallery.add("given", batch_of(9), content_hash="")
        yield gallery


def test_names_are_those_of_the_gallery_or_paths(
    gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = str(tmp_path / "db" / "4.mp4")
    found = chosen_videos(gallery, ["given", "db/4.mp4", whole, "./db/../db/1.mp4"])
    assert [video.video for video in found] == [str(tmp_path / "db" / "1.mp4"), whole, "given"]
    assert found[1].missing_since is not None


@pytest.mark.parametrize(
    ("only", "numbers"),
    [
        (VideoFilter(labels=("wave",)), [1, 4]),
        (VideoFilter(labels=("wave", "golf, “ü”")), [1, 2, 4, 5]),
        (VideoFilter(folder="db"), [0, 1, 2, 3, 4, 5]),
        (VideoFilter(labels=("wave",), folder="db/4.mp4"), [4]),
    ],
)
def test_filters_go_together_and_find_missing_videos(
    only: VideoFilter, numbers: list[int], gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert [int(Path(video.video).stem) for video in chosen_videos(gallery, [], only=only)] == numbers


def test_what_is_no_video_is_an_error(gallery: Gallery) -> None:
    with pytest.raises(UsageError, match=f"'x' is no video of gallery '{gallery.path}', and nothing was removed"):
        chosen_videos(gallery, ["given", "x"])
    with pytest.raises(UsageError, match="label 'walk' is of no video of gallery"):
        chosen_videos(gallery, [], only=VideoFilter(labels=("wave", "walk")))
    with pytest.raises(UsageError, match=r"has no video that passes \(folder '/nowhere'\)"):
        chosen_videos(gallery, [], only=VideoFilter(folder="/nowhere"))
    for names, only in (((), None), (("given",), VideoFilter(labels=("wave",))), ((), VideoFilter())):
        with pytest.raises(UsageError, match="one of the two"):
            chosen_videos(gallery, names, only=only)
