"""What was exported comes back as it was, codes of other methods come in, and what is malformed changes nothing."""

from __future__ import annotations

import re
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from galleries import FINGERPRINT, batch_of, code_of, content_of, make_gallery
from hypothesis import given, settings
from hypothesis import strategies as st

from c3dhash.errors import C3DHashError, CodesError, ModelMismatchError, UsageError
from c3dhash.gallery.exports import FORMATS, export_gallery
from c3dhash.gallery.imports import import_file
from c3dhash.gallery.store import Gallery
from c3dhash.gallery.verify import verify_gallery
from c3dhash.records import CodeBatch

SUFFIXES = list(FORMATS)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
times = st.floats(0, 1e6)


@st.composite
def videos(draw: st.DrawFn) -> list[dict]:
    """Videos of any names, also with quotes, commas and line ends, with and without clips."""
    found = []
    for name in draw(st.lists(texts, unique=True, max_size=6)):
        clips = draw(st.lists(st.tuples(times, times, st.binary(min_size=2, max_size=2)), max_size=4))
        root = draw(st.sampled_from([None, "/db", "/db two"]))
        found.append({
            "name": f"{root}/{name.replace('/', '_')}" if root else name, "root": root,
            "codes": CodeBatch(
                np.array([list(code) for *_, code in clips], np.uint8).reshape(-1, 2), 16,
                np.array([min(each[:2]) for each in clips]), np.array([max(each[:2]) for each in clips]),
            ),
            "label": draw(st.none() | texts), "content_hash": draw(st.just("") | texts),
            "size_bytes": draw(st.integers(0, 2**62)), "mtime_ns": draw(st.integers(-(2**62), 2**62)),
            "is_missing": draw(st.booleans()),
        })  # fmt: skip
    return list({video["name"]: video for video in found}.values())


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=12)
@given(videos=videos())
def test_a_round_trip_is_exact(suffix: str, videos: list[dict]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        original, new, path = Path(folder, "original"), Path(folder, "new"), Path(folder, f"all{suffix}")
        model = {"hash_length": 16, "model_fingerprint": "3f2a", "model_name": "runs/ä", "run": {"views": 2}}
        with Gallery.create(original, **model) as gallery, gallery.editing() as edits:
            for video in videos:
                facts = {name: video[name] for name in ("content_hash", "size_bytes", "mtime_ns", "label", "root")}
                edits.add(video["name"], video["codes"], **facts, added_at="2024-05-01T00:00:00+00:00")
                if video["is_missing"]:
                    edits.mark_missing(video["name"], since="2024-05-02T00:00:00+00:00")
        export_gallery(original, path)
        intake = import_file(new, path)
        assert (intake.added, intake.conflicts) == (len(videos), [])
        with Gallery.open(original) as gallery, Gallery.open(new) as other:
            assert gallery.videos() == other.videos() and gallery.missing_videos() == other.missing_videos()
            assert [video.added_at for video in other.videos()] == [video.added_at for video in gallery.videos()]
            np.testing.assert_array_equal(gallery.codes()[1], other.codes()[1])
            clips = gallery.clips(gallery.codes()[0]), other.clips(other.codes()[0])
            assert [(c.video, c.start_seconds, c.end_seconds) for c in clips[0]] == [
                (c.video, c.start_seconds, c.end_seconds) for c in clips[1]
            ]
            assert (other.run, other.model_name) == ({"views": 2}, "runs/ä")
        assert content_of(original) == content_of(new)
        assert verify_gallery(new).is_sound


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_once_more_is_nothing_and_into_another_gallery_is_the_rest(suffix: str, tmp_path: Path) -> None:
    original = make_gallery(tmp_path / "original", range(30), missing=[3])
    export_gallery(original, tmp_path / f"all{suffix}")
    part = make_gallery(tmp_path / "part", range(10, 20))
    steps: list[str] = []
    intake = import_file(part, tmp_path / f"all{suffix}", on_step=steps.append)
    assert (intake.added, intake.unchanged, intake.replaced, intake.clips) == (20, 10, 0, 200)
    assert steps == ["Checking"] * 30 + ["Importing"] * 30
    before = content_of(part)
    again = import_file(part, tmp_path / f"all{suffix}")
    assert (again.added, again.unchanged, again.clips) == (0, 30, 0) and content_of(part) == before
    assert sorted(content_of(part).splitlines()[2:]) == sorted(content_of(original).splitlines()[2:])
    with Gallery.open(part) as gallery:
        assert list(gallery.engines()) == ["torch 2"] and gallery.not_matches() == {("h1", "h2")}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_other_codes_are_refused_or_taken(suffix: str, tmp_path: Path) -> None:
    export_gallery(make_gallery(tmp_path / "a", range(4)), tmp_path / f"a{suffix}")
    other = make_gallery(tmp_path / "b", [])
    with Gallery.open(other) as gallery:
        gallery.add("/db/1.mp4", batch_of(99), content_hash="h1", root="/db")
        gallery.add("/db/2.mp4", batch_of(2), content_hash="other", root="/db")
        gallery.add("/db/3.mp4", batch_of(3), content_hash="h3", root="/db", label="my own")
    intake = import_file(other, tmp_path / f"a{suffix}")
    assert (intake.added, intake.replaced, intake.unchanged) == (1, 0, 1)
    assert intake.conflicts == [
        f"'/db/1.mp4' is in gallery '{other}' with other codes",
        f"'/db/2.mp4' is in gallery '{other}' with other content",
    ]  # fmt: skip
    with Gallery.open(other) as gallery, gallery.editing() as edits:
        assert bytes(edits.codes("/db/1.mp4").codes[0]) == code_of(99, 0)
    intake = import_file(other, tmp_path / f"a{suffix}", replace=True)
    assert (intake.added, intake.replaced, intake.unchanged, intake.conflicts) == (0, 2, 2, [])
    with Gallery.open(other) as gallery, gallery.editing() as edits:
        assert bytes(edits.codes("/db/1.mp4").codes[0]) == code_of(1, 0)
        assert [video.label for video in gallery.videos()] == [None, "wave", "golf, “ü”", "my own"]


def write_minimal(path: Path) -> Path:
    """Two videos of another method, of 12 bits."""
    codes = np.array([[0xAB, 0xC0], [0x01, 0x20], [0xFF, 0xF0]], np.uint8)
    names, starts = ["a", "a", "b, c"], [0, 1, 0]
    if path.suffix == ".csv":
        rows = [
            f'"{name}",{start},{start + 1},{code.tobytes().hex().upper()}'
            for name, start, code in zip(names, starts, codes, strict=True)
        ]
        path.write_text("video,start_seconds,end_seconds,code\n" + "\n".join(rows) + "\n")
    elif path.suffix == ".npz":
        np.savez(path, video=names, start_seconds=starts, end_seconds=np.array(starts) + 1, codes=codes)
    else:
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        columns = {
            "video": names,
            "start_seconds": [float(x) for x in starts],
            "end_seconds": [x + 1.0 for x in starts],
        }
        parquet.write_table(arrow.table({**columns, "code": [code.tobytes() for code in codes]}), path)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_codes_of_another_method(suffix: str, tmp_path: Path) -> None:
    path = write_minimal(tmp_path / f"codes{suffix}")
    with pytest.raises(
        UsageError, match="does not say which model made its codes: name that, --model-fingerprint NAME"
    ):
        import_file(tmp_path / "g", path)
    assert not (tmp_path / "g").exists()
    intake = import_file(tmp_path / "g", path, model_fingerprint="simhash v2", hash_length=12)
    assert (intake.added, intake.clips) == (2, 3)
    with Gallery.open(tmp_path / "g") as gallery:
        assert (gallery.hash_length, gallery.model_fingerprint, gallery.run) == (12, "simhash v2", {})
        assert [video.video for video in gallery.videos()] == ["a", "b, c"]
        assert gallery.search(np.array([[0x01, 0x20]], np.uint8), k=1)[1].tolist() == [[2]]
        assert gallery.clips([2])[0].start_seconds == 1.0
    assert import_file(tmp_path / "g", path, model_fingerprint="simhash v2").unchanged == 2, (
        "the gallery has the length"
    )
    import_file(tmp_path / "h", path, model_fingerprint="simhash v2")
    with Gallery.open(tmp_path / "h") as gallery:
        assert gallery.hash_length == 16
    with pytest.raises(
        ModelMismatchError, match=r"holds 12-bit codes of model simhash …, and '.*' 12-bit codes of model x…"
    ):
        import_file(tmp_path / "g", path, model_fingerprint="x")


def test_what_the_file_says_counts(tmp_path: Path) -> None:
    export_gallery(make_gallery(tmp_path / "a", range(2)), path := tmp_path / "a.csv")
    with pytest.raises(UsageError, match=r"says model_fingerprint '3f2a.*', and --model-fingerprint 'x': leave"):
        import_file(tmp_path / "g", path, model_fingerprint="x")
    with pytest.raises(UsageError, match=r"says hash_length 48, and --hash-length 47: leave --hash-length out"):
        import_file(tmp_path / "g", path, hash_length=47)
    with pytest.raises(UsageError, match=r"hash_length \(0\) must be between 1 and 1024"):
        import_file(tmp_path / "g", write_minimal(tmp_path / "m.csv"), model_fingerprint="x", hash_length=0)
    with pytest.raises(UsageError, match=r"none\.csv' does not exist"):
        import_file(tmp_path / "g", tmp_path / "none.csv")
    Gallery.create(tmp_path / "w", hash_length=48, model_fingerprint=FINGERPRINT, run={"window_seconds": 2.0}).close()
    with pytest.raises(
        ModelMismatchError, match=r"has window_seconds 2\.0, '.*a\.csv' has 10\.0: their codes do not compare"
    ):
        import_file(tmp_path / "w", path)
    assert not (tmp_path / "g").exists()


HEAD = "video,start_seconds,end_seconds,code\n"
MALFORMED = [
    ("", "no column 'video'"),
    ("video,start_seconds,end_seconds\na,0,1\n", "no column 'code'; it must have video, start_seconds, end_seconds, "),
    ("video,start_seconds,end_seconds,code,colour\na,0,1,ab,x\n", "the column 'colour'"),
    ("video,video,start_seconds,end_seconds,code\n", "a column twice"),
    (HEAD + "a,0,1,abcd\na,1,2,ab\n", "a code of 1 bytes in line 3, after some of 2"),
    (HEAD + "a,0,1,abcd\na,1,2,abc\n", "has code 'abc' in line 3; it must be hexadecimal digits"),
    (HEAD + "a,0,1,zz\n", "has code 'zz' in line 2"),
    (HEAD + "a,0,1,abcd\na,1,2,\n", "has a clip in line 3 without one of start_seconds"),
    (HEAD + "a,,,\na,1,2,abcd\n", "or after a row without"),
    (HEAD + "a,nan,1,abcd\n", "a clip from nan to 1.0 seconds in line 2"),
    (HEAD + "a,0,inf,abcd\n", "a clip from 0.0 to inf seconds in line 2"),
    (HEAD + "a,2,1,abcd\n", "a clip from 2.0 to 1.0 seconds in line 2"),
    (HEAD + "a,zero,1,abcd\n", "has start_seconds 'zero' in line 2; it must be a number"),
    (HEAD + "a,0,1,abcd\nb,0,1,abcd\na,1,2,abcd\n", "has video 'a' again in line 4"),
    (HEAD + ",0,1,abcd\n", "no name of a video in line 2"),
    (HEAD + "a,0,1\n", "has 3 columns in line 2, 4 in its first row"),
    (HEAD + 'a,0,1,"abcd\n', "is no CSV file"),
    (HEAD.replace("code", "code,label") + "a,0,1,abcd,x\na,1,2,abcd,y\n", "says label 'y' of video 'a' in line 3"),
    ("video,start_seconds,end_seconds,code,size_bytes\na,0,1,abcd,1.5\n", "has size_bytes '1.5' in line 2"),
    ("video,start_seconds,end_seconds,code,mtime_ns\na,0,1,abcd,99999999999999999999\n", "a whole number of 64 bits"),
    ("video,start_seconds,end_seconds,code,root\n/b/a,0,1,abcd,/a\n", "has video '/b/a' in root '/a'"),
    ("video,start_seconds,end_seconds,code,root\na,0,1,abcd,\nb/c,0,1,abcd,b\n", "has video 'b/c' in root 'b'"),
    (HEAD.replace("code", "code,added_at") + "a,0,1,abcd,yesterday\n", "has added_at 'yesterday' of video 'a'"),
    ("# {\n" + HEAD, "a first line behind '#' that is no JSON"),
    ("# {}\n" + HEAD, "a header without format_version"),
    ('# {"format_version": 2}\n' + HEAD, "has format_version 2; this c3dhash reads 1"),
    ('# {"format_version": 1, "hash_length": "x"}\n' + HEAD, "has hash_length 'x' in its header"),
    (HEAD, "holds no code, and does not say how long codes are"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_tables_change_nothing(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    refuses(path, message)


def refuses(path: Path, message: str) -> None:
    """Import into nothing, and into a gallery; neither changes."""
    folder = path.parent
    with pytest.raises(C3DHashError, match=re.escape(message)) as caught:
        import_file(folder / "new", path, model_fingerprint="x")
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    assert not (folder / "new").exists()
    with Gallery.create(folder / "g", hash_length=16, model_fingerprint="x") as gallery:
        gallery.add("mine", CodeBatch(np.zeros((1, 2), np.uint8), 16, np.zeros(1), np.ones(1)), content_hash="")
    before = content_of(folder / "g")
    if "does not say how long" not in message:
        with pytest.raises(C3DHashError):
            import_file(folder / "g", path, model_fingerprint="x")
    assert content_of(folder / "g") == before


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(HEAD.encode() + b"a\xff,0,1,abcd\n")
    refuses(path, "is not UTF-8 (invalid start byte at byte 38): save it as UTF-8")


def test_a_byte_order_mark_is_none_of_the_name(tmp_path: Path) -> None:
    path = tmp_path / "bom.csv"
    path.write_text("\ufeff" + HEAD + "a,0,1,abcd\n", encoding="utf-8")
    assert import_file(tmp_path / "g", path, model_fingerprint="x").added == 1


GOOD = {"video": np.array(["a", "a", "b"]), "start_seconds": np.arange(3.0), "end_seconds": np.arange(3.0) + 1,
        "codes": np.zeros((3, 2), np.uint8)}  # fmt: skip
BAD_ARRAYS = [
    ({"codes": None}, "no array 'codes'"),
    ({"colour": np.zeros(3)}, "an array 'colour'"),
    ({"codes": np.zeros((3, 2))}, "has codes float64 [3, 2]; they must be uint8 [N, width]"),
    ({"codes": np.zeros(3, np.uint8)}, "has codes uint8 [3]; they must be"),
    ({"start_seconds": np.zeros(2)}, "has start_seconds float64 [2]; they must be numbers [3]"),
    ({"start_seconds": np.array(["0", "1", "2"])}, "has start_seconds <U1 [3]"),
    ({"end_seconds": np.array([1, np.nan, 3])}, "a clip from 1.0 to nan seconds in place 1"),
    ({"end_seconds": np.array([1, 0.5, 3])}, "a clip from 1.0 to 0.5 seconds in place 1"),
    ({"video": np.array([1, 2, 3])}, "has video int64 [3]; they must be texts [3]"),
    ({"video": np.array(["a", "b", "a"])}, "has video 'a' twice"),
    ({"video": np.array(["a", "", ""])}, "no name of a video at 1"),
    ({"video": np.array(["a", "b"]), "num_clips": np.array([1, 1])}, "has num_clips that add up to 2, and 3 codes"),
    ({"video": np.array(["a", "b"]), "num_clips": np.array([-1, 4])}, "has num_clips that add up to 3"),
    ({"label": np.array(["x"])}, "has label <U1 [1]; they must be texts [3]"),
    ({"video": np.array(["a", "a", "b\udcff"])}, "text 'b\\udcff' that is not valid UTF-8"),
    ({"video": np.array(["a", None, "b"], object)}, "Object arrays cannot be loaded when allow_pickle=False"),
    ({"hash_length": np.zeros(3)}, "has hash_length float64 [3]; it must be one value"),
    ({"format_version": 1}, "has hash_length None in its header"),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "message"), BAD_ARRAYS, ids=range(len(BAD_ARRAYS)))
def test_malformed_arrays_change_nothing(changed: dict, message: str, tmp_path: Path) -> None:
    arrays = {name: array for name, array in {**GOOD, **changed}.items() if array is not None}
    np.savez(tmp_path / "bad.npz", **arrays)
    refuses(tmp_path / "bad.npz", message)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_files_that_were_cut_off(share: float, suffix: str, tmp_path: Path) -> None:
    whole = write_minimal(tmp_path / f"whole{suffix}").read_bytes()
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(whole[: int(share * len(whole))])
    refuses(path, f"is no {suffix if suffix == '.npz' else 'Parquet'} file that can be read")


def test_an_array_whose_bytes_are_wrong(tmp_path: Path) -> None:
    np.savez(tmp_path / "good.npz", **GOOD)
    with zipfile.ZipFile(tmp_path / "good.npz") as good, zipfile.ZipFile(tmp_path / "bad.npz", "w") as bad:
        for name in good.namelist():
            bad.writestr(name, b"nonsense" if name == "codes.npy" else good.read(name))
    refuses(tmp_path / "bad.npz", "is no .npz file that can be read")


def test_one_array_is_no_gallery(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(3))
    (tmp_path / "x.npy").rename(tmp_path / "bad.npz")
    refuses(tmp_path / "bad.npz", "is one array, no .npz file of several")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"code": ["ab", "cd", "ef"]}, "has column 'code' of string; it must be binary"),
        ({"start_seconds": ["0", "1", "2"]}, "has column 'start_seconds' of string; it must be float64"),
        ({"code": [b"ab", b"c", b"ef"]}, "a code of 1 bytes in row 2, after some of 2"),
        ({"end_seconds": [1.0, float("nan"), 3.0]}, "a clip from 1.0 to nan seconds in row 2"),
        ({"video": ["a", None, "b"]}, "no name of a video in row 2"),
    ],
)
def test_malformed_parquet_changes_nothing(changed: dict, message: str, tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    good = {"video": ["a", "a", "b"], "start_seconds": [0.0, 1.0, 2.0], "end_seconds": [1.0, 2.0, 3.0]}
    table = arrow.table({**good, "code": [b"ab", b"cd", b"ef"], **changed})
    parquet.write_table(table, tmp_path / "bad.parquet")
    refuses(tmp_path / "bad.parquet", message)


def test_codes_of_another_width_or_with_bits_to_spare(tmp_path: Path) -> None:
    path = write_minimal(tmp_path / "m.csv")
    with pytest.raises(CodesError, match="bits set beyond hash_length"):
        import_file(tmp_path / "g", path, model_fingerprint="x", hash_length=11)
    with pytest.raises(CodesError, match=r"has codes of 2 bytes; 24 bits, as the gallery or the file says, are 3"):
        import_file(tmp_path / "g", path, model_fingerprint="x", hash_length=24)
    assert not (tmp_path / "g").exists()
