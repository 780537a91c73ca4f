from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import TINY
from safetensors.torch import save_file
from tiny import NormedBackbone, TinyBackbone

from c3dhash.config import EncodeConfig, TrainConfig
from c3dhash.datasets.samples import Dataset
from c3dhash.errors import DatasetError, TrainingError, UsageError
from c3dhash.evaluation.evaluate import evaluate_run
from c3dhash.files import MARKER
from c3dhash.models.backbones import BACKBONES, build_backbone
from c3dhash.models.batch_norm import training_mode
from c3dhash.models.calibration import load_calibration
from c3dhash.models.hashnet import HashNet
from c3dhash.models.runs import load_run
from c3dhash.models.scaling import FeatureScaling
from c3dhash.models.weights import weights_metadata
from c3dhash.training import epoch, gradients, train
from c3dhash.training.epoch import train_epoch
from c3dhash.training.start import begin
from c3dhash.training.train import train_run
from c3dhash.video.cache import FrameCache
from c3dhash.video.clips import ClipReader

TIMINGS = {"seconds", "clips_per_second"}


CONFIG = replace(TINY, backbone="tiny")


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(BACKBONES, "tiny", TinyBackbone)
    monkeypatch.setitem(BACKBONES, "normed", NormedBackbone)


@pytest.fixture
def cache(tmp_path) -> FrameCache:
    return FrameCache(tmp_path / "frames", max_bytes=1 << 28)


def numbers(run_dir) -> list[dict]:
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMINGS} for row in rows]


def save_weights(folder: Path, backbone: str, **size: int) -> tuple[str, dict[str, torch.Tensor]]:
    """Write random weights of a backbone; return the path and the tensors."""
    torch.manual_seed(5)
    built = build_backbone(backbone, **size)
    tensors = {name: tensor.contiguous() for name, tensor in built.state_dict().items()}
    save_file(tensors, folder / "w.safetensors", metadata=weights_metadata(built))
    return str(folder / "w.safetensors"), tensors


@pytest.mark.draws_curves
@pytest.mark.parametrize("task", ["joint", "hash", "classify"])
def test_a_run_directory_holds_what_it_should(motion, tmp_path, cache, task):
    run_dir = train_run(motion, replace(CONFIG, task=task), run_dir=tmp_path / "run", cache=cache)
    names = {path.name for path in run_dir.iterdir()}
    of_codes = set() if task == "classify" else {"calibration.json"}
    assert names == of_codes | {
        "config.json", "model.safetensors", "labels.txt", "videos.txt", "metrics.jsonl", "curves.png", "tensorboard",
        "last.pt", MARKER,
    }  # fmt: skip
    if of_codes:
        calibration = load_calibration(run_dir, hash_length=CONFIG.hash_length)
        assert calibration.all_counts.sum() == 6 * 12  # val videos, training videos
        assert calibration.relevant_counts.sum() == 6 * 4
    assert list((run_dir / "tensorboard").iterdir())
    assert cv2.imread(str(run_dir / "curves.png")).shape[0] > 100
    run = load_run(run_dir)
    assert run.config["finished"]
    assert run.config["margin"] == 5
    assert (run.model.hash_head is None, run.model.class_head is None) == (task == "classify", task == "hash")
    rows = numbers(run_dir)
    assert [row["epoch"] for row in rows] == [1, 2]
    expected = {"joint": {"triplet_loss", "class_loss", "active_share", "val_mAP", "val_accuracy", "val_dead_bits"},
                "hash": {"triplet_loss", "active_share", "val_mAP", "val_share_near_zero"},
                "classify": {"class_loss", "val_accuracy"}}[task]  # fmt: skip
    assert set(rows[0]) >= expected
    assert ("class_loss" in rows[0]) == (task != "hash")
    assert ("triplet_loss" in rows[0]) == (task != "classify")
    best = max(row["val_accuracy" if task == "classify" else "val_mAP"] for row in rows)
    assert run.config["best_value"] == pytest.approx(best)
    assert run.config["best_metric"] == ("val_accuracy" if task == "classify" else "val_mAP")


def test_it_learns_what_can_be_learned(motion, tmp_path, cache):
    # Twelve videos of three classes, whose chance is a loss of log 3.
    config = replace(
        TINY, backbone="normed", task="classify", epochs=12, flip=False, min_crop_scale=1.0, weight_decay=0.0
    )
    run_dir = train_run(motion, config, run_dir=tmp_path / "run", cache=cache)
    assert numbers(run_dir)[-1]["class_loss"] < 0.6 * np.log(3)


