"""A catalog is read as it is, to the last row that can be read, and nothing beside it is left or changed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from damage import cut, pages_with, zero_page
from galleries import WINDOWS, batch_of, code_of, make_gallery
from old_galleries import make_schema_1

from c3dhash.errors import GalleryError
from c3dhash.gallery.reader import open_reader
from c3dhash.gallery.store import CATALOG_NAME, Gallery

NUM_VIDEOS, NUM_CLIPS = 300, 10


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3,000 clips, on some 40 pages."""
    return make_gallery(tmp_path_factory.mktemp("reader") / "gallery", range(NUM_VIDEOS), missing=[7])


@pytest.fixture
def gallery(original: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    copy = tmp_path / "gallery"
    copy.mkdir()
    (copy / CATALOG_NAME).write_bytes((original / CATALOG_NAME).read_bytes())
    return copy


def codes_of(gallery: Path) -> tuple[list[bytes], list[str]]:
    with open_reader(gallery) as reader:
        return [clip.code for clip in reader.clips("clip")], reader.damage


def test_all_is_read_and_nothing_is_left_behind(gallery: Path) -> None:
    before = (gallery / CATALOG_NAME).read_bytes()
    with open_reader(gallery) as reader:
        videos = reader.videos()
        assert [row.video for row in videos.values()] == [f"/db/{video}.mp4" for video in range(NUM_VIDEOS)]
        assert (
            videos[3][:7] == ("/db/2.mp4", "/db", "h2", 102, 200, "golf, “ü”", NUM_CLIPS)
            and videos[3].missing_since is None
        )
        (missing,) = (row.video for row in videos.values() if row.missing_since)
        assert [clip.code for clip in reader.clips("missing_clip")] == [code_of(7, clip) for clip in range(NUM_CLIPS)]
        first = next(reader.clips("clip"))
        assert first == (1, 1, 0.0, 1.5, code_of(0, 0)) and first.is_clip(6) and not first.is_clip(7)
        assert (missing, reader.hash_length, reader.run, reader.schema) == ("/db/7.mp4", 48, WINDOWS, 4)
        assert list(reader.engines) == ["torch 2"] and reader.not_matches() == [("h1", "h2")]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            list(reader.rows("DELETE FROM clip"))
    assert codes_of(gallery) == (
        [code_of(video, clip) for video in range(NUM_VIDEOS) if video != 7 for clip in range(NUM_CLIPS)], [],
    )  # fmt: skip
    assert [path.name for path in gallery.iterdir()] == [CATALOG_NAME]
    assert (gallery / CATALOG_NAME).read_bytes() == before


def test_a_writer_beside_it_is_not_seen_and_not_disturbed(gallery: Path) -> None:
    with Gallery.open(gallery) as writer, open_reader(gallery) as reader:
        num_before = len(reader.videos())
        writer.add("new", batch_of(0), content_hash="h")
        assert len(reader.videos()) == num_before
        writer.remove(["new"])
    assert [path.name for path in gallery.iterdir()] == [CATALOG_NAME]


def test_a_lost_page_costs_the_rows_on_it_alone(gallery: Path) -> None:
    path, lost = gallery / CATALOG_NAME, code_of(100, 3)
    (page,) = pages_with(path, lost)
    data = path.read_bytes()[page * 4096 :][:4096]
    on_page = {code_of(video, clip) for video in range(NUM_VIDEOS) for clip in range(NUM_CLIPS)}
    on_page = {code for code in on_page if code in data}
    assert 50 < len(on_page) < 300
    zero_page(path, page)
    found, damage = codes_of(gallery)
    whole = [code_of(video, clip) for video in range(NUM_VIDEOS) if video != 7 for clip in range(NUM_CLIPS)]
    assert found == [code for code in whole if code not in on_page]
    assert len(damage) == 1 and damage[0].startswith("table clip from id ")


def test_two_lost_pages_and_what_lies_between_them(gallery: Path) -> None:
    path = gallery / CATALOG_NAME
    whole = len(codes_of(gallery)[0])
    pages = [pages_with(path, code_of(video, 0))[0] for video in (50, 90)]
    assert len(set(pages)) == 2
    for page in pages:
        zero_page(path, page)
    found, damage = codes_of(gallery)
    assert len(damage) == 2 and code_of(70, 0) in found and whole - 600 < len(found) < whole - 100


def test_a_catalog_that_was_cut_off_is_read_up_to_there(gallery: Path) -> None:
    cut(gallery / CATALOG_NAME, 0.5)
    found, damage = codes_of(gallery)
    assert found[: 5 * NUM_CLIPS] == [code_of(video, clip) for video in range(5) for clip in range(NUM_CLIPS)]
    assert len(found) < 0.7 * NUM_VIDEOS * NUM_CLIPS and damage


def test_where_nothing_can_be_read(gallery: Path) -> None:
    zero_page(gallery / CATALOG_NAME, 0)
    with pytest.raises(GalleryError, match=r"cannot be read at all \(file is not a database\): restore it"):
        codes_of(gallery)
    (gallery / CATALOG_NAME).write_bytes(b"")
    with pytest.raises(GalleryError, match=f"'{gallery}' is no gallery, it has no catalog.sqlite: name one"):
        codes_of(gallery)
    with pytest.raises(GalleryError, match="no gallery"):
        codes_of(gallery / "nowhere")


def test_earlier_and_newer_schemas(tmp_path: Path) -> None:
    make_schema_1(tmp_path / "old", base=tmp_path)
    with open_reader(tmp_path / "old") as reader:
        assert reader.schema == 1 and reader.not_matches() == [] and list(reader.clips("missing_clip")) == []
        rows = list(reader.videos().values())
        assert rows[0][:7] == (f"{tmp_path}/db/wave/a.mp4", None, "h1", 10, 100, "wave", 2)
        assert {row.checksum for row in rows} == {None}
    with closing(sqlite3.connect(tmp_path / "old" / CATALOG_NAME)) as connection:
        connection.execute("PRAGMA user_version = 12")
    with pytest.raises(GalleryError, match="has schema 12, this c3dhash knows up to 4"), open_reader(tmp_path / "old"):
        pass
