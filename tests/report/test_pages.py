from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageSequence
from videos import write_video

from c3dhash.records import Duplicate, DuplicateGroup, Hit, Sample, Segment, SegmentMatch, VideoFacts
from c3dhash.report import pages
from c3dhash.report.pages import (
    GAP_PX,
    STRIP_FRAMES,
    STRIP_HEIGHT_PX,
    film_strip,
    picture,
    preview,
    write_duplicates_page,
    write_query_page,
)
from c3dhash.report.previews import PREVIEW_FRAMES


def decoded(uri: str) -> np.ndarray:
    """The picture in a data URI: uint8 [H, W, 3], BGR."""
    return cv2.imdecode(np.frombuffer(base64.b64decode(uri.partition(",")[2]), np.uint8), cv2.IMREAD_COLOR)


def test_a_film_strip_shows_frames_of_the_segment_side_by_side(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", num_frames=40)
    strip = decoded(film_strip(Sample(path, (), "query", segment=Segment(0.0, 1.0))) or "")
    height_px, width_px = strip.shape[:2]
    assert height_px == STRIP_HEIGHT_PX
    assert (width_px - GAP_PX * (STRIP_FRAMES - 1)) % STRIP_FRAMES == 0
    other = decoded(film_strip(Sample(path, (), "query", segment=Segment(0.5, 1.5))) or "")
    assert not np.array_equal(strip, other)


def test_what_cannot_be_read_has_no_strip(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert film_strip(Sample(tmp_path / "gone.avi", (), "query")) is None
    assert "gone.avi" in caplog.text


def frames_of(uri: str) -> list[np.ndarray]:
    """The frames of an animation, uint8 [H, W, 3] each."""
    kind, _, content = uri.partition(";base64,")
    assert kind == "data:image/webp"
    animation = Image.open(io.BytesIO(base64.b64decode(content)))
    return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(animation)]


def test_a_preview_moves_through_its_segment(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", num_frames=60)
    found = preview(Sample(path, (), "query", segment=Segment(0.0, 2.0)))
    frames = frames_of(found.moving)
    assert len(frames) == PREVIEW_FRAMES and all(frame.shape[0] == STRIP_HEIGHT_PX for frame in frames)
    assert (np.abs(np.diff(np.stack(frames).astype(int), axis=0)).max(axis=(1, 2, 3)) > 20).all(), "each shows another"
    assert decoded(found.still).shape == frames[0].shape
    mirrored = frames_of(preview(Sample(path, (), "query", segment=Segment(0.0, 2.0)), is_mirrored=True).moving)
    near = [np.abs(one[:, ::-1].astype(int) - other).mean() for one, other in zip(frames, mirrored, strict=True)]
    far = [np.abs(one.astype(int) - other).mean() for one, other in zip(frames, mirrored, strict=True)]
    assert np.mean(near) < np.mean(far) / 2
    assert preview(Sample(tmp_path / "gone.avi", (), "query")) is None


def test_the_page_of_a_query_escapes_names_and_needs_nothing_beside_it(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a & <i>.avi", num_frames=100)
    page = tmp_path / "new" / "page.html"
    segments = (SegmentMatch(2.0, 3.0, 0.0, 1.0, 1, 3, 9.25), SegmentMatch(3.0, 3.5, 1.0, 1.5, 1, 4, 6.5))
    hits = [
        Hit(1, 3, str(path), 0.0, 0.4, "walk", 15.75, segments, precision=0.874),
        Hit(2, 7, str(tmp_path / "gone.avi"), 1.0, 2.0, None, 0.0, ()),
        Hit(3, 9, str(path), 0.0, 1.0, "run", 0.5, segments[1:], is_mirrored=True),
    ]
    write_query_page(page, query=path, hits=hits, gallery_name="gallery", label="walk")
    text = page.read_text()
    assert "a &amp; &lt;i&gt;.avi" in text and "<i>" not in text
    assert "walk" in text and "gone.avi" in text
    flat = " ".join(text.split())
    assert "0.0–1.0 s, in the query 2.0–3.0 s (9.2)" in flat and "1.0–1.5 s, in the query 3.0–3.5 s (6.5)" in flat
    assert "15.8" in flat and "1.0–2.0 s, the nearest clip" in flat and "87 % same class" in flat
    assert text.count('<tr class="good">') == text.count('<tr class="bad">') == 1, "of one nothing is known"
    assert text.count("data:image/webp;base64,") == 2 * 2  # of two hits that are there, and of the query beside them
    drawn = [tuple(map(float, rect)) for rect in re.findall(r'class="held" x="([\d.]+)" width="([\d.]+)"', text)]
    assert drawn == [(500, 250), (750, 125), (0, 250), (250, 125), (750, 125), (250, 125)]  # of 4 s
    assert not re.search(r"""(?:src|href|srcset)=["'](?!data:)""", text)
    write_query_page(page, query=path, hits=hits, gallery_name="gallery")
    assert 'class="good"' not in page.read_text() and 'class="bad"' not in page.read_text()


def test_a_picture_is_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"abc")
    assert picture(tmp_path / "a.png") == "data:image/png;base64,YWJj"


def test_the_page_of_duplicates_draws_both_timelines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    best = str(write_video(tmp_path / "best & <i>.avi", num_frames=100))
    part = str(write_video(tmp_path / "part.avi", num_frames=50))
    segments = (SegmentMatch(1.0, 3.0, 0.0, 2.0, 2, 0, 30.0), SegmentMatch(3.0, 4.0, 0.5, 1.0, 1, 2, 8.0))
    members = (
        Duplicate(part, "part", 38.0, segments, VideoFacts(160, 96, 2.0, 250_000, 62_500)),
        Duplicate(str(tmp_path / "gone.avi"), "shared", 30.0, segments[:1], VideoFacts()),
    )
    groups = [DuplicateGroup(best, VideoFacts(160, 96, 4.0, 500_000, 250_000), members)]
    write_duplicates_page(tmp_path / "new" / "page.html", groups=groups[:1], gallery_name="gallery")
    text = (tmp_path / "new" / "page.html").read_text()
    assert "best &amp; &lt;i&gt;.avi" in text and "<i>" not in text
    assert text.count("data:image/jpeg;base64,") == 2
    drawn = [tuple(map(float, rect)) for rect in re.findall(r'class="held" x="([\d.]+)" width="([\d.]+)"', text)]
    assert drawn == [(250, 500), (750, 250), (0, 1000), (250, 250), (250, 500), (0, 1000)]
    assert "160 × 96 px, 4.0 s, 500 kbit/s" in " ".join(text.split()) and "cannot be read" in text
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", text)
    monkeypatch.setattr(pages, "MAX_GROUPS", 1)
    write_duplicates_page(tmp_path / "page.html", groups=groups * 2, gallery_name="gallery")
    assert "1 of 2 groups" in " ".join((tmp_path / "page.html").read_text().split())