def test_several_labels_a_video(motion, tmp_path, cache):
    # move_up and move_down share a second label, move_sideways has a third of its own, one video has none.
    labels = {0: (0, 3), 1: (1, 3), 2: (2,)}
    samples = [replace(sample, labels=labels[sample.labels[0]]) for sample in motion.samples]
    bare = next(index for index, sample in enumerate(samples) if sample.split == "train")
    samples[bare] = replace(samples[bare], labels=())
    dataset = Dataset(motion.directory, motion.format, (*motion.classes, "vertical"), tuple(samples))
    run = load_run(train_run(dataset, CONFIG, run_dir=tmp_path / "run", cache=cache))
    assert run.model.class_head.out_features == 4
    assert 0 < numbers(run.path)[-1]["class_loss"] < 4 * np.log(2), "what a class head of zeros has"
    report = evaluate_run(run, dataset, reader=ClipReader(4, 16, cache), encode=EncodeConfig(device="cpu"))
    assert 0 < report.numbers["class_mAP"] <= 1
    # by definition: 3 gallery videos a motion; a query of move_up finds those of move_up and of move_down relevant
    assert report.counts.num_relevant.tolist() == [
        3 if sample.labels == (2,) else 6 for sample in dataset.split("query")
    ]


def test_unreadable_training_videos_are_left_out(motion, tmp_path, cache, caplog):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    samples = [*motion.split("train"), replace(motion.split("train")[0], video=broken)]
    with caplog.at_level(logging.WARNING, logger="c3dhash"):
        kept = ClipReader(4, 16, cache).readable(samples, workers=2, description="test")
    assert kept == samples[:-1]
    assert "1 of 13 videos" in caplog.text
    assert str(broken) in caplog.text
    with pytest.raises(DatasetError, match="none of 1 videos"):
        ClipReader(4, 16, cache).readable(samples[-1:], workers=1, description="test")


def test_nothing_to_train_or_to_validate_on(motion, tmp_path, cache):
    queries = Dataset(motion.directory, motion.format, motion.classes, tuple(motion.split("query")))
    with pytest.raises(TrainingError, match="no train videos"):
        train_run(queries, CONFIG, run_dir=tmp_path / "run", cache=cache)
    one_class = tuple(sample for sample in motion.samples if sample.labels == (0,))
    with pytest.raises(TrainingError, match="1 class"):
        train_run(
            Dataset(motion.directory, motion.format, motion.classes, one_class),
            CONFIG,
            run_dir=tmp_path / "one",
            cache=cache,
        )


def test_a_loss_that_is_not_finite_stops(motion, tmp_path, cache, monkeypatch):
    monkeypatch.setattr(
        "c3dhash.training.step.classification_loss", lambda logits, labels, **_: logits.sum() * float("nan")
    )
    with pytest.raises(TrainingError, match=r"loss is nan in epoch 1.*learning_rate below 0\.07"):
        train_run(motion, CONFIG, run_dir=tmp_path / "run", cache=cache)


def test_val_videos_without_an_answer_choose_by_accuracy(motion, tmp_path, cache, monkeypatch, caplog):
    # No val video is of a class that is trained on.
    samples = [s for s in motion.samples if (s.split == "val") == (s.labels == (0,))]
    dataset = Dataset(motion.directory, motion.format, motion.classes, tuple(samples))
    assert dataset.split("val") and dataset.split("train")
    accuracies = iter([0.2, 0.9, 0.9, 0.1])
    monkeypatch.setattr("c3dhash.training.validation.top_k_accuracy", lambda *_, **__: next(accuracies))
    with caplog.at_level(logging.WARNING, logger="c3dhash"):
        run = load_run(train_run(dataset, replace(CONFIG, epochs=4), run_dir=tmp_path / "run", cache=cache))
    assert run.config["best_epoch"] == 3, "of equal epochs the later one"
    assert "val_mAP" not in numbers(run.path)[0]
    assert (run.config["best_metric"], run.config["best_value"]) == ("val_accuracy", 0.9)
    assert "val mAP is not defined" in caplog.text


