from __future__ import annotations

import logging
import re

import faiss
import numpy as np
import pytest

from c3dhash.bits import pack_codes
from c3dhash.errors import CodesError
from c3dhash.evaluation import comparison
from c3dhash.evaluation.accuracy import label_average_precision
from c3dhash.evaluation.codes import Codes
from c3dhash.evaluation.comparison import asymmetric_counts, compare, describe_comparison, feature_counts, rabitq_counts
from c3dhash.evaluation.evaluate import evaluate_codes
from c3dhash.evaluation.metrics import average_precision, rank_counts
from c3dhash.models.hashing import fit_hash


@pytest.fixture
def labelled():
    """Features of 60 items and 12 queries of 5 classes, some items twice; labels int, -1 where not known."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 24))
    labels = rng.integers(0, 5, 60)
    gallery = np.maximum(centres[labels] + rng.normal(size=(60, 24)) + 1, 0).astype(np.float32)
    gallery[40:50] = gallery[:10]
    labels[45], labels[3] = -1, 4
    query_labels = rng.integers(0, 5, 12)
    query_labels[7] = -1
    queries = np.maximum(centres[query_labels] + rng.normal(size=(12, 24)) + 1, 0).astype(np.float32)
    queries[2] = gallery[44]
    return gallery, labels, queries, query_labels


def cosines(gallery: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """The definition, in float64; rounded so that what is equal ties."""
    mean = gallery.astype(np.float64).mean(axis=0)
    scores = [[(q - mean) @ (g - mean) / np.linalg.norm(q - mean) / np.linalg.norm(g - mean) for g in gallery]
              for q in queries]  # fmt: skip
    return np.round(scores, 5)


@pytest.mark.parametrize("num_scores, block", [(1 << 24, 1 << 12), (130, 7)])
def test_features_are_ranked_by_their_cosine(labelled, monkeypatch, num_scores, block):
    monkeypatch.setattr(comparison, "_SCORES", num_scores)
    monkeypatch.setattr(comparison, "_GALLERY_BLOCK", block)
    gallery, labels, queries, query_labels = labelled
    parts = list(feature_counts(queries, gallery, query_labels, labels))
    assert len(parts) == (1 if num_scores > 720 else 6)
    found = np.concatenate([average_precision(counts) for counts in parts])
    is_relevant = (query_labels[:, None] == labels) & (query_labels[:, None] >= 0)
    np.testing.assert_allclose(found, label_average_precision(cosines(gallery, queries).T, is_relevant.T), rtol=1e-12)


def test_the_order_of_the_gallery_does_not_matter(labelled):
    gallery, labels, queries, query_labels = labelled
    (expected,) = feature_counts(queries, gallery, query_labels, labels)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(60)
        (counts,) = feature_counts(queries, gallery[order], query_labels, labels[order])
        np.testing.assert_allclose(average_precision(counts), average_precision(expected), rtol=1e-12)


def test_a_feature_without_a_direction_ties_with_everything():
    gallery = np.array([[1, 0], [0, 1], [2, 2], [1, 1]], np.float32)  # the mean is [1, 1]
    (counts,) = feature_counts(gallery[3:], gallery, np.array([0]), np.array([0, 1, 1, 1]))
    # one relevant item in a tie of four: (1/1 + 1/2 + 1/3 + 1/4) / 4 = 25/48
    assert average_precision(counts)[0] == pytest.approx(25 / 48)


@pytest.fixture
def compared(labelled):
    gallery, labels, queries, query_labels = labelled
    head = fit_hash(gallery, hash_length=11, method="lsh", seed=9)
    codes = Codes(pack_codes(head(gallery)), labels, pack_codes(head(queries)), query_labels, 11)
    return codes, gallery, queries, head(queries)


def test_rows(compared):
    codes, gallery, queries, embeddings = compared
    report = evaluate_codes(codes)
    rows = compare(codes, gallery, queries, query_embeddings=embeddings, counts=report.counts, k=100)
    assert [row["method"] for row in rows] == ["float", "itq", "lsh", "rabitq+8", "run", "finer"]
    assert all(list(row) == ["method", "mAP", "mAP@100/hits", "precision@1", "bytes_per_item"] for row in rows)
    assert [row["bytes_per_item"] for row in rows] == [4 * 24, 2, 2, 2 + 8, 2, 2]
    assert rows[4]["mAP"] == report.numbers["mAP"]["expected"]
    assert rows[4]["mAP@100/hits"] == report.numbers["mAP@100/hits"]
    assert rows[4]["precision@1"] == report.numbers["precision@1"]
    for row, method in zip(rows[1:3], ("itq", "lsh"), strict=True):
        head = fit_hash(gallery, hash_length=11, method=method)  # on the gallery, never on queries
        packed = pack_codes(head(queries)), pack_codes(head(gallery))
        counts = rank_counts(*packed, codes.query_labels, codes.gallery_labels, hash_length=11)
        assert row["mAP"] == pytest.approx(np.nanmean(average_precision(counts)))
    values = np.concatenate([
        average_precision(part, k=100, normaliser="hits")
        for part in feature_counts(queries, gallery, codes.query_labels, codes.gallery_labels)
    ])  # fmt: skip
    assert rows[0]["mAP@100/hits"] == pytest.approx(np.nanmean(values))


@pytest.mark.parametrize("block", [1 << 12, 7])
def test_the_finer_order_counts_a_bit_by_how_sure_the_query_is(compared, monkeypatch, block):
    monkeypatch.setattr(comparison, "_GALLERY_BLOCK", block)
    codes, _, _, embeddings = compared
    query_bits, gallery_bits = (
        np.unpackbits(each, axis=1, count=11) for each in (codes.query_codes, codes.gallery_codes)
    )
    distances = (np.abs(embeddings[:, None]) * (query_bits[:, None] != gallery_bits)).sum(axis=2)
    is_relevant = (codes.query_labels[:, None] == codes.gallery_labels) & (codes.query_labels[:, None] >= 0)
    expected = label_average_precision(-np.round(distances, 4).T, is_relevant.T)
    (counts,) = asymmetric_counts(embeddings, codes)
    np.testing.assert_allclose(average_precision(counts), expected, rtol=1e-12)


@pytest.mark.parametrize("num_items, hash_length, reason", [(8, 11, "got 8 for"), (60, 30, r"\(24\)")])
def test_what_cannot_be_fitted_is_not_defined_and_the_rest_is(compared, caplog, num_items, hash_length, reason):
    codes, gallery, queries, embeddings = compared
    gallery, labels = gallery[:num_items], codes.gallery_labels[:num_items]
    own, embeddings = np.zeros((num_items + 12, hash_length), bool), np.ones((12, hash_length), np.float32)
    codes = Codes(pack_codes(own[12:]), labels, pack_codes(own[:12]), codes.query_labels, hash_length)
    with caplog.at_level(logging.WARNING, logger="c3dhash"):
        rows = compare(codes, gallery, queries, query_embeddings=embeddings, counts=evaluate_codes(codes).counts)
    assert rows[1] == {"method": "itq", "mAP": None, "mAP@100/hits": None, "precision@1": None, "bytes_per_item": None}
    assert all(row["mAP"] > 0 for row in (rows[0], rows[2], *rows[4:]))
    assert caplog.text.count("itq is not compared with") == 1
    assert re.search(f"itq is .*{reason}", caplog.text)
    assert rows[3] == rows[1] | {"method": "rabitq+8"}
    assert f"rabitq+8 is not compared with: its {hash_length} dim" in caplog.text
    header, table = describe_comparison(rows)
    assert header == ("method", "mAP", "mAP@100/hits", "precision@1", "bytes an item")
    assert table[1] == ("itq", "not defined", "not defined", "not defined", "-")
    assert table[0][0] == "features, cosine"


def test_several_labels_an_item(compared):
    codes, gallery, queries, embeddings = compared
    labels = np.eye(6, dtype=bool)[codes.gallery_labels], np.eye(6, dtype=bool)[codes.query_labels]
    labels[0][:, 5] = labels[1][:, 5] = False  # -1: none
    several = Codes(codes.gallery_codes, labels[0], codes.query_codes, labels[1], 11)
    rows, expected = (
        compare(each, gallery, queries, query_embeddings=embeddings, counts=evaluate_codes(each).counts, k=5)
        for each in (several, codes)
    )
    for row, same in zip(rows, expected, strict=True):
        assert row["mAP"] == pytest.approx(same["mAP"])


def rabitq_scores(gallery: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """The estimate of an inner product as the paper has it, from vectors [G, D] and [Q, D], one pair at a time.

    With o = item - centre, q = query - centre and b the signs of o over sqrt(D): <o, q> ~ |o| <b, q> / <b, o / |o|>.
    """
    centre, dims = gallery.mean(axis=0), gallery.shape[1]
    scores = np.empty((len(queries), len(gallery)))
    for row, query in enumerate(queries - centre):
        for column, item in enumerate(gallery - centre):
            signs, length = np.where(item > 0, 1, -1) / np.sqrt(dims), np.linalg.norm(item)
            estimate = length * (signs @ query) / (signs @ item / length)
            scores[row, column] = estimate + centre @ (query + item + centre)
    return scores


@pytest.mark.parametrize("num_scores", [1 << 24, 130])
def test_rabitq_estimates_what_its_paper_says(labelled, monkeypatch, num_scores):
    monkeypatch.setattr(comparison, "_SCORES", num_scores)
    monkeypatch.setattr(comparison, "QUERY_BITS", 0)  # queries as they are
    gallery, labels, queries, query_labels = labelled
    parts, num_bytes = rabitq_counts(queries, gallery, query_labels, labels, num_dims=13)
    found = np.concatenate([average_precision(counts) for counts in parts])
    mean = gallery.mean(axis=0, dtype=np.float64)
    centred = [(each - mean) / np.linalg.norm(each - mean, axis=1, keepdims=True) for each in (gallery, queries)]
    axes = faiss.PCAMatrix(24, 13, 0, True)
    axes.train(centred[0].astype(np.float32))
    matrix = faiss.vector_to_array(axes.A).reshape(13, 24)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(13), atol=1e-5)
    middle = centred[0].mean(axis=0)
    principal = np.linalg.svd(centred[0] - middle, full_matrices=False)[2][:13]
    np.testing.assert_allclose(matrix.T @ matrix, principal.T @ principal, atol=1e-4)
    turned = [(each - middle) @ matrix.T for each in centred]
    items, asked = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in turned)
    is_relevant = (query_labels[:, None] == labels) & (query_labels[:, None] >= 0)
    scores = np.round(rabitq_scores(items, asked), 5)
    np.testing.assert_allclose(found, label_average_precision(scores.T, is_relevant.T), rtol=1e-12)
    assert num_bytes == 2 + 8


def test_rabitq_at_equal_bytes_is_where_there_is_room_for_its_factors(caplog):
    """80 bits are 10 bytes: 2 are left beside 8 of factors, 16 dimensions. Of 64 bits nothing is left."""
    rng = np.random.default_rng(0)
    gallery, queries = (rng.normal(size=(num, 96)).astype(np.float32) for num in (200, 12))
    labels = rng.integers(0, 3, 200), rng.integers(0, 3, 12)
    for hash_length, methods in ((64, ["rabitq+8"]), (80, ["rabitq", "rabitq+8"])):
        head = fit_hash(gallery, hash_length=hash_length, method="lsh")
        codes = Codes(pack_codes(head(gallery)), labels[0], pack_codes(head(queries)), labels[1], hash_length)
        counts = evaluate_codes(codes).counts
        rows = compare(codes, gallery, queries, query_embeddings=head(queries), counts=counts)
        found = {row["method"]: row for row in rows if row["method"].startswith("rabitq")}
        assert list(found) == methods
        assert found["rabitq+8"]["bytes_per_item"] == hash_length // 8 + 8
        parts, _ = rabitq_counts(queries, gallery, labels[1], labels[0], num_dims=hash_length)
        (part,) = parts
        assert found["rabitq+8"]["mAP"] == pytest.approx(average_precision(part).mean())
    parts, num_bytes = rabitq_counts(queries, gallery, labels[1], labels[0], num_dims=16)
    (part,) = parts
    assert num_bytes == found["rabitq"]["bytes_per_item"] == 10
    assert found["rabitq"]["mAP"] == pytest.approx(average_precision(part).mean())
    assert [row[0] for row in describe_comparison(rows)[1]] == [
        "features, cosine", "itq", "lsh", "rabitq", "rabitq, as many bits", "this run", "its finer order",
    ]  # fmt: skip
    assert caplog.text == ""


def test_without_anything_relevant_nothing_is_defined(compared):
    codes, gallery, queries, embeddings = compared
    nothing = Codes(codes.gallery_codes, codes.gallery_labels, codes.query_codes, np.full(12, -1), 11)
    rows = compare(nothing, gallery, queries, query_embeddings=embeddings, counts=evaluate_codes(nothing).counts)
    assert [row["mAP"] for row in rows] == [None] * 6
    assert describe_comparison(rows)[1][4] == ("this run", "not defined", "not defined", "not defined", "2")


def test_features_that_are_not_finite_are_refused(compared):
    codes, gallery, queries, embeddings = compared
    queries[3, 3] = np.nan
    with pytest.raises(CodesError, match="1 of 12 rows of scores have a NaN"):
        compare(codes, gallery, queries, query_embeddings=embeddings, counts=evaluate_codes(codes).counts)
