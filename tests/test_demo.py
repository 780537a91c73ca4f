from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY

import c3dhash.demo
from c3dhash.bits import pack_codes
from c3dhash.datasets.find import find_dataset
from c3dhash.demo import SETTINGS, run_demo
from c3dhash.errors import UsageError
from c3dhash.evaluation.metrics import average_precision, mean_defined, rank_counts
from c3dhash.models.encode import Encoder
from c3dhash.models.hashnet import load_run
from c3dhash.video.cache import FrameCache
from c3dhash.video.clips import ClipReader


@pytest.fixture
def tiny_demo(monkeypatch):
    monkeypatch.setattr(c3dhash.demo, "SETTINGS", replace(TINY, hash_length=48))
    monkeypatch.setattr(c3dhash.demo, "NUM_CLASSES", 3)
    monkeypatch.setattr(c3dhash.demo, "VIDEOS_PER_CLASS", {"train": 4, "val": 2, "gallery": 4, "query": 2})


def test_the_whole_road_and_a_second_start(tiny_demo, tmp_path, monkeypatch):
    result = run_demo(tmp_path)
    assert (result.indexed.added, result.indexed.clips) == (12, 12)
    assert len(result.hits) == 10
    assert result.trained.numbers["num_queries"] == result.untrained.numbers["num_queries"] == 6
    for page in (result.report_page, result.query_page):
        assert page.read_text().count("data:image/jpeg") >= 11
    monkeypatch.setattr(c3dhash.demo, "train_run", lambda *_, **__: pytest.fail("trained again"))
    again = run_demo(tmp_path)
    assert (again.indexed.added, again.indexed.unchanged) == (0, 12)
    assert again.trained.numbers["mAP"] == result.trained.numbers["mAP"]


def test_a_folder_of_somebody_else_is_left_alone(tiny_demo, tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report/report.html").write_text("mine")
    with pytest.raises(UsageError, match=r"holds what c3dhash demo did not write \(report\)"):
        run_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_the_untrained_network_is_the_one_training_began_with(tiny_demo, tmp_path):
    run_demo(tmp_path)
    torch.manual_seed(0)
    start = c3dhash.demo.build_model(c3dhash.demo.SETTINGS, num_classes=3).state_dict()
    untrained = load_run(tmp_path / "untrained").model.state_dict()
    assert all(torch.equal(start[name], untrained[name]) for name in start)


def held_out(directory: Path, order: np.ndarray) -> tuple[float, float]:
    """mAP and accuracy of the demo's network on its held-out videos, with the queries' frames in another order."""
    run, dataset = load_run(directory / "run"), find_dataset(directory / "data")
    reader = ClipReader(*run.model.clip_size[:2], FrameCache(directory / "frames", max_bytes=1 << 30))
    encoder = Encoder(run.model)
    gallery, queries = dataset.split("gallery"), dataset.split("query")
    found = encoder(np.stack([reader.evaluation_clip(sample) for sample in gallery]))
    asked = encoder(np.stack([reader.evaluation_clip(sample)[order] for sample in queries]))
    labels = dataset.labels(queries)
    counts = rank_counts(
        pack_codes(asked.embeddings), pack_codes(found.embeddings), labels, dataset.labels(gallery), hash_length=48
    )
    return mean_defined(average_precision(counts)), float((asked.scores.argmax(1) == labels).mean())


@pytest.mark.slow
def test_motion_is_learned_and_only_motion(tmp_path):
    result = run_demo(tmp_path)
    assert result.trained.numbers["mAP"]["expected"] >= 0.90
    assert result.untrained.numbers["mAP"]["expected"] < 0.35
    frames = SETTINGS.num_frames
    ordered = held_out(tmp_path, np.arange(frames))
    assert ordered[0] == pytest.approx(result.trained.numbers["mAP"]["expected"], abs=0.02)
    shuffled = [held_out(tmp_path, np.random.default_rng(seed).permutation(frames)) for seed in range(5)]
    print("ordered", ordered, "shuffled", shuffled)
    assert np.mean([mean_ap for mean_ap, _ in shuffled]) < ordered[0] - 0.2
    one_frame = [held_out(tmp_path, np.full(frames, place)) for place in range(frames)]
    print("one frame", one_frame)
    assert np.mean([accuracy for _, accuracy in one_frame]) < 0.30, "chance is 1/6"