def test_queries_that_were_trained_on_are_reported(motion, tmp_path, cache, caplog):
    run = load_run(train_run(motion, replace(CONFIG, epochs=1), run_dir=tmp_path / "run", cache=cache))
    reader = ClipReader(4, 16, cache)
    with caplog.at_level(logging.WARNING, logger="c3dhash"):
        evaluate_run(run, motion, reader=reader, encode=EncodeConfig(device="cpu"))
        assert "are among the videos" not in caplog.text
        leaking = [replace(sample, split="query") if sample.split == "val" else sample for sample in motion.samples]
        dataset = Dataset(motion.directory, motion.format, motion.classes, tuple(leaking))
        evaluate_run(run, dataset, reader=reader, encode=EncodeConfig(device="cpu"))
    assert "6 of 12 queries are among the videos" in caplog.text


@pytest.mark.parametrize(
    "field, value",
    [("hash_length", 0), ("margin", -1), ("epochs", 0), ("task", "both"), ("optimizer", "adam"), ("size", 4),
     ("momentum", 1.5), ("classes_per_batch", 1), ("clips_per_class", 1),
     ("precision", "fp16"), ("margin", float("nan"))],
)  # fmt: skip
def test_values_that_are_not_allowed(field, value):
    with pytest.raises(UsageError, match=rf"{field} \('?{value}'?\)"):
        TrainConfig(**{field: value})


