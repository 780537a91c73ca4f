"""Which videos show the same as a query, and which stretches of the two agree."""

from __future__ import annotations

import math

import numpy as np
import pytest
from random_codes import BITS, flipped, random_codes

from c3dhash.bits import hamming_distances
from c3dhash.gallery import evidence, segments
from c3dhash.gallery.chance import MISMATCH_POINTS, chance_of_segments
from c3dhash.gallery.evidence import rank_videos, weigh
from c3dhash.gallery.query import query_codes
from c3dhash.gallery.segments import MIN_SEGMENT_POINTS, find_segments
from c3dhash.gallery.store import Gallery
from c3dhash.records import CodeBatch


def at(codes: np.ndarray, *, stride: float = 1.0, window: float = 2.0, begins: float = 0.0) -> CodeBatch:
    starts = begins + stride * np.arange(len(codes), dtype=np.float64)
    return CodeBatch(codes, BITS, starts, starts + window)


@pytest.fixture
def gallery(tmp_path):
    with Gallery.create(tmp_path / "gallery", hash_length=BITS, model_fingerprint="a" * 32) as gallery:
        yield gallery


def fill(gallery: Gallery, videos: dict[str, np.ndarray]) -> None:
    for name, codes in videos.items():
        gallery.add(name, at(codes), content_hash=name)


def films(rng: np.random.Generator, *, num: int = 30, clips: int = 40) -> dict[str, np.ndarray]:
    """Films of random clips, all but film 0 with one intro of 6 clips."""
    intro = random_codes(rng, 6)
    own = {f"film {number}": random_codes(rng, clips) for number in range(num)}
    return {name: np.concatenate([intro, codes]) if name != "film 0" else codes for name, codes in own.items()}


def test_a_part_behind_an_intro_that_all_have(gallery):
    """The nearest clip is that of the intro: 29 films are at distance 0, and the one with the part is not."""
    rng = np.random.default_rng(0)
    videos = films(rng)
    fill(gallery, videos)
    part = flipped(rng, videos["film 0"][20:30], 0.08)
    query = at(np.concatenate([videos["film 1"][:6], part]))
    first = query_codes(gallery, query)[0]
    assert (first.video, len(first.segments)) == ("film 0", 1)
    (segment,) = first.segments
    assert (segment.query_start_seconds, segment.query_end_seconds) == (6, 17)
    assert (segment.start_seconds, segment.end_seconds) == (first.start_seconds, first.end_seconds) == (20, 31)
    assert segment.num_clips == 10 and first.score == segment.score > 50
    near = hamming_distances(part, videos["film 0"][20:30]).diagonal()
    assert segment.distance == first.distance == near.min() > 0


def test_what_many_videos_have_says_little(gallery):
    rng = np.random.default_rng(1)
    videos = films(rng)
    fill(gallery, videos)
    index = gallery._replica.index()
    bits, _ = weigh(index, np.concatenate([videos["film 1"][:1], videos["film 1"][10:11]]))
    assert 0 < bits[0, 0] < 0.05 * bits[1, 0]
    assert bits[0, 40] == bits[1, 40] == -MISMATCH_POINTS, "what speaks against a video is as it was"
    assert (np.diff(bits, axis=1) <= 0).all()


def test_segments_by_hand():
    rng = np.random.default_rng(2)
    codes = random_codes(rng, 60)
    bits = np.tile(np.where(np.arange(BITS + 1) <= 6, 5.0, -2.0), (20, 1))
    # A part, a flash of two windows in it, then another part from before it.
    query = np.concatenate([codes[30:34], random_codes(rng, 2), codes[36:42], codes[3:11]])
    found = find_segments(bits, at(query), at(codes, begins=100.0))
    assert [segment for segment, _ in found] == [
        evidence.SegmentMatch(0, 13, 130, 143, 10, 0, 46.0),
        evidence.SegmentMatch(12, 21, 103, 112, 8, 0, 40.0),
    ]
    assert [place for _, place in found] == [30, 3]


def test_no_segment_reaches_over_windows_of_another():
    """What lies before and behind a better segment, on one diagonal, is two."""
    rng = np.random.default_rng(9)
    codes = random_codes(rng, 60)
    bits = np.tile(np.where(np.arange(BITS + 1) <= 6, 5.0, -2.0), (14, 1))
    query = np.concatenate([codes[10:13], codes[40:48], codes[21:24]])
    found = [segment for segment, _ in find_segments(bits, at(query), at(codes))]
    assert [(segment.query_start_seconds, segment.start_seconds, segment.num_clips) for segment in found] == [
        (3, 40, 8), (0, 10, 3), (11, 21, 3),
    ]  # fmt: skip


