from __future__ import annotations

import shutil

from c3dhash.config import EncodeConfig
from c3dhash.gallery import failures
from c3dhash.gallery.failures import failures_now
from c3dhash.gallery.indexing import index_videos, open_gallery

FP32 = EncodeConfig(precision="fp32", device="cpu")


def test_what_failed_is_remembered_until_it_is_looked_at_again(untrained_run, motion_dir, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "bad.mp4").write_bytes(b"a text that is no video at all")
    with open_gallery(tmp_path / "gallery", untrained_run, config=FP32) as gallery:
        assert gallery.failures() == []
        index_videos(untrained_run, gallery, [tmp_path / "one", tmp_path / "two"], config=FP32)
        names = [str(tmp_path / folder / "bad.mp4") for folder in ("one", "two")]
        assert [each["video"] for each in gallery.failures()] == names
        assert "is a text or a playlist" in gallery.failures()[0]["reason"]
        video = motion_dir / "gallery" / "move_up" / "move_up_000.mp4"
        shutil.copy(video, names[0])
        state = gallery.state
        index_videos(untrained_run, gallery, [tmp_path / "one"], config=FP32)
        assert [each["video"] for each in gallery.failures()] == names[1:] and gallery.state != state


def test_there_is_an_end_to_it(monkeypatch, tmp_path):
    monkeypatch.setattr(failures, "MAX_FAILURES", 2)
    known = [{"video": f"/a/{number}", "reason": "x"} for number in range(3)]
    assert failures_now(known, [{"video": "/b/0", "reason": "y"}], places=[tmp_path]) == [
        {"video": "/a/0", "reason": "x"}, {"video": "/b/0", "reason": "y"},
    ]  # fmt: skip