def test_weights_in_pretrain_are_used_unless_refused(motion, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pretrain").mkdir()
    config = replace(TINY, backbone="resnet3d18")
    backbone = build_backbone(config.backbone, num_frames=TINY.num_frames, size=TINY.size)
    with torch.no_grad():
        backbone.stem_bn.weight.fill_(3.0)
    tensors = {name: tensor.contiguous() for name, tensor in backbone.state_dict().items()}
    save_file(tensors, "pretrain/r3d18_K_200ep.pth", metadata=weights_metadata(backbone))
    found, state = begin(config, classes=motion.classes)
    assert found.weights == "pretrain/r3d18_K_200ep.pth"
    assert torch.equal(state.model.backbone.stem_bn.weight, torch.full((64,), 3.0))
    found, state = begin(replace(config, weights="none"), classes=motion.classes)
    assert found.weights is None
    assert torch.equal(state.model.backbone.stem_bn.weight, torch.ones(64))


def test_everything_is_trained_on_and_the_last_epoch_kept(motion, tmp_path, cache):
    samples = tuple(replace(s, split="train") if s.split == "val" else s for s in motion.samples)
    dataset = Dataset(motion.directory, motion.format, motion.classes, samples)
    run = load_run(train_run(dataset, replace(CONFIG, val_share=0.0, epochs=3), run_dir=tmp_path / "run", cache=cache))
    assert (run.config["best_epoch"], run.config["best_metric"], run.config["best_value"]) == (3, None, None)
    assert len((run.path / "videos.txt").read_text().split()) == len(dataset.split("train"))
    assert not any(name.startswith("val_") for row in numbers(run.path) for name in row)


def test_stages_that_are_frozen_stay_and_the_others_learn(motion, tmp_path, cache):
    path, tensors = save_weights(tmp_path, "resnet3d10", num_frames=TINY.num_frames, size=TINY.size)
    config = replace(TINY, weights=path, views=1, refit=False)
    run = load_run(train_run(motion, config, run_dir=tmp_path / "run", cache=cache))
    assert run.config["freeze_stages"] == 3  # of 4, on a CPU
    for name, tensor in run.model.backbone.state_dict().items():
        is_frozen = torch.equal(tensor, tensors[name])
        if not name.startswith("stage4"):
            assert is_frozen, name
        elif name.endswith(("conv1.weight", "conv2.weight")):
            assert not is_frozen, name
    with pytest.raises(UsageError, match=r"freeze_stages \(5\) must be 4 or less, since resnet3d10 has so many"):
        train_run(motion, replace(config, freeze_stages=5), run_dir=tmp_path / "other", cache=cache)
    assert not (tmp_path / "other").exists()
    with pytest.raises(UsageError, match=r"freeze_stages \(0\) trains the whole backbone"):
        replace(config, freeze=True, freeze_stages=0)


def test_a_batch_that_memory_does_not_hold_trains_the_same(motion, tmp_path, cache, monkeypatch):
    path, _ = save_weights(tmp_path, "resnet3d10", num_frames=TINY.num_frames, size=TINY.size)
    config = replace(TINY, weights=path, views=1, epochs=1, refit=False)
    whole = numbers(train_run(motion, config, run_dir=tmp_path / "whole", cache=cache))
    monkeypatch.setattr(gradients, "total_memory_bytes", lambda: 1)
    sizes = []
    real = gradients.fitting_rows
    monkeypatch.setattr(epoch, "fitting_rows", lambda *arguments: sizes.append(real(*arguments)) or sizes[-1])
    in_parts = numbers(train_run(motion, config, run_dir=tmp_path / "parts", cache=cache))
    assert sizes == [1]
    for mine, theirs in zip(in_parts, whole, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3, abs=1e-5)


def test_the_heads_alone_of_a_network_that_looks_at_frames_are_trained(motion, tmp_path, cache, caplog):
    path, tensors = save_weights(tmp_path, "tsn_mobilenet_v2", num_frames=2, size=32)
    config = replace(TINY, backbone="tsn_mobilenet_v2", num_frames=2, size=32, weights=path, epochs=1)
    with caplog.at_level(logging.INFO):
        run = load_run(train_run(motion, config, run_dir=tmp_path / "run", cache=cache))
    assert "tsn_mobilenet_v2 stays as the weights have it, and the heads alone are trained" in caplog.text
    assert run.config["freeze_stages"] == len(run.model.backbone.stages()) > 2
    for name, tensor in run.model.backbone.state_dict().items():
        assert torch.equal(tensor, tensors[name]), name


@pytest.mark.parametrize("freeze", [False, True])
def test_weights_on_pictures_are_only_a_start_for_a_network_on_flow(motion, tmp_path, cache, caplog, freeze):
    path, tensors = save_weights(tmp_path, "tsn_mobilenet_v2", num_frames=1, size=32)
    config = replace(
        TINY, backbone="tsn_flow_mobilenet_v2", num_frames=1, size=32, weights=path, epochs=1, freeze=freeze
    )
    with caplog.at_level(logging.WARNING if freeze else logging.INFO):
        run = load_run(train_run(motion, config, run_dir=tmp_path / "run", cache=cache))
    what = "frozen, it cannot tell x from y; --freeze-stages 0 trains it" if freeze else "everything is trained"
    assert f"first layer takes the sum of all channels: {what}" in caplog.text
    first = run.model.backbone.network.features[0][0].weight
    mean = tensors["network.features.0.0.weight"].mean(dim=1)
    assert all(torch.allclose(first[:, channel], mean, atol=1e-7) for channel in range(10)) == freeze
    assert (run.config["freeze_stages"] == 0) != freeze and run.config["freeze_bn"] == freeze
    norms = [key for key in tensors if key.endswith("running_var")]
    state = run.model.backbone.state_dict()
    adapted = [key for key in norms if not torch.equal(state[key], tensors[key])]
    assert adapted == ([] if freeze else norms), "batch norms take the strength of flow"


@pytest.mark.parametrize("freeze_bn", [True, None])
def test_batch_norms_have_seen_flow_before_anything_is_fitted_to_features(
    motion, tmp_path, cache, monkeypatch, freeze_bn
):
    """Features of a batch in training are those of evaluation, which what stands before the heads was fitted to."""
    path, _ = save_weights(tmp_path, "tsn_mobilenet_v2", num_frames=1, size=32)
    config = replace(
        TINY, backbone="tsn_flow_mobilenet_v2", num_frames=1, size=32, weights=path, epochs=1, freeze_bn=freeze_bn
    )
    distances = []

    def look(state, inputs, labels, config, **options):
        batch = torch.from_numpy(inputs.load(np.arange(9), seed=(0,)))
        with torch.no_grad():
            evaluated = inputs.read(batch)
            training_mode(state.model, freeze_bn=bool(config.freeze_bn), but_first=True)
            trained = inputs.read(batch)
        distances.append(float((trained - evaluated).norm() / evaluated.norm()))
        return train_epoch(state, inputs, labels, config, **options)

    monkeypatch.setattr(train, "train_epoch", look)
    train_run(motion, config, run_dir=tmp_path / "run", cache=cache)
    assert distances[0] < 3, "without it 20, and a number of ten digits"


def test_batch_norms_that_know_flow_already_are_frozen_when_they_are_told_to_be(motion, tmp_path, cache):
    path, tensors = save_weights(tmp_path, "tsn_flow_mobilenet_v2", num_frames=1, size=32)
    config = replace(
        TINY, backbone="tsn_flow_mobilenet_v2", num_frames=1, size=32, weights=path, epochs=1,
        freeze_stages=0, freeze_bn=True,
    )  # fmt: skip
    state = load_run(train_run(motion, config, run_dir=tmp_path / "run", cache=cache)).model.backbone.state_dict()
    statistics = [name for name in tensors if "running" in name]
    assert len(statistics) > 50 and all(torch.equal(state[name], tensors[name]) for name in statistics)


def test_a_run_gives_the_codes_that_its_training_saw(motion, tmp_path, cache):
    # The scaling of features is folded into the heads, which read features at length 1.
    torch.manual_seed(5)
    model = HashNet(TinyBackbone(), hash_length=16, num_classes=3, has_unit_features=True)
    model.scaling = FeatureScaling(TinyBackbone.feature_dim)
    features = 100 * torch.rand(50, TinyBackbone.feature_dim) ** 3
    model.scaling.fit(torch.nn.functional.normalize(features, dim=1))
    assert model.head_inputs(features).std(0).mean() == pytest.approx(1, abs=0.05)
    twin = model.without_scaling()
    for mine, theirs in zip(twin.heads(features)[1:], model.heads(features)[1:], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
    for mine, theirs in zip(model.heads(10 * features)[1:], model.heads(features)[1:], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)  # the scale of features does not matter


def weights_after(motion, run_dir, cache, config) -> dict[str, torch.Tensor]:
    """Return the raw weights after a training, of the last epoch."""
    train_run(motion, config, run_dir=run_dir, cache=cache)
    return torch.load(run_dir / "last.pt", weights_only=True)["model"]


def test_micro_batches_train_as_whole_ones_do(motion, tmp_path, cache):
    """Without batch norms the triplet loss of a batch of six, two at a time, is the same to rounding."""
    config = replace(CONFIG, epochs=2)
    whole = weights_after(motion, tmp_path / "whole", cache, config)
    parts = weights_after(motion, tmp_path / "parts", cache, replace(config, micro_batch=2))
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-3, atol=1e-5)


def test_batch_norms_of_micro_batches_count_each_clip_once(motion, tmp_path, cache):
    """Their statistics move once a part, not twice, though each part is read twice."""
    config = replace(TINY, epochs=1, learning_rate=0.0, weight_decay=0.0)
    seen = []
    for micro_batch in (None, 3):
        config = replace(config, micro_batch=micro_batch)
        values = weights_after(motion, tmp_path / str(micro_batch), cache, config)
        seen.append(values["backbone.stem_bn.running_var"])
    # Two batches of six: 0.81 of the first variance, 1, is left; in parts of three, 0.6561.
    left = [(value - 1).abs().mean() for value in seen]
    assert float(left[1] / left[0]) == pytest.approx((1 - 0.9**4) / (1 - 0.9**2), rel=0.1)


def test_the_average_is_what_is_validated_and_saved(motion, tmp_path, cache):
    config = replace(CONFIG, epochs=3, ema=0.9)
    run_dir = train_run(motion, config, run_dir=tmp_path / "run", cache=cache)
    plain = train_run(motion, replace(config, ema=0.0), run_dir=tmp_path / "plain", cache=cache)
    last, other = (torch.load(path / "last.pt", weights_only=True) for path in (run_dir, plain))
    assert all(torch.equal(last["model"][name], other["model"][name]) for name in other["model"]), (
        "training is the same"
    )
    without_val = replace(motion, samples=tuple(sample for sample in motion.samples if sample.split != "val"))
    saved = train_run(without_val, replace(config, val_share=0.0), run_dir=tmp_path / "end", cache=cache)
    run = load_run(saved)
    average = torch.load(saved / "last.pt", weights_only=True)["average"]
    assert run.config["best_epoch"] == 3
    torch.testing.assert_close(run.model.state_dict()["hash_head.weight"], average["hash_head.weight"])
    assert not torch.equal(average["hash_head.weight"], last["model"]["hash_head.weight"])
    assert numbers(run_dir)[0]["val_class_loss"] != numbers(plain)[0]["val_class_loss"]


@pytest.mark.parametrize("task", ["joint", "classify"])
def test_whatever_may_be_turned_changes_the_training(motion, tmp_path, cache, task):
    uneven = [s for i, s in enumerate(motion.samples) if s.split != "train" or s.labels != (0,) or i % 4]
    dataset = replace(motion, samples=tuple(uneven))
    config = replace(CONFIG, task=task, epochs=1, warmup_epochs=0.0, val_share=0.0)
    plain = weights_after(dataset, tmp_path / "plain", cache, config)
    for settings in (
        {"mixup": 0.4}, {"cutmix": 1.0}, {"crop": "fixed"}, {"crop": "resized"}, {"class_weights": True},
        {"sampling": "videos"}, {"rate_batch": 12}, {"backbone_rate": 0.1}, {"rand_augment": 9}, {"color_jitter": 0.4},
        {"rotation": 10.0},
    ):  # fmt: skip
        name, value = next(iter(settings.items()))
        turned = weights_after(dataset, tmp_path / f"{name}-{value}", cache, replace(config, **settings))
        assert not all(torch.equal(plain[each], turned[each]) for each in plain), settings


def test_linear_scaling_is_a_higher_rate(motion, tmp_path, cache):
    config = replace(CONFIG, epochs=1, learning_rate=0.02)
    scaled = weights_after(motion, tmp_path / "scaled", cache, replace(config, rate_batch=3))  # batches are of 6
    plain = weights_after(motion, tmp_path / "plain", cache, replace(config, learning_rate=0.04))
    assert all(torch.equal(scaled[name], plain[name]) for name in plain)


def test_the_average_begins_again_with_a_refit(motion, tmp_path, cache):
    """What is saved at its end is the average of the second training alone."""
    path, _ = save_weights(tmp_path, "tiny", num_frames=CONFIG.num_frames, size=CONFIG.size)
    samples = tuple(sample for sample in motion.samples if sample.split != "val")
    dataset = replace(motion, samples=samples)
    config = replace(CONFIG, weights=path, freeze=True, epochs=3, ema=0.9)
    run = load_run(train_run(dataset, config, run_dir=tmp_path / "run", cache=cache))
    state = torch.load(run.path / "last.pt", weights_only=True)
    assert run.config["is_refit"] and state["num_averaged"] == 3 * 2, "two batches in each of three epochs"
    scaling = FeatureScaling(run.model.backbone.feature_dim)
    scaling.load_state_dict({name.removeprefix("scaling."): value for name, value in state["model"].items()
                             if name.startswith("scaling.")})  # fmt: skip
    head = torch.nn.Linear(*run.model.hash_head.weight.shape[::-1])
    head.load_state_dict({name: state["average"][f"hash_head.{name}"] for name in ("weight", "bias")})
    torch.testing.assert_close(scaling.folded(head).weight, run.model.hash_head.weight)


@pytest.mark.parametrize(("backbone", "first"), [pytest.param("resnet3d10", 2, marks=pytest.mark.slow), ("tiny", 1)])
def test_what_may_be_turned_behind_frozen_stages(motion, tmp_path, cache, backbone, first):
    """Each setting changes the training, or is refused in one line."""
    path, _ = save_weights(tmp_path, backbone, num_frames=4, size=16)
    config = replace(
        TINY, backbone=backbone, weights=path, freeze_stages=first, views=1, epochs=1, warmup_epochs=0.0, val_share=0.0
    )
    plain, refused = weights_after(motion, tmp_path / "plain", cache, config), set()
    for settings in (
        {"mixup": 0.4}, {"cutmix": 1.0}, {"crop": "fixed"}, {"rand_augment": 9}, {"micro_batch": 2},
        {"layer_decay": 0.5}, {"backbone_rate": 0.5}, {"rate_batch": 3}, {"min_crop_scale": 0.3}, {"rotation": 20.0},
    ):  # fmt: skip
        name = next(iter(settings))
        try:
            turned = weights_after(motion, tmp_path / name, cache, replace(config, **settings))
        except UsageError:
            refused.add(name)
            continue
        same = all(torch.equal(plain[each], turned[each]) for each in plain)
        assert not same or name in ("micro_batch", "min_crop_scale"), name  # of pictures of one cell all sides are one
    some, none = {"crop"}, {"cutmix", "micro_batch", "layer_decay", "backbone_rate"}
    assert refused == (some if first == 2 else none)