def test_windows_that_have_no_code_do_not_break_a_segment():
    """Where flat pictures were left out, times go on."""
    rng = np.random.default_rng(3)
    codes = random_codes(rng, 30)
    kept = np.array([0, 1, 2, 3, 8, 9, 10, 11])
    clips, whole = at(codes), at(codes[5:20])
    query = CodeBatch(codes[5:20][kept], BITS, whole.start_seconds[kept], whole.end_seconds[kept])
    bits = np.tile(np.where(np.arange(BITS + 1) <= 6, 5.0, -2.0), (8, 1))
    ((segment, _),) = find_segments(bits, query, clips)
    assert (segment.query_start_seconds, segment.query_end_seconds, segment.num_clips) == (0, 13, 8)
    assert (segment.start_seconds, segment.end_seconds) == (5, 18)


@pytest.mark.parametrize("phase, stride", [(0.3, 1.0), (-0.3, 1.0), (0.0, 0.5)])
def test_clocks_that_do_not_agree_to_the_second(phase, stride):
    """The query begins between two windows of the video, or has twice as many of them."""
    rng = np.random.default_rng(4)
    codes = random_codes(rng, 30)
    query = codes[10:20] if stride == 1 else np.repeat(codes[10:20], 2, axis=0)
    bits = np.tile(np.where(np.arange(BITS + 1) <= 6, 5.0, -2.0), (len(query), 1))
    ((segment, _),) = find_segments(bits, at(query, stride=stride), at(codes, begins=phase))
    assert segment.num_clips == len(query)
    assert (segment.start_seconds, segment.end_seconds) == (10 + phase, 21 + phase)


def slow_film(rng: np.random.Generator, *, seconds: float) -> np.ndarray:
    """Codes of a film, ten a second, of which each differs a little from the one before."""
    steps = rng.random((round(10 * seconds), BITS)) < 0.04
    return np.packbits(np.cumsum(steps, axis=0) % 2, axis=1)


@pytest.mark.parametrize("speed", [0.8, 0.96, 1.0, 1.04, 1.173, 1.25])
def test_a_copy_at_another_speed(gallery, speed):
    """Of 60 s behind 10 s of something else: one segment, with its speed and its ends, where that is asked for."""
    rng = np.random.default_rng(11)
    film, others = slow_film(rng, seconds=200), [slow_film(rng, seconds=60)[::10] for _ in range(20)]
    fill(gallery, {"film": film[::10]} | {f"{number}": codes for number, codes in enumerate(others)})
    part = film[300 + np.round(10 * speed * np.arange(60)).astype(int)]
    query = at(flipped(rng, np.concatenate([slow_film(rng, seconds=10)[::10], part]), 0.04))
    hit, *_ = query_codes(gallery, query, any_speed=True)
    assert (hit.video, len(hit.segments)) == ("film", 1)
    (segment,) = hit.segments
    assert segment.speed == pytest.approx(speed, abs=0.02) and (speed != 1 or segment.speed == 1)
    ends = segment.query_start_seconds, segment.query_end_seconds, segment.start_seconds, segment.end_seconds
    assert ends == pytest.approx((10, 71, 30, 31 + 60 * speed), abs=3)
    plain, *_ = query_codes(gallery, query)
    assert plain.video == "film" and {each.speed for each in plain.segments} == {1}
    assert (plain.score == hit.score) if speed == 1 else (plain.score < hit.score - 5)


