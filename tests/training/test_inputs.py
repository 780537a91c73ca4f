"""What training reads: clips and frozen features; hash heads that start from a code without training."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from functools import partial

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
from c3dhash.training import kept as kept_rows
from c3dhash.training.augmentation import Augmentation
from c3dhash.training.inputs import AugmentedClips, keep_stages
from c3dhash.training.pictures import batches_by_shape, view_sides
from c3dhash.training.train import train_run
from c3dhash.training.videos import training_videos
from c3dhash.video.cache import FrameCache
from c3dhash.video.clips import ClipReader
from c3dhash.video.normalization import normalize
from c3dhash.video.transforms import whole_clip

CONFIG = replace(TINY, backbone="tiny", flip=True, min_crop_scale=0.7)


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


def keep(motion, tmp_path, cache, config, *, interval_seconds=None):
    """Return what frozen stages give of the videos of the motion set, and what it was made of."""
    model = build_model(config, num_classes=3)
    model.backbone.preprocessing = replace(model.preprocessing, interval_seconds=interval_seconds)
    reader = ClipReader.of_network(model.clip_size, model.preprocessing, cache)
    videos = training_videos(motion, reader, config)
    return keep_stages(model, reader, videos, config, run_dir=tmp_path), model, reader, videos


@pytest.mark.parametrize(("backbone", "first"), [("tiny", 1), ("resnet3d10", 4)])
def test_heads_alone_train_on_features_of_crops(motion, tmp_path, cache, backbone, first):
    config = replace(CONFIG, backbone=backbone, views=2, freeze_stages=first)
    kept, model, reader, videos = keep(motion, tmp_path, cache, config)
    num_videos = len(videos.samples)
    assert len(kept.views) == 2 * num_videos
    features = kept.features(np.array([3, 0]))
    assert features.shape == (3, 2, model.backbone.feature_dim)
    encoder = Encoder(model, device="cpu", precision="fp32")
    clip = reader.training_clip(
        videos.train[1], seed=(config.seed, 1, 1), draw=Augmentation(config, size=16, channels="RGB").clip
    )
    row = kept.views[num_videos + 1]
    np.testing.assert_allclose(row, encoder(np.stack([clip])).features[0], rtol=1e-2, atol=1e-3)
    assert np.array_equal(kept.features(np.array([0, 1]))[1, 1], row)
    assert not np.allclose(kept.views[1], row)
    assert np.array_equal(features[-1], kept.encode(np.array([3, 0])).features)
    batch, rng = kept.load(np.array([4, 0, 4] * 9), seed=(1,)), np.random.default_rng(0)
    rows = [[np.array_equal(row, kept.view(number, index, rng)) for number in range(3)]
            for row, index in zip(batch, [4, 0, 4] * 9, strict=True)]  # fmt: skip
    assert np.all(np.any(rows, axis=1)) and np.all(np.any(rows, axis=0)), "each is some view, and each view is drawn"
    assert np.array_equal(batch, kept.load(np.array([4, 0, 4] * 9), seed=(1,)))


@pytest.mark.parametrize("backbone", ["resnet3d10", pytest.param("c3d", marks=pytest.mark.slow), "tsn_resnet18"])
def test_kept_stages_give_what_the_network_does(motion, tmp_path, cache, backbone):
    first = len(build_backbone(backbone).stages()) - 1
    config = replace(CONFIG, backbone=backbone, size=64, num_frames=8, views=1, min_crop_scale=0.6, freeze_stages=first)
    kept, model, reader, videos = keep(motion, tmp_path, cache, config)
    clips, indices = AugmentedClips(model, reader, videos, config), np.array([14, 3, 0])
    for mine, theirs in zip(kept.encode(indices), clips.encode(indices), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(kept.features(indices)[-1], kept.encode(indices).features, rtol=1e-4, atol=1e-5)

    # A view is a map of the whole picture, and training sees windows of it, as large as what a square clip gives.
    (side,) = view_sides(1, size=64, cells=kept.indexed.shape[-1], min_crop_scale=0.6)
    draw = partial(whole_clip, short_side=side, flip=True)
    clip = reader.training_clip(
        videos.samples[3], seed=(config.seed, 0, 3), draw=lambda frames, rng: draw(frames, rng=rng)
    )
    with torch.inference_mode():
        row = model.eval().backbone.run_stages(
            normalize(torch.from_numpy(clip[None].copy()), model.preprocessing), last=first
        )
    np.testing.assert_allclose(kept.views[3], row[0], rtol=1e-2, atol=1e-2)
    height, width = kept.indexed.shape[-2:]
    assert kept.views[3].shape[-1] > width, "the motion set's videos are wide, so that there are several windows"
    windows = [kept.views[3][..., top : top + height, left : left + width]
               for top in range(row.shape[-2] - height + 1) for left in range(row.shape[-1] - width + 1)]  # fmt: skip
    drawn = kept.load(np.full(40 * len(windows), 3), seed=(1,))
    assert drawn.shape[1:] == kept.indexed.shape[1:]
    rows = np.array([[np.array_equal(one, other) for other in (*windows, kept.indexed[3])] for one in drawn])
    assert np.all(rows.any(axis=1)) and np.all(rows.any(axis=0)), "each window is drawn, and what is indexed"
    assert rows[:, -1].mean() == pytest.approx(0.5, abs=0.15), "views are drawn alike, not windows"
    assert np.array_equal(drawn, kept.load(np.full(40 * len(windows), 3), seed=(1,)))


def test_sizes_of_views():
    assert view_sides(3, size=224, cells=7, min_crop_scale=0.7) == [224, 256, 288]
    assert view_sides(3, size=112, cells=7, min_crop_scale=0.7) == [112, 128, 144]
    assert view_sides(2, size=224, cells=7, min_crop_scale=1.0) == [224, 224]
    assert view_sides(1, size=16, cells=1, min_crop_scale=0.7) == [16]


def test_clips_of_one_shape_go_together():
    """Two batches are looked at together, and give the same clips, each once."""
    rng = np.random.default_rng(0)
    clips = [np.full((2, int(rng.integers(3, 5)), 4, 3), number, np.uint8) for number in range(23)]
    found = list(batches_by_shape(iter(clips), 4))
    assert all(np.array_equal(stack[i], clips[place]) for places, stack in found for i, place in enumerate(places))
    assert sorted(place for places, _ in found for place in places) == list(range(23))
    assert all(len(places) <= 4 and max(places) // 8 == min(places) // 8 for places, _ in found)
    assert len(found) < 12 and list(batches_by_shape([], 4)) == []


@pytest.mark.parametrize(("first", "views"), [(4, 0), (3, 0), (3, 1)])
def test_last_view_is_what_a_video_is_indexed_by(motion, tmp_path, cache, first, views):
    config = replace(CONFIG, backbone="resnet3d10", views=views, freeze_stages=first)
    kept, _, reader, videos = keep(motion, tmp_path, cache, config, interval_seconds=1 / 25)
    assert {len(reader.evaluation_clips(sample)) for sample in videos.samples} == {3}
    assert kept.num_views == views and len(kept.indexed) == 3 * 18
    rng = np.random.default_rng(0)
    last = np.stack([kept.view(views, index, rng) for index in range(18)])
    if first == 4:  # features: the heads train on what they will read
        np.testing.assert_allclose(last, kept.encode(np.arange(18)).features, rtol=1e-5)
    else:
        assert np.array_equal(last, kept.indexed[1::3])


@pytest.mark.parametrize("first", [3, 4])
def test_what_is_kept_lies_in_a_file_without_a_name(motion, tmp_path, cache, monkeypatch, first):
    config = replace(CONFIG, backbone="resnet3d10", views=1, freeze_stages=first)
    expected, model, reader, videos = keep(motion, tmp_path, cache, config)
    monkeypatch.setattr(kept_rows, "IN_MEMORY_BYTES", expected.indexed[:1].nbytes * 17)  # a batch and one more
    (tmp_path / "run").mkdir()
    kept = keep_stages(model, reader, videos, config, run_dir=tmp_path / "run")
    assert isinstance(kept.views._values, np.memmap) and not isinstance(expected.views._values, np.memmap)
    assert all(np.array_equal(kept.views[i], expected.views[i]) for i in range(18))
    assert isinstance(kept.indexed, np.memmap) and np.array_equal(kept.indexed, expected.indexed)
    assert not list((tmp_path / "run").iterdir())
    monkeypatch.setattr(kept_rows, "SPARE_BYTES", 1 << 60)
    with pytest.raises(TrainingError, match=r"take fewer --views, or --freeze"):
        keep_stages(model, reader, videos, config, run_dir=tmp_path / "run")
    assert not list((tmp_path / "run").iterdir())


def test_room_is_asked_for_before_all_is_computed(tmp_path, monkeypatch):
    """A tenth of the parts is made; the message counts them all."""
    monkeypatch.setattr(kept_rows, "IN_MEMORY_BYTES", 1 << 20)
    monkeypatch.setattr(kept_rows, "SPARE_BYTES", 1 << 60)
    made = []

    def parts():
        for number in range(1000):
            made.append(number)
            yield np.zeros(1 << 18, np.float32)

    with pytest.raises(TrainingError, match=r"takes another 1\.0 GiB"):
        kept_rows.put_together(parts(), num_parts=1024, directory=tmp_path)
    assert len(made) < 3


@pytest.mark.parametrize("freeze", [False, True])
def test_training_goes_on_from_a_code_without_training(motion, tmp_path, cache, weights, freeze, monkeypatch):
    started = []

    def remember(model, features, *, method, seed):
        assert features.shape == (12, model.backbone.feature_dim)  # of the training videos
        initialize_hash_head(model, features, method=method, seed=seed)
        values = torch.from_numpy(features) @ model.hash_head.weight.T + model.hash_head.bias
        started.append((values.mean(0).abs().max().item(), values.square().mean().sqrt().item()))

    monkeypatch.setattr("c3dhash.training.train.initialize_hash_head", remember)
    config = replace(
        CONFIG, weights=str(weights), freeze=freeze, init="itq", hash_length=8, epochs=1, min_crop_scale=None
    )
    train_run(motion, config, run_dir=tmp_path / "run", cache=cache)
    ((mean, size),) = started
    assert mean < 1e-2 and size == pytest.approx(1, abs=1e-2)


def test_what_does_not_go_together(motion, tmp_path, cache):
    with pytest.raises(UsageError, match="freeze needs a trained backbone: give --weights"):
        train_run(motion, replace(CONFIG, freeze=True), run_dir=tmp_path / "run", cache=cache)
    with pytest.raises(UsageError, match=r"init \('itq'\) is for a hash head, and --task classify has none"):
        replace(CONFIG, init="itq", task="classify")


def test_rows_of_several_shapes_in_another_order():
    arrays = [np.full(shape, number, np.float16) for number, shape in enumerate([(2, 3), (1, 4), (2, 2)])]
    values = np.concatenate([array.reshape(-1) for array in arrays])
    rows = kept_rows.Rows(values, [array.shape for array in arrays], np.array([2, 0, 1]))
    assert len(rows) == 3
    assert all(np.array_equal(rows[row], arrays[place]) for row, place in enumerate([2, 0, 1]))


def test_views_of_videos_of_several_shapes_keep_their_places(motion, tmp_path, cache, monkeypatch):
    """Every other video stands upright: what goes through the stages together is not in the order of the videos."""
    config = replace(CONFIG, backbone="resnet3d10", views=2, freeze_stages=3)
    training_clip = ClipReader.training_clip

    def turned(self, sample, *, seed, draw):
        turn = (0, 2, 1, 3) if seed[2] % 2 else (0, 1, 2, 3)
        return training_clip(self, sample, seed=seed, draw=lambda frames, rng: draw(frames.transpose(turn), rng))

    monkeypatch.setattr(ClipReader, "training_clip", turned)
    kept, model, reader, videos = keep(motion, tmp_path, cache, config)
    sides = view_sides(2, size=16, cells=kept.indexed.shape[-1], min_crop_scale=config.min_crop_scale)
    for number, index in ((0, 1), (0, 4), (1, 7), (1, 17)):
        draw = partial(Augmentation(config, size=16, channels="RGB").picture, short_side=sides[number])
        clip = reader.training_clip(videos.samples[index], seed=(config.seed, number, index), draw=draw)
        assert (clip.shape[1] > clip.shape[2]) == bool(index % 2)
        with torch.inference_mode():
            batch = normalize(torch.from_numpy(clip[None].copy()), model.preprocessing)
            row = model.eval().backbone.run_stages(batch, last=3)[0]
        np.testing.assert_allclose(kept.views[number * 18 + index], row, rtol=1e-2, atol=1e-2)
