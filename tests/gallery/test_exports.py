"""What an exported file holds, where it is refused, and what is saved of a damaged gallery."""

from __future__ import annotations

import csv
import json
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from damage import cut, flip_bit, pages_with, zero_page
from galleries import FINGERPRINT, WINDOWS, batch_of, code_of, content_of, make_gallery, name_of

from c3dhash.errors import GalleryError, MissingExtraError, UsageError
from c3dhash.gallery import parquet_files
from c3dhash.gallery.exports import FORMATS, export_gallery
from c3dhash.gallery.imports import import_file
from c3dhash.gallery.indexing import plan_index
from c3dhash.gallery.store import CATALOG_NAME, Gallery
from c3dhash.gallery.verify import verify_gallery

NUM_VIDEOS = 200


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    return make_gallery(tmp_path / "gallery", range(NUM_VIDEOS), missing=[7])


def test_a_table_that_other_programs_read(gallery: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    seen: list[int] = []
    report = export_gallery(gallery, path, on_video=lambda: seen.append(1))
    assert (report.num_videos, report.num_clips, len(seen), bool(report.losses)) == (200, 2000, 200, False)
    first, *rest = path.read_text().splitlines()
    header = json.loads(first.removeprefix("# "))
    assert header["format_version"] == 1 and header["hash_length"] == 48 and header["run"] == WINDOWS
    assert header["model_fingerprint"] == FINGERPRINT and header["not_matches"] == [["h1", "h2"]]
    rows = list(csv.DictReader(rest))
    assert len(rows) == 2000
    assert {key: rows[20][key] for key in ("video", "root", "label", "content_hash", "size_bytes")} == {
        "video": "/db/2.mp4", "root": "/db", "label": "golf, “ü”", "content_hash": "h2", "size_bytes": "102",
    }  # fmt: skip
    assert (rows[23]["start_seconds"], rows[23]["end_seconds"]) == ("3.0", "4.5")
    assert bytes.fromhex(rows[23]["code"]) == code_of(2, 3)
    assert [row["missing_since"] != "" for row in rows] == [False] * 1990 + [True] * 10, "missing ones come last"


def test_arrays_without_pickles(gallery: Path, tmp_path: Path) -> None:
    export_gallery(gallery, tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in file}
    assert arrays["codes"].dtype == np.uint8 and arrays["codes"].shape == (2000, 6)
    assert arrays["video"].tolist()[:2] == ["/db/0.mp4", "/db/1.mp4"] and arrays["num_clips"].tolist() == [10] * 200
    np.testing.assert_array_equal(arrays["codes"][20:30], batch_of(2).codes)
    np.testing.assert_array_equal(arrays["end_seconds"][:10], batch_of(0).end_seconds)
    assert (arrays["hash_length"].item(), arrays["model_fingerprint"].item()) == (48, FINGERPRINT)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["gallery", "out.npz"]


def test_a_parquet_table(gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(parquet_files, "ROWS_PER_GROUP", 300)
    export_gallery(gallery, tmp_path / "out.parquet")
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.num_rows == 2000 and parquet.ParquetFile(tmp_path / "out.parquet").num_row_groups == 7
    assert table.slice(23, 1).to_pylist()[0]["code"] == code_of(2, 3)
    assert table.slice(0, 1).to_pylist()[0]["label"] is None


@pytest.mark.parametrize("suffix", FORMATS)
def test_nothing_is_replaced_and_nothing_half_written_is_left(suffix: str, gallery: Path, tmp_path: Path) -> None:
    path = tmp_path / f"out{suffix}"
    path.write_text("mine")
    with pytest.raises(UsageError, match=f"'{path}' is there already and stays as it is"):
        export_gallery(gallery, path)
    assert path.read_text() == "mine"
    with pytest.raises(UsageError, match=r"'out\.json' must end in \.csv, \.npz, \.parquet"):
        export_gallery(gallery, Path("out.json"))
    with pytest.raises(GalleryError, match="is no gallery"):
        export_gallery(tmp_path / "nowhere", tmp_path / f"new{suffix}")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["gallery", path.name]


def test_parquet_without_its_library(gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        MissingExtraError, match=r"needs pyarrow, which is not installed: pip install 'c3dhash\[parquet\]'"
    ):
        export_gallery(gallery, tmp_path / "out.parquet")


EXPORT = """
import resource, sys
from pathlib import Path
from c3dhash.errors import GalleryError
from c3dhash.gallery.exports import export_gallery
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    export_gallery(Path(sys.argv[1]), Path(sys.argv[2]))
except GalleryError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs limits of POSIX")
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_full_disk_leaves_nothing(suffix: str, gallery: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", EXPORT, str(gallery), str(tmp_path / f"out{suffix}")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert re.search(r"cannot be written \(.*File too large\): make room, or name another folder\.", done.stdout), done
    assert [file.name for file in tmp_path.iterdir()] == ["gallery"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_export_is_cleared_by_the_next(gallery: Path, tmp_path: Path) -> None:
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom c3dhash.gallery.exports import export_gallery\n"
        "export_gallery(Path(sys.argv[1]), Path(sys.argv[2]), on_video=lambda: os.kill(os.getpid(), 9))"
    )
    path = tmp_path / "out.csv"
    assert subprocess.run([sys.executable, "-c", script, str(gallery), str(path)], check=False).returncode == -9
    assert not path.exists() and len(list(tmp_path.iterdir())) == 2
    export_gallery(gallery, path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["gallery", "out.csv"]


def saved(gallery: Path, tmp_path: Path) -> tuple[dict[str, list[bytes]], dict[str, str]]:
    """Export a damaged gallery into a new one, which must be sound; return its codes and contents by video."""
    report = export_gallery(gallery, tmp_path / "saved.npz")
    assert report.losses
    import_file(tmp_path / "new", tmp_path / "saved.npz", model_fingerprint=None)
    assert verify_gallery(tmp_path / "new").is_sound
    with Gallery.open(tmp_path / "new") as new, new.editing() as edits:
        videos = [*new.videos(), *new.missing_videos()]
        codes = {video.video: [bytes(code) for code in edits.codes(video.video).codes] for video in videos}
        return codes, {video.video: video.content_hash for video in videos}


def test_a_flipped_bit_costs_the_content_hash_of_its_video(gallery: Path, tmp_path: Path) -> None:
    flip_bit(gallery / CATALOG_NAME, code_of(50, 4), bit=3)
    codes, contents = saved(gallery, tmp_path)
    assert len(codes) == NUM_VIDEOS and contents.pop(name_of(50)) == ""
    assert contents == {name_of(video): f"h{video}" for video in range(NUM_VIDEOS) if video != 50}
    assert len(codes[name_of(50)]) == 10 and codes[name_of(50)][3] == code_of(50, 3)


def test_a_lost_page_costs_what_is_on_it(gallery: Path, tmp_path: Path) -> None:
    path = gallery / CATALOG_NAME
    (page,) = pages_with(path, code_of(50, 4))
    data = path.read_bytes()[page * 4096 :][:4096]
    zero_page(path, page)
    codes, contents = saved(gallery, tmp_path)
    for video in range(NUM_VIDEOS):
        kept = [code_of(video, clip) for clip in range(10) if code_of(video, clip) not in data]
        assert codes.get(name_of(video), []) == kept
        if kept:
            assert contents[name_of(video)] == (f"h{video}" if len(kept) == 10 else "")
    report = export_gallery(gallery, tmp_path / "again.csv")
    assert report.losses.num_clips == sum(10 - len(codes.get(name_of(video), [])) for video in range(NUM_VIDEOS))
    assert report.losses.places[0].startswith("table clip from id ")
    assert "none of 10 clips saved" in set(report.losses.videos.values())


def test_a_lost_page_of_videos_costs_their_names(gallery: Path, tmp_path: Path) -> None:
    path = gallery / CATALOG_NAME
    data = path.read_bytes()
    (page, *_) = [
        page for page in pages_with(path, b"h50") if data[page * 4096] == 0x0D
    ]  # a page of rows, not an index
    zero_page(path, page)
    codes, _ = saved(gallery, tmp_path)
    assert 100 < len(codes) < NUM_VIDEOS and name_of(50) not in codes
    assert all(found == [code_of(int(Path(name).stem), clip) for clip in range(10)] for name, found in codes.items())


@pytest.mark.parametrize(("share", "some"), [(0.1, False), (0.3, False), (0.6, True), (0.95, True)])
def test_of_a_catalog_that_was_cut_off_all_is_saved_that_can_be_found(
    share: float, some: bool, gallery: Path, tmp_path: Path
) -> None:
    cut(gallery / CATALOG_NAME, share)
    report = export_gallery(gallery, tmp_path / "out.csv")
    assert report.losses.places and report.num_clips < 2000
    assert (report.num_clips > 0) == some, "with the first part go the pages that say where others are"


def test_index_encodes_again_what_was_damaged(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    path = make_gallery(tmp_path / "gallery", range(4), root=str(tmp_path / "db"))
    with Gallery.open(path) as gallery:
        for number in range(4):
            file = tmp_path / "db" / f"{number}.mp4"
            file.write_bytes(bytes(100 + number))
            gallery.touch(str(file), size_bytes=100 + number, mtime_ns=file.stat().st_mtime_ns)
        assert plan_index(gallery, [tmp_path / "db"]).to_encode == []
    content_of(path)
    flip_bit(path / CATALOG_NAME, code_of(2, 4))
    export_gallery(path, tmp_path / "saved.csv")
    import_file(tmp_path / "new", tmp_path / "saved.csv")
    with Gallery.open(tmp_path / "new") as gallery:
        plan = plan_index(gallery, [tmp_path / "db"])
    assert [step.video for step in plan.to_encode] == [str(tmp_path / "db" / "2.mp4")] and plan.unchanged == 3


def damage_at_random(path: Path, rng: np.random.Generator) -> None:
    """Overwrite some bytes, or zero some pages, behind the first page."""
    data = np.fromfile(path, np.uint8)
    if rng.random() < 0.7:
        places = rng.integers(4096, len(data), rng.integers(1, 30))
        data[places] = rng.integers(0, 256, len(places))
    else:
        for page in rng.integers(1, len(data) // 4096, rng.integers(1, 4)):
            data[page * 4096 : (page + 1) * 4096] = 0
    data.tofile(path)


def save_and_look(gallery: Path, tmp_path: Path, seed: int) -> None:
    """Damage a gallery, and export it: what comes out is a gallery, in which nothing is wrong."""
    rng = np.random.default_rng(seed)
    damage_at_random(gallery / CATALOG_NAME, rng)
    is_sound = verify_gallery(gallery).is_sound
    path = tmp_path / f"saved{list(FORMATS)[seed % 2]}"
    report = export_gallery(gallery, path)
    assert report.num_clips > 0 or report.losses.places
    if report.losses:
        assert not is_sound
    try:
        import_file(tmp_path / "new", path)
    except UsageError as error:
        assert "does not say which model" in str(error) and "table meta" in report.losses.places
        import_file(tmp_path / "new", path, model_fingerprint="lost")
    assert verify_gallery(tmp_path / "new").is_sound
    with Gallery.open(tmp_path / "new") as new, new.editing() as edits:
        for video in [*new.videos(), *new.missing_videos()]:
            number = Path(video.video).stem
            if number.isdigit() and video.content_hash == f"h{number}":  # it says that all of it is right
                np.testing.assert_array_equal(edits.codes(video.video).codes, batch_of(int(number)).codes)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_damaged_something_sound_is_saved(seed: int, gallery: Path, tmp_path: Path) -> None:
    save_and_look(gallery, tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6, 200))
def test_whatever_is_damaged_something_sound_is_saved_each_time(seed: int, gallery: Path, tmp_path: Path) -> None:
    save_and_look(gallery, tmp_path, seed)