def all_stretches(said: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> float:
    """The definition: the largest sum over rows that follow each other, on any line."""
    best = 0.0
    for line in range(int(columns.min() - rows.max()), int(columns.max() - rows.min()) + 1):
        along = []
        for row in range(int(rows.min()), int(rows.max()) + 1):
            values = said[np.ix_(rows == row, columns == row + line)]
            along.append(values.max() if values.size else 0.0)
        best = max([best, *(sum(along[i:j]) for i in range(len(along)) for j in range(i + 1, len(along) + 1))])
    return best


@pytest.mark.parametrize("seed", range(40))
def test_the_best_stretch_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    num_windows, num_clips = rng.integers(1, 9, 2)  # more of the ones or of the others
    rows = np.sort(rng.integers(0, 10, num_windows))  # some are missing, some twice
    columns = np.sort(rng.integers(3, 12, num_clips))
    said = rng.normal(-0.5, 2, (num_windows, num_clips))
    diagonals = segments._Diagonals(*segments._on_grid(said, rows, columns))
    best = diagonals.best()
    assert best.max() == pytest.approx(all_stretches(said, rows, columns))
    if best.any():
        line = int(best.argmax()) + diagonals.lowest
        score, first, last = diagonals.stretch(line)
        assert score == pytest.approx(best.max())
        inside = (rows >= first) & (rows <= last)
        assert all_stretches(said[inside], rows[inside], columns) == pytest.approx(score)
        assert {first, last} <= set(rows.tolist()) and columns.min() - last <= line <= columns.max() - first


def test_the_best_stretch_of_long_films(monkeypatch):
    """Diagonals are laid out some at a time, and the best of all is found wherever it is."""
    rng = np.random.default_rng(0)
    said = rng.normal(-1, 1, (150, 230))
    rows, columns = 3 * np.arange(150), np.sort(rng.choice(5000, 230, replace=False))
    for grid, *places in ((said, rows, columns), (said.T, columns, rows)):
        found = []
        for cells in (150, 5_000, 100_000, 2**24):
            monkeypatch.setattr(segments, "MAX_CELLS", cells)
            diagonals = segments._Diagonals(grid, *places)
            found.append(diagonals.best())
            for line in np.flatnonzero(found[-1])[::97].tolist():
                assert diagonals.stretch(line + diagonals.lowest)[0] == pytest.approx(found[-1][line])
        assert all(np.allclose(each, found[0]) for each in found) and found[0].any()


@pytest.mark.parametrize("seed", range(20))
def test_stretches_are_the_best_of_what_is_left(monkeypatch, seed):
    """One after the other, as if all diagonals were looked at again each time."""
    monkeypatch.setattr(segments, "MIN_SEGMENT_POINTS", 1.0)
    rng = np.random.default_rng(seed)
    rows, columns = np.arange(rng.integers(5, 20)), np.sort(rng.choice(30, rng.integers(5, 25), replace=False))
    grid = rng.normal(-0.5, 2, (len(rows), len(columns)))
    if seed % 2:
        grid = np.round(grid)  # ties
    left, scores = grid.copy(), []
    for score, line, first, last in segments._stretches(grid.copy(), rows, columns):
        assert score == pytest.approx(segments._Diagonals(left, rows, columns).best().max())
        on_it = [left[row, columns == row + line].sum() for row in range(first, last + 1)]
        assert score == pytest.approx(sum(on_it))
        left[first : last + 1] = segments.TAKEN
        scores.append(score)
    assert segments._Diagonals(left, rows, columns).best().max() < 1
    assert scores and scores == sorted(scores, reverse=True)


def test_what_is_known_about_chance_is_of_the_gallery_as_it_is(gallery):
    rng = np.random.default_rng(10)
    fill(gallery, {f"{number}": random_codes(rng, 2) for number in range(50)})
    query = random_codes(rng, 2)
    before, _ = weigh(gallery._replica.index(), query)
    near = random_codes(rng, 1)
    fill(gallery, {f"near {number}": flipped(rng, near, 0.1) for number in range(200)})
    after, _ = weigh(gallery._replica.index(), query)
    assert after[0, 0] < 0.8 * before[0, 0], "clips of different videos are nearer to each other now"


@pytest.mark.parametrize("seed", range(6))
def test_votes_are_never_less_than_the_evidence(gallery, seed):
    """Else a video could be left out that should be among the first."""
    rng = np.random.default_rng(seed)
    centres = random_codes(rng, 5)
    videos = {f"{number}": flipped(rng, centres[rng.integers(0, 5, rng.integers(1, 30))], 0.1) for number in range(40)}
    fill(gallery, videos)
    index = gallery._replica.index()
    query = at(flipped(rng, centres[rng.integers(0, 5, 25)], 0.1))
    points, votes = weigh(index, query.codes)
    segments = [[each.score for each, _ in find_segments(points, query, at(codes))] for codes in videos.values()]
    assert max(map(sum, segments)) > MIN_SEGMENT_POINTS
    assert all(sum(each) <= vote + 1e-9 for each, vote in zip(segments, votes, strict=True))
    scores = [
        sum(max(0, chance_of_segments(index).bits(score) - math.log2(25 * len(codes))) for score in of_video)
        for of_video, codes in zip(segments, videos.values(), strict=True)
    ]
    found = rank_videos(index, query, top=7, times=gallery._catalog.times)
    assert [each.score for each in found] == pytest.approx(sorted(scores)[:-8:-1])
    best = sorted((-score, -max(each, default=0)) for score, each in zip(scores, segments, strict=True))[:7]
    names = [gallery.clips([each.clip_id])[0].video for each in found]
    assert [(-scores[int(name)], -max(segments[int(name)])) for name in names] == best


def test_what_is_only_near_follows_by_distance(gallery):
    rng = np.random.default_rng(5)
    videos = {f"{number}": random_codes(rng, 5) for number in range(30)}
    fill(gallery, videos)
    query = random_codes(rng, 3)
    hits = query_codes(gallery, at(query), top=30)
    near = sorted((int(hamming_distances(query, codes).min()), int(name)) for name, codes in videos.items())
    assert [(hit.distance, int(hit.video)) for hit in hits if not hit.segments] == [
        pair for pair in near if not hits[[hit.video for hit in hits].index(str(pair[1]))].segments
    ]
    assert [hit.rank for hit in hits] == list(range(1, 31)) and sum(not hit.segments for hit in hits) > 20
    assert all(hit.segments for hit in hits if hit.score)


@pytest.mark.parametrize(
    ("windows", "clips", "shot", "any_speed"),
    [
        (60, 12, 1, False),
        (21, 21, 3, False),
        *[pytest.param(*each, marks=pytest.mark.slow) for each in [(21, 21, 1, False), (9, 51, 1, False)]],
        *[pytest.param(*each, marks=pytest.mark.slow) for each in [(60, 12, 3, False), (9, 51, 3, False)]],
        pytest.param(21, 21, 1, True, marks=pytest.mark.slow),
    ],
)
def test_a_score_is_as_improbable_as_it_says(gallery, windows, clips, shot, any_speed):
    """Of videos that have nothing in common with the query, 2^-S at the most score S bits: Note [Scores by chance].

    So too where the clips of a shot, which follow each other, are nearly the same.
    """
    rng = np.random.default_rng(windows)

    def unrelated(num_clips: int) -> np.ndarray:
        return flipped(rng, random_codes(rng, num_clips // shot).repeat(shot, axis=0), 0.1 if shot > 1 else 0)

    fill(gallery, {f"{number}": unrelated(clips) for number in range(300)})
    index, times = gallery._replica.index(), gallery._catalog.times
    scores = []
    for _ in range(10):
        found = rank_videos(index, at(unrelated(windows)), top=300, times=times, any_speed=any_speed)
        assert all(len(each.segments) <= 1 for each in found if not each.score), "what chance makes is told once"
        scores += [each.score for each in found[:100]]  # more are not looked at, and have less
    for bits in (1, 3, 5, 7):
        assert np.sum(np.array(scores) >= bits) <= 3000 * 2**-bits * (2 if shot > 1 else 1)
    assert sum(scores) > 0


def test_a_gallery_of_one_video(gallery):
    rng = np.random.default_rng(6)
    codes = random_codes(rng, 30)
    fill(gallery, {"film": codes})
    (hit,) = query_codes(gallery, at(codes[10:15]))
    assert (hit.start_seconds, hit.end_seconds, hit.segments[0].num_clips) == (10, 16, 5)
    (hit,) = query_codes(gallery, at(random_codes(rng, 5)))
    assert not hit.segments and hit.score == 0


def test_a_single_window_is_told_by_its_distance(gallery):
    rng = np.random.default_rng(7)
    videos = films(rng)
    fill(gallery, videos)
    query = at(videos["film 3"][2:3], begins=5.0)
    hits = query_codes(gallery, query, top=30)
    assert [hit.distance for hit in hits] == sorted(hit.distance for hit in hits)
    assert [hit.video for hit in hits[:2]] == ["film 1", "film 2"], "equal ones in the order of the gallery"
    (segment,) = hits[0].segments
    assert (segment.query_start_seconds, segment.query_end_seconds, segment.num_clips) == (5, 7, 1)
    assert (segment.start_seconds, segment.end_seconds) == (2, 4)


def test_copies_of_one_film_are_all_found(gallery):
    rng = np.random.default_rng(8)
    film = random_codes(rng, 30)
    fill(gallery, films(rng) | {f"copy {number}": flipped(rng, film, 0.03) for number in range(8)})
    hits = query_codes(gallery, at(film[5:25]), top=9)
    assert {hit.video for hit in hits[:8]} == {f"copy {number}" for number in range(8)}
    assert all(hit.segments[0].num_clips == 20 for hit in hits[:8]) and hits[8].score < hits[7].score / 2
