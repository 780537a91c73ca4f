"""What training reads: clips and frozen features; hash heads that start from a code without training."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TINY
from safetensors.torch import save_file
from tiny import TinyBackbone

from c3dhash.errors import TrainingError, UsageError
from c3dhash.models.backbones import BACKBONES, build_backbone
from c3dhash.models.encode import Encoder
from c3dhash.models.hashing import initialize_hash_head
from c3dhash.models.hashnet import build_model
from c3dhash.models.runs import load_run
from c3dhash.models.weights import weights_metadata
from c3dhash.training import inputs
from c3dhash.training.inputs import AugmentedClips, keep_stages
from c3dhash.training.train import train_run
from c3dhash.training.videos import training_videos
from c3dhash.video.cache import FrameCache
from c3dhash.video.clips import ClipReader

CONFIG = replace(TINY, backbone="tiny")


@pytest.fixture(autouse=True, scope="module")
def tiny():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "tiny", TinyBackbone)
        yield


@pytest.fixture
def cache(tmp_path) -> FrameCache:
    return FrameCache(tmp_path / "frames", max_bytes=1 << 28)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights for the backbone of CONFIG."""
    path = tmp_path_factory.mktemp("weights") / "backbone.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(3)
        backbone = build_backbone(CONFIG.backbone, num_frames=CONFIG.num_frames, size=CONFIG.size)
    tensors = {name: tensor.contiguous() for name, tensor in backbone.state_dict().items()}
    save_file(tensors, path, metadata=weights_metadata(backbone))
    return path


