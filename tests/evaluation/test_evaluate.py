from __future__ import annotations

import json
import logging

import cv2
import numpy as np
import pytest
import torch

from c3dhash.bits import pack_codes
from c3dhash.config import EncodeConfig, EvaluateConfig
from c3dhash.datasets.samples import Dataset
from c3dhash.errors import DatasetError, UsageError
from c3dhash.evaluation.accuracy import label_average_precision
from c3dhash.evaluation.codes import Codes, load_codes
from c3dhash.evaluation.evaluate import describe, evaluate_codes, evaluate_run, write_report
from c3dhash.files import MARKER
from c3dhash.models.hashnet import HashNet
from c3dhash.models.runs import load_run, save_run
from c3dhash.video.clips import ClipReader
from c3dhash.video.normalization import normalize

FP32 = EncodeConfig(precision="fp32", device="cpu")

# The keys that scripts outside this project read (DESIGN, section 8).
KEYS = {
    "mAP", "mAP@100/hits", "mAP@100/min", "mAP@100/k", "precision@100", "precision@1", "precision@radius<=2",
    "empty@radius<=2", "recall@radius<=2", "dead_bits", "distinct_codes", "queries_without_relevant",
}  # fmt: skip


def test_by_hand():
    # Distances of the one query: 0, 1, 2; relevant: yes, no, yes. AP = (1/1 + 2/3) / 2 = 5/6.
    codes = Codes(
        np.array([[0], [1], [3]], np.uint8) << 4,
        np.array([5, 6, 5]),
        np.array([[0]], np.uint8),
        np.array([5]),
        hash_length=4,
    )
    report = evaluate_codes(codes, config=EvaluateConfig(k=2, radius=1))
    assert report.numbers["mAP"] == {key: pytest.approx(5 / 6) for key in ("expected", "best", "worst")}
    assert report.numbers["mAP@2/min"] == pytest.approx(1 / 2)
    assert report.numbers["precision@2"] == pytest.approx(1 / 2)
    assert report.numbers["precision@radius<=1"] == pytest.approx(1 / 2)
    assert (report.numbers["num_queries"], report.numbers["num_gallery"], report.numbers["hash_length"]) == (1, 3, 4)


def test_a_run_on_its_data_has_the_promised_keys(untrained_run, motion, no_cache, tmp_path):
    reader = ClipReader(4, 16, no_cache)
    report = evaluate_run(untrained_run, motion, reader=reader, encode=FP32)
    assert set(report.numbers) >= KEYS | {
        "accuracy@1", "accuracy@5", "mean_class_accuracy", "share_near_zero", "comparison",
    }  # fmt: skip
    assert json.loads(json.dumps(report.numbers)) == report.numbers
    assert report.numbers["num_gallery"] == 9
    assert report.numbers["accuracy@5"] == 1.0, "there are three classes"

    page = write_report(report, tmp_path / "report")
    assert {path.name for path in page.parent.iterdir()} == {
        "report.html", "report.json", "codes.npz", "precision_recall.png", MARKER,
    }  # fmt: skip
    assert evaluate_codes(load_codes(page.parent / "codes.npz")).numbers["mAP"] == report.numbers["mAP"]
    assert cv2.imread(str(page.parent / "precision_recall.png")).shape[2] == 3
    text = page.read_text()
    assert text.count("data:image/jpeg;base64,") >= 6 * 7, "film strips of queries and hits"
    assert "move_up" in text
    assert f"{report.numbers['mAP']['expected']:.4f}" in text
    for row in report.numbers["comparison"]:
        assert row["method"] in ("itq", "rabitq+8") or f"{row['mAP']:.4f}" in text
    assert json.loads((page.parent / "report.json").read_text())["comparison"] == report.numbers["comparison"]


def test_a_run_is_compared_with_codes_without_training(untrained_run, motion, no_cache, caplog):
    reader, depth = ClipReader(4, 16, no_cache), EvaluateConfig(k=4)
    with caplog.at_level(logging.WARNING, logger="c3dhash"):
        report = evaluate_run(untrained_run, motion, reader=reader, config=depth, encode=FP32)
    rows = {row["method"]: row for row in report.numbers["comparison"]}
    assert list(rows) == ["float", "itq", "lsh", "rabitq+8", "run", "finer"]
    assert rows["run"]["mAP"] == report.numbers["mAP"]["expected"]
    assert rows["run"]["mAP@4/hits"] == report.numbers["mAP@4/hits"]
    assert [row["bytes_per_item"] for row in rows.values()] == [2048, None, 2, None, 2, 2]
    assert rows["itq"]["mAP"] is None
    assert "itq is not compared with: itq needs more clips to be fitted on than bits, got 9 for" in caplog.text
    assert "comparison" not in dict(describe(report.numbers)), "it has a table of its own"
    # by definition: the features of the samples, each through the network alone
    model = untrained_run.model
    parts = {split: [model.backbone(normalize(torch.from_numpy(reader.evaluation_clips(sample)[0])[None],
                                              model.preprocessing)).detach().numpy()[0]
                     for sample in motion.split(split)] for split in ("gallery", "query")}  # fmt: skip
    centred = {split: np.stack(part) - np.mean(parts["gallery"], axis=0) for split, part in parts.items()}
    unit = {split: part / np.linalg.norm(part, axis=1, keepdims=True) for split, part in centred.items()}
    labels = [motion.labels(motion.split(split)) for split in ("gallery", "query")]
    values = label_average_precision(unit["gallery"] @ unit["query"].T, labels[0][:, None] == labels[1])
    assert rows["float"]["mAP"] == pytest.approx(values.mean(), abs=1e-6)


