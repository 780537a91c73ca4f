from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, top_k_accuracy_score

from c3dhash.config import EncodeConfig, EvaluateConfig
from c3dhash.datasets.samples import Dataset
from c3dhash.errors import CheckpointError, DatasetError, UsageError
from c3dhash.evaluation.evaluate import evaluate_run
from c3dhash.evaluation.evaluate_classes import class_places, evaluate_classes
from c3dhash.models.hashnet import HashNet
from c3dhash.models.runs import load_run, save_run
from c3dhash.models.scores import class_probabilities
from c3dhash.video.clips import ClipReader
from c3dhash.video.normalization import normalize

FP32 = EncodeConfig(precision="fp32", device="cpu", batch_size=4)


@pytest.fixture
def reader(no_cache):
    return ClipReader(4, 16, no_cache)


def logits_of(run, reader, samples):
    """By definition: each clip through the network alone, [samples][clips, num_classes]."""
    with torch.inference_mode():
        return [
            np.concatenate([
                run.model(normalize(torch.from_numpy(clip)[None], run.model.preprocessing)).logits.numpy()
                for clip in reader.evaluation_clips(sample)
            ])
            for sample in samples
        ]  # fmt: skip


def test_the_promised_keys_and_what_they_say(untrained_run, motion, reader):
    report = evaluate_classes(untrained_run, motion, reader=reader, encode=FP32)
    numbers, queries = report.numbers, motion.split("query")
    assert set(numbers) == {
        "accuracy@1", "accuracy@5", "mean_class_accuracy", "ece", "report", "most_confused", "classes",
        "confusion_matrix", "num_videos", "num_unreadable",
    }  # fmt: skip
    assert json.loads(json.dumps(numbers)) == numbers
    labels = motion.labels(queries)
    logits = np.concatenate(logits_of(untrained_run, reader, queries))
    assert report.scores == pytest.approx(logits, abs=1e-5)
    assert report.probabilities == pytest.approx(class_probabilities(logits, is_multi_label=False), abs=1e-5)
    assert numbers["accuracy@1"] == accuracy_score(labels, logits.argmax(axis=1)) == numbers["report"]["accuracy"]
    assert numbers["accuracy@5"] == 1, "there are three classes"
    assert top_k_accuracy_score(labels, logits, k=1) == numbers["accuracy@1"]
    confusion = np.array(numbers["confusion_matrix"])
    assert confusion.sum(axis=1).tolist() == [2, 2, 2]
    assert np.trace(confusion) / 6 == pytest.approx(numbers["accuracy@1"])
    assert sum(pair["count"] for pair in numbers["most_confused"]) == 6 - np.trace(confusion)
    assert (numbers["num_videos"], numbers["num_unreadable"], numbers["classes"]) == (6, 0, list(motion.classes))
    assert 0 < numbers["ece"] < 1


def test_before_and_after_the_softmax(untrained_run, motion, no_cache):
    wide = ClipReader(4, 16, no_cache, crops=3, views=2)  # six of each clip
    queries = motion.split("query")
    # steep scores, whose softmax differs from one crop to the next
    run = dataclasses.replace(untrained_run, model=steep(untrained_run.model))
    per_clip = logits_of(run, wide, queries)
    assert {len(logits) for logits in per_clip} == {6}
    before = evaluate_classes(run, motion, reader=wide, encode=FP32)
    after = evaluate_classes(
        run, motion, reader=wide, encode=FP32, config=EvaluateConfig(task="classify", average="probabilities")
    )
    expected_before = class_probabilities(np.stack([x.mean(axis=0) for x in per_clip]), is_multi_label=False)
    expected_after = np.stack([class_probabilities(x, is_multi_label=False).mean(axis=0) for x in per_clip])
    assert before.probabilities == pytest.approx(expected_before, abs=1e-4)
    assert after.probabilities == pytest.approx(expected_after, abs=1e-4)
    assert np.abs(expected_before - expected_after).max() > 0.01, "or this test sees nothing"


def steep(model: HashNet) -> HashNet:
    twin = HashNet(model.backbone, hash_length=None, num_classes=3)
    with torch.no_grad():
        twin.class_head.weight.copy_(model.class_head.weight * 60)
        twin.class_head.bias.zero_()
    return twin.eval()


def test_a_run_that_only_classifies(untrained_run, motion, reader, tmp_path):
    model = HashNet(untrained_run.model.backbone, hash_length=None, num_classes=3)
    config = {"backbone": "resnet3d10", "shortcut": None, "hash_length": 4, "finished": True}
    save_run(tmp_path / "run", model, config=config, labels=motion.classes)
    run = load_run(tmp_path / "run")
    assert evaluate_classes(run, motion, reader=reader, encode=FP32).numbers["num_videos"] == 6
    with pytest.raises(CheckpointError, match=r"run '.*run' was trained with --task classify and makes no codes"):
        evaluate_run(run, motion, reader=reader, encode=FP32)


