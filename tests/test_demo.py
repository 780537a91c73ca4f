from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY
from safetensors.torch import save_file

import c3dhash.demo
from c3dhash.bits import pack_codes
from c3dhash.datasets.find import find_dataset
from c3dhash.demo import SETTINGS, run_demo, run_real_demo
from c3dhash.errors import UsageError
from c3dhash.evaluation.metrics import average_precision, mean_defined, rank_counts
from c3dhash.models.backbones import build_backbone
from c3dhash.models.encode import Encoder
from c3dhash.models.fingerprints import fingerprint
from c3dhash.models.hashnet import HashNet
from c3dhash.models.runs import Run, load_run
from c3dhash.models.weights import weights_metadata
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
    found = encoder(np.stack([reader.evaluation_clips(sample)[0] for sample in gallery]))
    asked = encoder(np.stack([reader.evaluation_clips(sample)[0][order] for sample in queries]))
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


class TestRealVideos:
    @pytest.fixture
    def weights(self, tmp_path, monkeypatch):
        """A tiny network with a class head in the place of I3D's weights."""
        monkeypatch.setattr(c3dhash.demo, "DEFAULT_BACKBONE", "resnet3d10")
        monkeypatch.setattr(c3dhash.demo, "DEFAULT_WEIGHTS", str(tmp_path / "weights.safetensors"))
        backbone = build_backbone("resnet3d10", num_frames=4, size=16)
        tensors = {name: tensor.contiguous() for name, tensor in backbone.state_dict().items()}
        save_file(tensors, tmp_path / "weights.safetensors", metadata=weights_metadata(backbone))
        model = HashNet(backbone, hash_length=None, num_classes=2).eval()
        run = Run(tmp_path, {"backbone": "resnet3d10"}, ("a", "b"), model, fingerprint(model))
        monkeypatch.setattr(c3dhash.demo, "published_run", lambda *_: run)

    def test_what_they_look_like(self, weights, motion_dir, tmp_path, monkeypatch):
        monkeypatch.setattr(c3dhash.demo, "MAX_REAL_VIDEOS", 6)
        result = run_real_demo(tmp_path / "demo", motion_dir / "gallery")
        assert (result.num_found, result.indexed.added, len(result.hits)) == (9, 5, 5)
        assert str(result.query.video) not in {hit.video for hit, _ in result.hits}
        assert [str(seen.video) for _, seen in result.hits] == [hit.video for hit, _ in result.hits]
        assert result.query.top[0].label in "ab" and result.query_page.read_text().count("data:image/jpeg") >= 6
        again = run_real_demo(tmp_path / "demo", motion_dir / "gallery")
        assert (again.indexed.added, again.indexed.unchanged) == (0, 5)

    def test_too_few(self, weights, tmp_path):
        (tmp_path / "empty").mkdir()
        with pytest.raises(UsageError, match="holds 0 videos, and a demo needs two at least"):
            run_real_demo(tmp_path / "demo", tmp_path / "empty")
