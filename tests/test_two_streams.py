"""Two runs, one on RGB and one on optical flow, that answer together."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import TINY

from c3dhash.config import EncodeConfig, EvaluateConfig
from c3dhash.errors import UsageError
from c3dhash.evaluation.evaluate import evaluate_run
from c3dhash.evaluation.evaluate_classes import evaluate_classes
from c3dhash.models.encode import Encoded
from c3dhash.models.fusion import fuse_encoded, fusion_weights
from c3dhash.models.runs import load_run
from c3dhash.recognition.recognize import recognize_over_time, recognize_videos
from c3dhash.training.train import train_run
from c3dhash.video.cache import FrameCache
from c3dhash.video.clips import ClipReader

ENCODE = EncodeConfig(device="cpu", precision="fp32", engine="torch")


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> FrameCache:
    return FrameCache(tmp_path_factory.mktemp("frames"), max_bytes=1 << 28)


@pytest.fixture(scope="module")
def runs(motion, tmp_path_factory, cache):
    """One on RGB, one on flow, both trained on the videos of the motion set."""
    folder = tmp_path_factory.mktemp("runs")
    flow = replace(TINY, backbone="i3d_flow", num_frames=4, size=32, epochs=1, weights="none")
    return [load_run(train_run(motion, config, run_dir=folder / name, cache=cache))
            for name, config in (("rgb", TINY), ("flow", flow))]  # fmt: skip


@pytest.fixture(scope="module")
def readers(runs, cache):
    return [ClipReader.of_network(run.model.clip_size, run.model.preprocessing, cache) for run in runs]


@pytest.mark.parametrize(
    ("fuse", "weights"), [("sum", (1, 1)), ("mean", (0.5, 0.5)), ("2,0.5", (2, 0.5)), ("0,1", (0, 1))]
)
def test_class_scores_are_added(motion, runs, readers, fuse, weights):
    config = EvaluateConfig(task="classify", fuse=fuse)
    alone = [evaluate_classes(run, motion, reader=reader, encode=ENCODE).scores
             for run, reader in zip(runs, readers, strict=True)]  # fmt: skip
    report = evaluate_classes(runs, motion, reader=readers, config=config, encode=ENCODE)
    logits = weights[0] * alone[0].astype(float) + weights[1] * alone[1]
    np.testing.assert_allclose(report.scores, logits, rtol=1e-6)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(report.probabilities, expected, rtol=1e-6)
    truth = np.array([sample.labels[0] for sample in report.samples])
    assert report.numbers["accuracy@1"] == (logits.argmax(1) == truth).mean()
    assert [row["accuracy@1"] for row in report.numbers["runs"]] == [(s.argmax(1) == truth).mean() for s in alone]
    assert [row["weight"] for row in report.numbers["runs"]] == list(weights)
    means = evaluate_classes(
        runs, motion, reader=readers, config=replace(config, average="probabilities"), encode=ENCODE
    ).probabilities
    np.testing.assert_allclose(means.sum(axis=1), 1, rtol=1e-6)


def test_codes_lie_beside_each_other(motion, runs, readers):
    report = evaluate_run(runs, motion, reader=readers, encode=ENCODE)
    alone = [evaluate_run(run, motion, reader=reader, encode=ENCODE).codes
             for run, reader in zip(runs, readers, strict=True)]  # fmt: skip
    assert report.numbers["hash_length"] == 32
    assert np.array_equal(report.codes.gallery_codes, np.concatenate([codes.gallery_codes for codes in alone], axis=1))
    assert np.array_equal(report.codes.query_codes, np.concatenate([codes.query_codes for codes in alone], axis=1))
    assert {row["method"] for row in report.numbers["comparison"]} >= {"itq"}


def test_features_count_alike():
    """Beside each other at length 1, their cosine is the mean of the two."""
    rng = np.random.default_rng(0)
    parts = [Encoded(rng.standard_normal((5, 8)), None, scale * rng.standard_normal((5, dim)))
             for scale, dim in ((1, 7), (100, 9))]  # fmt: skip
    fused = fuse_encoded(parts, (1, 1))
    assert fused.scores is None and fused.embeddings.shape == (5, 16)

    def cosines(features):
        unit = features / np.linalg.norm(features, axis=1, keepdims=True)
        return unit @ unit.T

    np.testing.assert_allclose(cosines(fused.features), (cosines(parts[0].features) + cosines(parts[1].features)) / 2)


def test_videos_are_recognised_by_both(motion, runs):
    videos = [sample.video for sample in motion.split("query")[:3]]
    alone = [list(recognize_videos(run, videos, top=3, config=ENCODE)) for run in runs]
    fused = list(recognize_videos(runs, videos, top=3, fusion="0,1", config=ENCODE))
    for one, other in zip(fused, alone[1], strict=True):
        assert [p.label for p in one.top] == [p.label for p in other.top], "the second alone"
        assert [p.probability for p in one.top] == pytest.approx([p.probability for p in other.top], abs=1e-5)
    windows = replace(ENCODE, window_seconds=0.5)
    assert all(one.error is None for one in recognize_videos(runs, videos, config=windows))
    both = list(recognize_videos(runs, videos, top=3, config=ENCODE))
    assert all(sum(p.probability for p in one.top) == pytest.approx(1) for one in both)
    assert [one.top for one in both] not in ([one.top for one in each] for each in alone)
    options = {"top": 3, "window_seconds": 0.5, "config": ENCODE}
    (follow,) = recognize_over_time(runs, videos[:1], fusion="1,0", **options)
    (first,) = recognize_over_time(runs[0], videos[:1], **options)
    assert [each.label for each in follow.segments] == [each.label for each in first.segments]
    assert [p.probability for p in follow.top] == pytest.approx([p.probability for p in first.top], abs=1e-5)
    (both_ways,) = recognize_over_time(runs, videos[:1], **options)
    assert both_ways.top != first.top


@pytest.mark.parametrize("text", ["", "max", "1", "1,2,3", "1,-1", "0,0", "nan,1", "inf,1"])
def test_what_is_no_fusion(text):
    with pytest.raises(UsageError, match=r"fuse \(.*\) must be sum, mean, or 2 weights of 0 or more"):
        fusion_weights(text, num_runs=2)


def test_the_commands(run, motion_dir, motion, runs):
    paths = [str(each.path) for each in runs]
    code, out, _ = run("evaluate", "--task", "classify", "--runs", *paths, "--data", motion_dir, "--out", "report")
    assert code == 0 and "fused" in out and paths[0] in out
    code, out, _ = run("evaluate", "--runs", *paths, "--fuse", "1,2", "--data", motion_dir, "--no-compare", "--json")
    assert code == 0 and json.loads(out)["hash_length"] == 32
    video = motion.split("query")[0].video
    code, out, _ = run("classify", video, "--runs", *paths, "--fuse", "mean", "--json")
    assert code == 0 and len(json.loads(out)[0]["top5"]) == 3
    code, _, err = run("classify", video, "--fuse", "mean", "--model", paths[0])
    assert code == 2 and "one run is not fused: --runs takes two: leave out --fuse" in err
    code, _, err = run("classify", video, "--runs", *paths, "--model", paths[0])
    assert code == 2 and "--runs names the runs: leave out --model" in err
    code, _, err = run("classify", "--camera", "0", "--runs", *paths)
    assert code == 2 and "leave out --runs" in err


def test_runs_of_other_classes_are_refused(motion, runs, readers):
    other = replace(runs[1], labels=(*runs[1].labels[:-1], "fly"))
    with pytest.raises(UsageError, match=r"have other classes \('fly' is one of one alone\) and cannot be fused"):
        evaluate_classes([runs[0], other], motion, reader=readers, encode=ENCODE)
    turned = replace(runs[1], labels=runs[1].labels[::-1])
    with pytest.raises(UsageError, match="they stand in another order"):
        recognize_videos([runs[0], turned], [motion.split("query")[0].video])
