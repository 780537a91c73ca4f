from __future__ import annotations

from itertools import pairwise

import faiss
import numpy as np
import pytest

from c3dhash.bits import pack_codes
from c3dhash.errors import CodesError, UsageError
from c3dhash.evaluation.metrics import average_precision, code_health, rank_counts
from c3dhash.models.hashing import check_hash, find_rotation, fit_hash, random_hyperplanes


@pytest.fixture
def features() -> np.ndarray:
    """Like those of a backbone: float32 [400, 40], at least 0, correlated, with a large mean."""
    rng = np.random.default_rng(0)
    return np.maximum(rng.normal(size=(400, 15)) @ rng.normal(size=(15, 40)) * 0.3 + 1.5, 0).astype(np.float32)


def quantisation_loss(turned: np.ndarray) -> float:
    return float(np.square(np.where(turned > 0, 1, -1) - turned).sum())


def slow_rotation(projected: np.ndarray, seed: int) -> list[np.ndarray]:
    """The two steps of section 2.2 written out with signs, then the orthogonal Procrustes problem."""
    length = projected.shape[1]
    rotations = [np.linalg.qr(np.random.default_rng(seed).standard_normal((length, length)))[0]]
    for _ in range(50):
        signs = np.sign(projected @ rotations[-1])
        u, _, vt = np.linalg.svd(signs.T @ projected)  # S, S-hat of the paper: R = S-hat S^T
        rotations.append(vt.T @ u.T)
    return rotations


def test_rotation_is_that_of_the_paper(features):
    projected = (features - features.mean(axis=0))[:, :12]
    rotations = slow_rotation(projected, seed=5)
    losses = [quantisation_loss(projected @ rotation) for rotation in rotations]
    assert all(after <= before + 1e-6 for before, after in pairwise(losses)), "it never rises"
    rotation = find_rotation(projected, seed=5)
    np.testing.assert_allclose(rotation, rotations[-1], atol=1e-6)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(12), atol=1e-9)


def test_rotation_loses_less_than_that_of_faiss(features):
    projected = np.ascontiguousarray((features - features.mean(axis=0))[:, :16])
    theirs = faiss.ITQMatrix(16)
    theirs.train(projected)
    ours = quantisation_loss(projected @ find_rotation(projected, seed=0))
    assert ours < quantisation_loss(theirs.apply(projected))


def test_sign_takes_the_first_features_around_their_medians(features):
    head = fit_hash(features, hash_length=12, method="sign")
    expected = features[:, :12] > np.median(features[:, :12], axis=0)
    assert (pack_codes(head(features)) == np.packbits(expected, axis=1)).mean() > 0.999  # rounding of the median itself
    assert head(features).std(axis=0) == pytest.approx(np.full(12, head(features)[:, 0].std()), rel=1e-3)
    with pytest.raises(
        UsageError, match=r"sign makes no more bits than a feature has numbers \(40\), got hash_length 41"
    ):
        fit_hash(features, hash_length=41, method="sign")
    with pytest.raises(UsageError, match="sign needs clips to be fitted on, got 0"):
        fit_hash(features[:0], hash_length=4, method="sign")


def test_itq_uses_every_feature(features):
    # FAISS's PCA draws a sample from more than 1000 a dimension. One far row shifts the mean by 1/70,000 of its
    # distance, or else by twice that or not at all.
    many = np.resize(features, (70_000, 40))
    many[1234, 7] = 1e5
    head = fit_hash(many, hash_length=4, method="itq")
    np.testing.assert_allclose(head.bias, -head.weight @ many.mean(axis=0, dtype=np.float64), rtol=1e-2)


def test_itq_spans_the_principal_components_and_loses_less_than_their_signs(features):
    # The definition: a rotation of the first components, each stretched by the root of its deviation, that is better
    # than none.
    centred = features - features.mean(axis=0)
    scaled = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    variances, vectors = np.linalg.eigh(np.cov(scaled.T))
    components, stretches = vectors[:, ::-1][:, :8].T, variances[::-1][:8] ** 0.25
    assert stretches[0] > 1.2 * stretches[-1], "or the stretching would not be seen"
    head = fit_hash(features, hash_length=8, method="itq")
    turned = head.weight @ components.T  # [bits, components]
    np.testing.assert_allclose(turned @ components, head.weight, atol=1e-3 * np.abs(head.weight).max())
    rotation = turned / stretches
    rotation /= np.linalg.norm(rotation, axis=1, keepdims=True)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(8), atol=1e-2)

    stretched = scaled @ components.T * stretches
    assert quantisation_loss(stretched @ rotation.T) < quantisation_loss(stretched)


def test_hyperplanes_are_orthogonal_to_each_other_and_to_the_ones():
    weight = random_hyperplanes(64, hash_length=48, seed=3)
    np.testing.assert_allclose(weight @ weight.T, np.eye(48), atol=1e-5)
    np.testing.assert_allclose(weight.sum(axis=1), 0, atol=1e-5)
    assert np.array_equal(weight, random_hyperplanes(64, hash_length=48, seed=3))
    assert not np.array_equal(weight, random_hyperplanes(64, hash_length=48, seed=4))


