"""The published recipes, from which `c3dhash train` must stand apart."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import reproduce
import torch
from click.testing import CliRunner

from c3dhash.evaluation.codes import Codes, load_codes
from c3dhash.evaluation.evaluate import evaluate_codes

TINY = ("--backbone", "resnet3d10", "--num-frames", "4", "--size", "16", "--hash-length", "16", "--epochs", "6")


def listed_triplets(embeddings: torch.Tensor, labels: list[int], margin: float) -> float:
    """The loss by the loops of the recipe: for each clip of the batch, the pairs of its class, with every negative."""
    hinges = []
    for label in labels:
        members = [i for i, other in enumerate(labels) if other == label]
        others = [i for i, other in enumerate(labels) if other != label]
        for (anchor, positive), negative in itertools.product(itertools.combinations(members, 2), others):
            near = float((embeddings[anchor] - embeddings[positive]).square().sum())
            far = float((embeddings[anchor] - embeddings[negative]).square().sum())
            hinges.append(max(0.0, margin + near - far))
    return sum(hinges) / len(hinges) if hinges else 0.0


@pytest.mark.parametrize("labels", [[0, 0, 0, 1, 1, 2], [0, 1, 0, 1, 0, 0, 0, 2, 2], [0, 1, 2], [0, 0, 0]])
def test_loss_is_that_of_the_listed_triplets(labels):
    embeddings = torch.tanh(torch.randn(len(labels), 8))
    loss = reproduce.published_triplet_loss(embeddings, torch.tensor(labels), margin=3.0)
    assert float(loss) == pytest.approx(listed_triplets(embeddings, labels, 3.0), rel=1e-5)


def test_loss_is_not_the_mean_over_ordered_triplets():
    # What `fixed` mends must change something.
    embeddings, labels = torch.tanh(torch.randn(9, 8)), torch.tensor([0, 1, 0, 1, 0, 0, 0, 2, 2])
    fixed = reproduce.batch_all_triplet_loss(embeddings, labels, margin=3.0)
    assert float(reproduce.published_triplet_loss(embeddings, labels, margin=3.0)) != pytest.approx(float(fixed))


def test_mean_ap_without_ties():
    # Distances 0, 1, 2, 3; relevant are the first and the third: (1 + 2/3) / 2.
    gallery = np.array([[0b0], [0b1], [0b11], [0b111]], np.uint8)
    codes = Codes(gallery, np.array([5, 6, 5, 6]), np.array([[0]], np.uint8), np.array([5]), 8)
    assert reproduce.published_mean_ap(codes) == pytest.approx((1 + 2 / 3) / 2)


def test_centers_of_a_power_of_two_are_rows_of_a_hadamard_matrix():
    centers = reproduce.csq_centers(12, 8, seed=0)
    products = centers @ centers.T
    assert np.array_equal(products[:8, :8], 8 * np.eye(8))
    assert np.array_equal(centers[8:], -centers[:4])


def test_centers_of_other_lengths_are_balanced():
    centers = reproduce.csq_centers(21, 48, seed=0)
    assert centers.shape == (21, 48) and set(np.unique(centers)) == {-1, 1}
    assert not centers.sum(1).any()
    assert len(np.unique(centers, axis=0)) == 21


@pytest.mark.parametrize("recipe", ["published", "fixed", "csq"])
def test_recipe_trains_and_scores_codes(recipe, motion_dir, tmp_path):
    arguments = [recipe, "--data", str(motion_dir), *TINY, "--learning-rate", "0.05"]
    arguments += ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "codes.npz")]
    result = CliRunner().invoke(reproduce.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    row = json.loads(result.stdout.splitlines()[-1])
    codes = load_codes(tmp_path / "codes.npz")
    assert (len(codes.gallery_codes), len(codes.query_codes)) == (9, 6)
    assert row["mAP"] == pytest.approx(evaluate_codes(codes).numbers["mAP"])
    assert ("as it reports" in row) == (recipe == "published")


def test_published_recipe_has_its_own_statistics_and_frames(motion, tmp_path):
    config = reproduce.TrainConfig(backbone="i3d", num_frames=8, size=32, task="hash", weights="none")
    config = reproduce.resolve(config)
    cache = reproduce.CacheConfig(cache=tmp_path)
    wrong, _, _ = reproduce.prepare("published", motion, config, cache)
    right, _, _ = reproduce.prepare("fixed", motion, config, cache)
    assert wrong.preprocessing == reproduce.PUBLISHED_STATISTICS
    assert right.preprocessing == type(right.backbone).preprocessing