def test_only_the_heads_are_trained(motion, tmp_path, cache, weights, caplog):
    config = replace(CONFIG, weights=str(weights), freeze=True, views=3, epochs=40)
    with caplog.at_level(logging.WARNING, logger="c3dhash"):
        run = load_run(train_run(motion, config, run_dir=tmp_path / "run", cache=cache))
    assert caplog.text.count("the codes collapse") <= 1, "not in each epoch"
    trained = run.model.state_dict()
    plain = build_backbone(CONFIG.backbone, num_frames=CONFIG.num_frames, size=CONFIG.size)
    before = load_run(train_run(motion, replace(config, epochs=1), run_dir=tmp_path / "one", cache=cache))
    for name in plain.state_dict():
        assert torch.equal(trained[f"backbone.{name}"], before.model.state_dict()[f"backbone.{name}"])
    assert not torch.equal(trained["hash_head.weight"], before.model.state_dict()["hash_head.weight"])
    losses = [json.loads(line)["class_loss"] for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 40
    assert losses[-1] < 0.97 * losses[0]


@pytest.mark.parametrize(("backbone", "first"), [("tiny", 1), ("resnet3d10", 3), ("resnet3d10", 4)])
def test_kept_stages_give_what_the_network_does(motion, tmp_path, cache, backbone, first):
    config = replace(CONFIG, backbone=backbone, views=2, freeze_stages=first)
    model = build_model(config, num_classes=3)
    reader = ClipReader.of_network(model.clip_size, model.preprocessing, cache)
    videos = training_videos(motion, reader, config)
    kept = keep_stages(model, reader, videos, config, run_dir=tmp_path)
    clips, num_videos = AugmentedClips(model, reader, videos, config), len(videos.train) + len(videos.val)
    assert kept.views.shape[:2] == (2, num_videos)
    features = kept.features(np.array([3, 0]))
    assert features.shape == (3, 2, model.backbone.feature_dim)
    encoder = Encoder(model, device="cpu", precision="fp32")
    clip = reader.training_clip(
        videos.train[1], seed=(config.seed, 1, 1), min_crop_scale=config.min_crop_scale, flip=True
    )
    read = kept.read(torch.from_numpy(kept.views[1, 1:2])).detach().numpy()
    np.testing.assert_allclose(read, encoder(np.stack([clip])).features, rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(kept.features(np.array([0, 1]))[1, 1], read[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(features[-1], kept.encode(np.array([3, 0])).features, rtol=1e-4, atol=1e-5)
    assert not np.allclose(kept.views[0], kept.views[1])
    indices = np.array([14, 3, 0])
    for mine, theirs in zip(kept.encode(indices), clips.encode(indices), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-2, atol=1e-3)
    batch = kept.load(np.array([4, 0, 4] * 9), seed=(1,))
    rows = [[np.array_equal(row, kept.view(number, index)) for number in range(3)]
            for row, index in zip(batch, [4, 0, 4] * 9, strict=True)]  # fmt: skip
    assert np.all(np.any(rows, axis=1)) and np.all(np.any(rows, axis=0)), "each is some view, and each view is drawn"
    assert np.array_equal(batch, kept.load(np.array([4, 0, 4] * 9), seed=(1,)))


@pytest.mark.parametrize(("first", "views"), [(4, 0), (3, 0), (3, 1)])
def test_last_view_is_what_a_video_is_indexed_by(motion, tmp_path, cache, first, views):
    config = replace(CONFIG, backbone="resnet3d10", views=views, freeze_stages=first)
    model = build_model(config, num_classes=3)
    model.backbone.preprocessing = replace(model.preprocessing, interval_seconds=1 / 25)
    reader = ClipReader.of_network(model.clip_size, model.preprocessing, cache)
    videos = training_videos(motion, reader, config)
    assert {len(reader.evaluation_clips(sample)) for sample in videos.samples} == {3}
    kept = keep_stages(model, reader, videos, config, run_dir=tmp_path)
    assert len(kept.views) == views and len(kept.whole) == 3 * 18
    last = kept.view(views, np.arange(18))
    if first == 4:  # features: the heads train on what they will read
        np.testing.assert_allclose(last, kept.encode(np.arange(18)).features, rtol=1e-5)
    else:
        assert np.array_equal(last, kept.whole[1::3])


def test_what_is_kept_lies_in_a_file_without_a_name(motion, tmp_path, cache, monkeypatch):
    config = replace(CONFIG, views=1, freeze_stages=1)
    model = build_model(config, num_classes=3)
    reader = ClipReader.of_network(model.clip_size, model.preprocessing, cache)
    videos = training_videos(motion, reader, config)
    expected = keep_stages(model, reader, videos, config, run_dir=tmp_path)
    monkeypatch.setattr(inputs, "IN_MEMORY_BYTES", expected.whole[:1].nbytes * 17)  # a batch and one more
    (tmp_path / "run").mkdir()
    kept = keep_stages(model, reader, videos, config, run_dir=tmp_path / "run")
    assert isinstance(kept.views.base, np.memmap) and np.array_equal(kept.views, expected.views)
    assert isinstance(kept.whole, np.memmap) and np.array_equal(kept.whole, expected.whole)
    assert not list((tmp_path / "run").iterdir())
    monkeypatch.setattr(inputs, "SPARE_BYTES", 1 << 60)
    with pytest.raises(TrainingError, match=r"take fewer --views, or --freeze"):
        keep_stages(model, reader, videos, config, run_dir=tmp_path / "run")
    assert not list((tmp_path / "run").iterdir())


@pytest.mark.parametrize("freeze", [False, True])
def test_training_goes_on_from_a_code_without_training(motion, tmp_path, cache, weights, freeze, monkeypatch):
    started = []

    def remember(model, features, *, method, seed):
        assert features.shape == (12, model.backbone.feature_dim)  # of the training videos
        initialize_hash_head(model, features, method=method, seed=seed)
        values = torch.from_numpy(features) @ model.hash_head.weight.T + model.hash_head.bias
        started.append((values.mean(0).abs().max().item(), values.square().mean().sqrt().item()))

    monkeypatch.setattr("c3dhash.training.train.initialize_hash_head", remember)
    config = replace(CONFIG, weights=str(weights), freeze=freeze, init="itq", hash_length=8, epochs=1)
    train_run(motion, config, run_dir=tmp_path / "run", cache=cache)
    ((mean, size),) = started
    assert mean < 1e-2 and size == pytest.approx(1, abs=1e-2)


def test_what_does_not_go_together(motion, tmp_path, cache):
    with pytest.raises(UsageError, match="freeze needs a trained backbone: give --weights"):
        train_run(motion, replace(CONFIG, freeze=True), run_dir=tmp_path / "run", cache=cache)
    with pytest.raises(UsageError, match=r"init \('itq'\) is for a hash head, and --task classify has none"):
        replace(CONFIG, init="itq", task="classify")