def test_several_labels(untrained_run, motion, reader):
    samples = tuple(
        dataclasses.replace(sample, labels=tuple(sorted({sample.labels[0], 1}))) for sample in motion.samples
    )
    dataset = dataclasses.replace(motion, samples=samples)
    run = dataclasses.replace(untrained_run, config={**untrained_run.config, "is_multi_label": True})
    numbers = evaluate_classes(run, dataset, reader=reader, encode=FP32).numbers
    assert set(numbers) == {"class_mAP", "class_AP", "report", "thresholds", "num_videos", "num_unreadable"}
    assert numbers["class_AP"]["move_sideways"] == pytest.approx(1), "all have it"
    assert numbers["class_mAP"] == pytest.approx(np.mean(list(numbers["class_AP"].values())))
    assert numbers["report"]["samples avg"]["support"] == 10
    assert json.loads(json.dumps(numbers)) == numbers


def test_videos_without_a_label_are_predicted_and_not_scored(untrained_run, motion, reader):
    query = motion.split("query")[0]
    samples = tuple(dataclasses.replace(s, labels=()) if s is query else s for s in motion.samples)
    report = evaluate_classes(untrained_run, dataclasses.replace(motion, samples=samples), reader=reader, encode=FP32)
    assert report.labels.tolist().count(-1) == 1
    assert np.sum(report.numbers["confusion_matrix"]) == 5
    assert len(report.probabilities) == 6


def test_unreadable_videos_are_counted(untrained_run, motion, reader, tmp_path, caplog):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    query = motion.split("query")[0]
    samples = tuple(dataclasses.replace(s, video=bad) if s is query else s for s in motion.samples)
    report = evaluate_classes(untrained_run, dataclasses.replace(motion, samples=samples), reader=reader, encode=FP32)
    assert (report.numbers["num_videos"], report.numbers["num_unreadable"]) == (5, 1)
    assert "bad.mp4" in caplog.text


def test_classes_are_matched_by_name(motion):
    labels = ("Fly", "move up", "still", "Move_Down", "Move-Sideways")
    assert motion.classes == ("move_down", "move_sideways", "move_up")
    assert class_places(motion, labels, run_name="run").tolist() == [3, 4, 1]
    # where a name is there as it is, that one is meant
    assert class_places(motion, ("MOVE UP", *motion.classes), run_name="run").tolist() == [1, 2, 3]
    with pytest.raises(
        DatasetError, match=r"class 'move_up' of '.*' is not one of the 2 that 'run' knows \('move_down'"
    ):
        class_places(motion, motion.classes[:2], run_name="run")


def test_names_that_are_one_are_refused(motion):
    twins = dataclasses.replace(motion, classes=("move_up", "Move-Up", "move_down"))
    with pytest.raises(DatasetError, match=r"classes 'move_up' and 'Move-Up' of '.*' are one to 'run'"):
        class_places(twins, ("move up", "move down"), run_name="run")
    with pytest.raises(DatasetError, match=r"class 'move_up' of"):
        class_places(motion, ("move_down", "move_sideways", "Move up", "MOVE-UP"), run_name="run")


def test_a_run_for_several_labels_and_videos_of_one(untrained_run, motion, reader):
    run = dataclasses.replace(untrained_run, config={**untrained_run.config, "is_multi_label": True})
    report = evaluate_classes(run, motion, reader=reader, encode=FP32)
    assert report.labels.sum(axis=1).tolist() == [1] * 6
    assert "class_mAP" in report.numbers


def test_a_data_set_with_some_of_the_classes(untrained_run, motion, reader):
    """Labels count among the classes of the run, wherever these stand."""
    whole = evaluate_classes(untrained_run, motion, reader=reader, encode=FP32)
    up = motion.classes.index("move_up")
    some = tuple(dataclasses.replace(s, labels=(0,)) for s in motion.samples if s.labels == (up,))
    report = evaluate_classes(
        untrained_run, Dataset(motion.directory, motion.format, ("move_up",), some), reader=reader, encode=FP32
    )
    assert report.labels.tolist() == [up, up]
    confusion = np.array(report.numbers["confusion_matrix"])
    assert confusion[up].tolist() == whole.numbers["confusion_matrix"][up]
    assert confusion.sum() == 2


def test_what_is_refused(untrained_run, motion, reader, tmp_path):
    without = dataclasses.replace(motion, samples=tuple(s for s in motion.samples if s.split == "train"))
    with pytest.raises(DatasetError, match="has no query videos with a label"):
        evaluate_classes(untrained_run, without, reader=None)
    model = HashNet(untrained_run.model.backbone, hash_length=4, num_classes=None)
    save_run(
        tmp_path / "hash", model, labels=(),
        config={"backbone": "resnet3d10", "shortcut": None, "hash_length": 4, "finished": True},
    )  # fmt: skip
    with pytest.raises(CheckpointError, match="has no class head"):
        evaluate_classes(load_run(tmp_path / "hash"), motion, reader=reader, encode=FP32)
    with pytest.raises(UsageError, match=r"average \('probabilities'\) goes with --task classify"):
        evaluate_run(untrained_run, motion, reader=reader, config=EvaluateConfig(average="probabilities"))
    several = dataclasses.replace(motion, samples=tuple(dataclasses.replace(s, labels=(0, 1)) for s in motion.samples))
    with pytest.raises(DatasetError, match=r"may have several labels, and '.*' was trained to choose one"):
        evaluate_classes(untrained_run, several, reader=reader, encode=FP32)
