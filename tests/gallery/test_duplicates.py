"""Groups of duplicates: who is in them, which file is the best, what is left out, and what is remembered."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import videos as made
from random_codes import BITS, random_codes

from c3dhash.errors import GalleryError, UsageError
from c3dhash.gallery.duplicates import find_duplicates, note_not_match, redundant
from c3dhash.gallery.store import Gallery
from c3dhash.records import CodeBatch, Duplicate, DuplicateGroup, VideoFacts


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def gallery(tmp_path):
    with Gallery.create(tmp_path / "gallery", hash_length=BITS, model_fingerprint="a" * 32) as gallery:
        yield gallery


def add(gallery: Gallery, path: Path, codes: np.ndarray, *, content: str | None = None) -> str:
    starts = np.arange(len(codes), dtype=np.float64)
    gallery.add(
        str(path), CodeBatch(codes, BITS, starts, starts + 1), content_hash=content or str(path.name),
        size_bytes=path.stat().st_size if path.exists() else 1000, root=str(path.parent),
    )  # fmt: skip
    return str(path)


def told(groups) -> list[tuple[str, list[tuple[str, str]]]]:
    return [
        (Path(group.best).name, [(Path(member.video).name, member.relation) for member in group.members])
        for group in groups
    ]


def test_the_best_copy_is_the_one_with_the_larger_picture(gallery, rng, tmp_path):
    codes = random_codes(rng, 20)
    for name, width in (("a.mp4", 64), ("b.mp4", 128), ("c.mp4", 32)):
        made.write_video(tmp_path / name, num_frames=20, width_px=width, height_px=48)
        add(gallery, tmp_path / name, codes)
    add(gallery, tmp_path / "other.mp4", random_codes(rng, 20))
    (group,) = find_duplicates(gallery)
    assert told([group]) == [("b.mp4", [("a.mp4", "copy"), ("c.mp4", "copy")])]
    assert (group.facts.width_px, group.facts.height_px) == (128, 48)
    assert group.facts.size_bytes == (tmp_path / "b.mp4").stat().st_size
    assert group.facts.bit_rate_bits == pytest.approx(8 * group.facts.size_bytes / group.facts.duration_seconds)
    assert asdict(group)["members"][0]["facts"]["width_px"] == 64
    assert redundant([group]) == [str(tmp_path / "a.mp4"), str(tmp_path / "c.mp4")]


def test_groups_do_not_chain(gallery, rng, tmp_path):
    """a shares a half with b, b its other half with c, c nothing with a: c is in no group with a."""
    first, second, third, fourth = (random_codes(rng, 12) for _ in range(4))
    add(gallery, tmp_path / "a.mp4", np.concatenate([first, second]))
    add(gallery, tmp_path / "b.mp4", np.concatenate([second, third]))
    add(gallery, tmp_path / "c.mp4", np.concatenate([third, fourth]))
    for number in range(5):
        add(gallery, tmp_path / f"other {number}.mp4", random_codes(rng, 24))
    groups = find_duplicates(gallery)
    assert sorted(told(groups)) == [("a.mp4", [("b.mp4", "shared")]), ("b.mp4", [("c.mp4", "shared")])]
    assert redundant(groups) == []


def test_a_compilation_is_with_each_of_its_sources(gallery, rng, tmp_path):
    sources = {f"{name}.mp4": random_codes(rng, 20) for name in "xyz"}
    for name, codes in sources.items():
        add(gallery, tmp_path / name, codes)
    add(gallery, tmp_path / "compilation.mp4", np.concatenate([codes[5:12] for codes in sources.values()]))
    groups = find_duplicates(gallery)
    (group,) = groups
    assert group.best.endswith("compilation.mp4"), "nothing is known of the files, so their names decide"
    assert {Path(member.video).name for member in group.members} == set(sources)
    made.write_video(tmp_path / "y.mp4", num_frames=20)
    groups = find_duplicates(gallery)
    assert ("y.mp4", [("compilation.mp4", "shared")]) in told(groups)
    assert sorted(member.video for group in groups for member in group.members if member.video.endswith("z.mp4")) == [
        str(tmp_path / "z.mp4")
    ]


def test_copies_of_what_is_in_a_compilation_are_told(gallery, rng, tmp_path):
    """Though both are in the group of the compilation, the best file: one can go, as the other is there."""
    codes = random_codes(rng, 30)
    made.write_video(tmp_path / "compilation.mp4", num_frames=20)
    add(gallery, tmp_path / "compilation.mp4", np.concatenate([random_codes(rng, 10), codes[5:15]]))
    add(gallery, tmp_path / "a.mp4", codes, content="a")
    add(gallery, tmp_path / "b.mp4", codes, content="a")
    groups = find_duplicates(gallery)
    assert told(groups) == [("a.mp4", [("b.mp4", "same bytes")]), ("compilation.mp4", [("a.mp4", "shared")])]
    assert redundant(groups) == [str(tmp_path / "b.mp4")]


def test_relations(gallery, rng, tmp_path):
    codes = random_codes(rng, 20)
    made.write_video(tmp_path / "whole.mp4", num_frames=20)
    add(gallery, tmp_path / "whole.mp4", codes, content="whole")
    add(gallery, tmp_path / "bytes.mp4", codes, content="whole")
    add(gallery, tmp_path / "copy.mp4", codes[:17])
    add(gallery, tmp_path / "longer.mp4", np.concatenate([random_codes(rng, 10), codes]))
    add(gallery, tmp_path / "part.mp4", codes[5:13])
    add(gallery, tmp_path / "shared.mp4", np.concatenate([random_codes(rng, 10), codes[5:13]]))
    group, other = find_duplicates(gallery)
    assert told([other]) == [("part.mp4", [("shared.mp4", "whole")])]
    assert dict(told([group])[0][1]) == {
        "bytes.mp4": "same bytes", "copy.mp4": "copy", "longer.mp4": "whole", "part.mp4": "part",
        "shared.mp4": "shared",
    }  # fmt: skip
    scores = [member.score for member in group.members]
    assert scores == sorted(scores, reverse=True)
    part = next(member for member in group.members if member.video.endswith("part.mp4"))
    assert part.segments[0].query_start_seconds == 5, "the query is the best of the group"
    assert {Path(name).name for name in redundant([group, other])} == {"bytes.mp4", "copy.mp4", "part.mp4"}


def test_of_everything_one_copy_stays_out_of_the_list(gallery, rng, tmp_path):
    """b is a copy of a; c is one of b, and too far from a: b is listed, so c, which only b vouches for, is not."""
    codes = random_codes(rng, 30)
    made.write_video(tmp_path / "a.mp4", num_frames=20)
    add(gallery, tmp_path / "a.mp4", codes[:25])
    add(gallery, tmp_path / "b.mp4", codes)
    add(gallery, tmp_path / "c.mp4", codes[25:])
    groups = find_duplicates(gallery)
    assert sorted(told(groups)) == [("a.mp4", [("b.mp4", "copy")]), ("b.mp4", [("c.mp4", "part")])]
    listed = redundant(groups)
    assert len(listed) == 1
    for name in listed:
        assert any(group.best not in listed and name in {m.video for m in group.members} for group in groups)


def test_what_another_line_rests_on_is_not_listed():
    def group(best: str, *members: tuple[str, str]) -> DuplicateGroup:
        return DuplicateGroup(
            best, VideoFacts(), tuple(Duplicate(name, relation, 9.0, (), VideoFacts()) for name, relation in members)
        )

    assert redundant([group("b", ("c", "part")), group("a", ("b", "copy"))]) == ["c"]
    assert redundant([group("a", ("b", "copy")), group("b", ("c", "part"))]) == ["b"]
    assert redundant([group("a", ("b", "whole"), ("c", "shared"), ("d", "same bytes"))]) == ["d"]


def test_the_best_is_the_query_of_a_segment_wherever_it_is_in_the_index(gallery, rng, tmp_path):
    codes = random_codes(rng, 20)
    add(gallery, tmp_path / "part.mp4", codes[5:13])
    made.write_video(tmp_path / "whole.mp4", num_frames=20)
    add(gallery, tmp_path / "whole.mp4", codes)
    (group,) = find_duplicates(gallery)
    assert told([group]) == [("whole.mp4", [("part.mp4", "part")])]
    (segment,) = group.members[0].segments
    assert (segment.query_start_seconds, segment.query_end_seconds) == (5, 13)
    assert (segment.start_seconds, segment.end_seconds) == (0, 8)


def test_a_reference_is_never_the_copy(gallery, rng, tmp_path):
    codes = random_codes(rng, 20)
    for folder, name, width in (("kept", "a.mp4", 32), ("kept", "b.mp4", 32), ("new", "c.mp4", 128)):
        (tmp_path / folder).mkdir(exist_ok=True)
        made.write_video(tmp_path / folder / name, num_frames=20, width_px=width, height_px=32)
        add(gallery, tmp_path / folder / name, codes)
    assert told(find_duplicates(gallery)) == [("c.mp4", [("a.mp4", "copy"), ("b.mp4", "copy")])]
    groups = find_duplicates(gallery, reference=str(tmp_path / "kept"))
    assert told(groups) == [("a.mp4", [("c.mp4", "copy")]), ("b.mp4", [("c.mp4", "copy")])]
    assert redundant(groups) == [str(tmp_path / "new" / "c.mp4")]
    with pytest.raises(UsageError, match="reference '/nowhere' holds no video of gallery"):
        find_duplicates(gallery, reference="/nowhere")


def test_what_is_no_match_is_remembered(gallery, rng, tmp_path, monkeypatch):
    codes = random_codes(rng, 20)
    names = [add(gallery, tmp_path / f"{name}.mp4", codes) for name in "abc"]
    assert told(find_duplicates(gallery)) == [("a.mp4", [("b.mp4", "copy"), ("c.mp4", "copy")])]
    revision = gallery._catalog.revision()
    monkeypatch.chdir(tmp_path)
    note_not_match(gallery, "./b.mp4", names[0])
    note_not_match(gallery, names[0], names[1])
    assert gallery._catalog.revision() == revision, "no index is stale by it"
    wanted = [("a.mp4", [("c.mp4", "copy")]), ("b.mp4", [("c.mp4", "copy")])]
    with Gallery.open(gallery.path) as again:
        assert told(find_duplicates(again)) == wanted
        again.remove([names[1]])
        moved = add(again, tmp_path / "moved.mp4", codes, content="b.mp4")
        assert told(find_duplicates(again)) == [("a.mp4", [("c.mp4", "copy")]), ("c.mp4", [("moved.mp4", "copy")])]
        note_not_match(again, moved, names[0], is_match=True)
        assert len(find_duplicates(again)[0].members) == 2
    with pytest.raises(UsageError, match=r"'d.mp4' is no video of gallery"):
        note_not_match(gallery, "d.mp4", names[0])
    add(gallery, tmp_path / "bytes.mp4", codes, content="a.mp4")
    with pytest.raises(UsageError, match="have the same bytes: they do match"):
        note_not_match(gallery, names[0], str(tmp_path / "bytes.mp4"))


def test_a_file_that_cannot_be_read_is_said_and_never_the_best(gallery, rng, tmp_path, caplog):
    codes = random_codes(rng, 20)
    (tmp_path / "a.mp4").write_bytes(b"no video")
    made.write_video(tmp_path / "b.mp4", num_frames=20)
    for name in ("a.mp4", "b.mp4"):
        add(gallery, tmp_path / name, codes)
    with caplog.at_level(logging.WARNING, "c3dhash"):
        (group,) = find_duplicates(gallery)
    assert told([group]) == [("b.mp4", [("a.mp4", "copy")])]
    assert group.members[0].facts.width_px == 0 and group.members[0].facts.size_bytes == len(b"no video")
    assert "a.mp4" in caplog.text


def test_missing_videos_are_in_no_group_and_nothing_is_an_error(gallery, rng, tmp_path):
    with pytest.raises(GalleryError, match="is empty"):
        find_duplicates(gallery)
    codes = random_codes(rng, 20)
    names = [add(gallery, tmp_path / f"{name}.mp4", codes) for name in "ab"]
    assert len(find_duplicates(gallery)) == 1
    with gallery.editing() as edits:
        edits.mark_missing(names[0])
    assert find_duplicates(gallery) == []