def test_no_comparison_where_it_is_not_asked_for(untrained_run, motion, no_cache, tmp_path):
    reader, config = ClipReader(4, 16, no_cache), EvaluateConfig(compare=False)
    report = evaluate_run(untrained_run, motion, reader=reader, config=config, encode=FP32)
    assert "comparison" not in report.numbers
    assert "without training" not in write_report(report, tmp_path / "report").read_text()


def test_a_run_that_knows_no_classes(untrained_run, motion, no_cache, tmp_path, caplog):
    model = HashNet(untrained_run.model.backbone, hash_length=4, num_classes=None)
    config = {"backbone": "resnet3d10", "shortcut": None, "hash_length": 4, "finished": True}
    save_run(tmp_path / "run", model, config=config, labels=())
    run = load_run(tmp_path / "run")
    assert run.labels == ()
    with caplog.at_level(logging.WARNING, logger="c3dhash"):
        report = evaluate_run(run, motion, reader=ClipReader(4, 16, no_cache), encode=FP32)
    assert set(report.numbers) >= KEYS | {"share_near_zero", "comparison"}
    assert not {"accuracy@1", "accuracy@5", "mean_class_accuracy"} & set(report.numbers)
    assert all(row["mAP"] > 0 for row in report.numbers["comparison"])
    assert caplog.text == ""


def test_the_training_videos_are_the_gallery_where_there_is_none(untrained_run, motion, no_cache):
    samples = tuple(sample for sample in motion.samples if sample.split in ("train", "query"))
    dataset = Dataset(motion.directory, motion.format, motion.classes, samples)
    report = evaluate_run(untrained_run, dataset, reader=ClipReader(4, 16, no_cache), encode=FP32)
    assert report.numbers["num_gallery"] == 12


def test_a_missing_split_is_said_before_anything_is_encoded(untrained_run, motion):
    samples = tuple(sample for sample in motion.samples if sample.split not in ("query", "val"))
    without_queries = Dataset(motion.directory, motion.format, motion.classes, samples)
    with pytest.raises(DatasetError, match="has no query videos"):
        evaluate_run(untrained_run, without_queries, reader=None)


def test_val_videos_are_asked_where_there_are_no_queries(untrained_run, motion, no_cache, caplog):
    samples = tuple(sample for sample in motion.samples if sample.split in ("train", "val"))
    dataset = Dataset(motion.directory, motion.format, motion.classes, samples)
    with caplog.at_level("WARNING", logger="c3dhash"):
        report = evaluate_run(untrained_run, dataset, reader=ClipReader(4, 16, no_cache), encode=FP32)
    assert report.numbers["num_queries"] == 6
    assert "has no test videos, so that its val videos are the queries" in caplog.text


def test_another_data_set_is_refused(untrained_run, motion, no_cache):
    reader = ClipReader(4, 16, no_cache)
    other = Dataset(motion.directory, motion.format, ("move_up", "move_down", "fly"), motion.samples)
    with pytest.raises(DatasetError, match="'fly' is unknown"):
        evaluate_run(untrained_run, other, reader=reader)
    empty = Dataset(motion.directory, motion.format, motion.classes, tuple(motion.split("train")))
    with pytest.raises(DatasetError, match="no query videos"):
        evaluate_run(untrained_run, empty, reader=reader, encode=FP32)


def test_a_report_replaces_nothing_but_a_report(tmp_path):
    codes = Codes(np.eye(8, 2, dtype=np.uint8), np.arange(8), np.eye(2, dtype=np.uint8), np.arange(2), hash_length=16)
    (tmp_path / "notes.txt").write_text("mine")
    for title in ("first", "second"):
        assert title in write_report(evaluate_codes(codes, title=title), tmp_path).read_text()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/codes.npz").write_text("mine")
    with pytest.raises(UsageError, match=r"other' holds what c3dhash evaluate did not write \(codes.npz\)"):
        write_report(evaluate_codes(codes), tmp_path / "other")
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["codes.npz"]


def test_rows_for_people():
    rows = dict(describe({"mAP": {"expected": 0.5, "best": 0.6, "worst": 0.4}, "dead_bits": 3, "precision@1": None}))
    assert rows == {
        "mAP": "0.5000 (worst order of ties 0.4000, best 0.6000)", "dead bits": "3", "precision@1": "not defined",
    }  # fmt: skip


@pytest.mark.realdata
def test_published_codes_of_ucf101(real_data):
    with np.load(real_data / "csq_codes" / "ucf101_64bit.npz") as file:
        codes = Codes(
            pack_codes(file["gallery_bits"]), file["gallery_labels"],
            pack_codes(file["query_bits"]), file["query_labels"], hash_length=64,
        )  # fmt: skip
    numbers = evaluate_codes(codes).numbers
    assert numbers["mAP"]["expected"] == pytest.approx(0.845858, abs=4 * 8e-6)
    assert set(numbers) >= KEYS