@pytest.mark.parametrize("feature_dim, hash_length", [(3, 5), (10, 9), (10, 10), (10, 30)])
def test_more_bits_than_numbers_are_drawn_in_blocks(feature_dim, hash_length):
    weight = random_hyperplanes(feature_dim, hash_length=hash_length, seed=0)
    assert weight.shape == (hash_length, feature_dim)
    for start in range(0, hash_length, feature_dim - 1):
        block = weight[start : start + feature_dim - 1]
        np.testing.assert_allclose(block @ block.T, np.eye(len(block)), atol=1e-5)
    np.testing.assert_allclose(weight.sum(axis=1), 0, atol=1e-5)
    assert len(np.unique(weight, axis=0)) == hash_length


def test_lsh_needs_no_features_and_moves_to_their_mean(features):
    bare = fit_hash(np.empty((0, 40), np.float32), hash_length=16, method="lsh", seed=1)
    assert np.array_equal(bare.weight, random_hyperplanes(40, hash_length=16, seed=1))
    assert not bare.bias.any()
    fitted = fit_hash(features, hash_length=16, method="lsh", seed=1)
    expected = (features - features.mean(axis=0)) @ bare.weight.T
    np.testing.assert_allclose(fitted(features) / expected, np.full((400, 16), fitted.weight[0, 0] / bare.weight[0, 0]),
                               rtol=0.02, atol=0.05)  # fmt: skip
    # Through the mean, every bit is on for about half of the features.
    health = code_health(pack_codes(fitted(features)), hash_length=16)
    through_origin = code_health(pack_codes(features @ np.random.default_rng(0).normal(size=(40, 16))), hash_length=16)
    assert abs(health["least_balanced_share"] - 0.5) < 0.15 < abs(through_origin["least_balanced_share"] - 0.5)


def test_lsh_estimates_the_angle():
    # Charikar 2002: two vectors differ in a bit with probability angle / pi.
    x = np.zeros((3, 512), np.float32)
    x[0, 0], x[0, 1] = 1, -1  # orthogonal to the ones, as all that counts is
    x[1, 2], x[1, 3] = 1, -1
    x[2] = x[0] + x[1]
    bits = fit_hash(np.empty((0, 512), np.float32), hash_length=1024, method="lsh")(x) > 0
    assert (bits[0] != bits[1]).mean() == pytest.approx(1 / 2, abs=0.05)
    assert (bits[0] != bits[2]).mean() == pytest.approx(1 / 4, abs=0.05)


@pytest.mark.parametrize("method", ["itq", "lsh"])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_tanh_is_neither_flat_nor_linear(features, method, size):
    head = fit_hash(features * np.float32(size), hash_length=16, method=method)
    values = head(features * np.float32(size))
    assert np.sqrt(np.square(values).mean()) == pytest.approx(1, rel=1e-3)
    assert 0.4 < np.abs(np.tanh(values)).mean() < 0.8
    assert np.array_equal(values > 0, fit_hash(features, hash_length=16, method=method)(features) > 0)


def test_itq_finds_classes_better_than_lsh():
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(8), 30)
    centres = rng.normal(size=(8, 64))
    features = np.maximum(centres[labels] + rng.normal(size=(240, 64)) * 1.5 + 1, 0).astype(np.float32)
    scores = {}
    for method in ("itq", "lsh"):
        codes = pack_codes(fit_hash(features, hash_length=16, method=method)(features))
        counts = rank_counts(codes, codes, labels, labels, hash_length=16)
        counts = counts.without_own_group(codes, labels, np.arange(len(codes)))
        scores[method] = average_precision(counts).mean()
    assert scores["itq"] > scores["lsh"] + 0.1 > 0.3


def test_features_that_are_all_the_same_give_a_head():
    for method in ("itq", "lsh"):
        head = fit_hash(np.zeros((20, 10), np.float32), hash_length=4, method=method)
        assert np.isfinite(head.weight).all()
        assert not head.bias.any()


def test_what_cannot_be_fitted_says_what_to_do(features):
    with pytest.raises(UsageError, match=r"\(40\), got hash_length 41: take fewer bits, or --hash lsh"):
        fit_hash(features, hash_length=41, method="itq")
    with pytest.raises(UsageError, match="got 16 for hash_length 16: take fewer bits, more videos, or --hash lsh"):
        fit_hash(features[:16], hash_length=16, method="itq")
    fit_hash(features[:17], hash_length=16, method="itq")
    with pytest.raises(UsageError, match=r"hash \('pca'\) must be one of itq, lsh"):
        fit_hash(features, hash_length=16, method="pca")
    with pytest.raises(UsageError, match=r"hash_length \(0\)"):
        fit_hash(features, hash_length=0, method="lsh")
    with pytest.raises(UsageError, match=r"feature_dim \(1\)"):
        check_hash("lsh", hash_length=4, feature_dim=1)
    with pytest.raises(CodesError, match=r"got float32 \[40\]"):
        fit_hash(features[0], hash_length=4, method="itq")
    with pytest.raises(CodesError, match="got int64"):
        fit_hash(features.astype(np.int64), hash_length=4, method="itq")
    features[[3, 7], 2] = np.nan, np.inf
    with pytest.raises(CodesError, match="2 of 400 features have a NaN or an infinity"):
        fit_hash(features, hash_length=4, method="lsh")
