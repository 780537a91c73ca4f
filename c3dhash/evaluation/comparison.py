"""What codes cost and what training gave: features themselves, and codes made of them without training.

    float   the features, taken relative to the gallery's mean, ranked by cosine; codes are approximations of this
    itq     codes fitted on the gallery's features (c3dhash/models/hashing.py)
    lsh     codes drawn at random, around the mean of the gallery's features
    rabitq  FAISS's RaBitQ of as many bytes, where these are more than 8; rabitq+8, of as many bits, whatever its bytes
    run     the codes of the run, beside these
    finer   the same codes, in the order that `query` shows: by the embeddings of the queries (gallery/finer.py)

Note [Bytes of RaBitQ]
    Beside a bit a dimension, an item has two float32 factors, 8 bytes, which make an estimate of an inner product of
    the distance of signs. So of the bytes of a code 8 are gone: 128 bits leave 64 dimensions, 64 bits none, and there
    the row at equal bytes does not exist. With as many dimensions as the code has bits it is 8 bytes longer. The
    query's side is no part of an item, and quantized with QUERY_BITS.

Queries are never fitted on. Every row is a mean over all orders of ties: Note [Ties in Hamming ranking] in ties.py.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np

from c3dhash.bits import num_code_bytes, pack_codes, unpack_codes
from c3dhash.config import HASHES
from c3dhash.errors import UsageError
from c3dhash.evaluation.codes import Codes
from c3dhash.evaluation.counts import RankCounts, rank_counts, score_counts
from c3dhash.evaluation.metrics import average_precision, mean_defined, precision_at_k
from c3dhash.models.hashing import fit_hash

logger = logging.getLogger(__name__)

SEED = 0
FACTOR_BYTES = 8  # Note [Bytes of RaBitQ]
QUERY_BITS = 8  # as good as exact ones; 4, a default of FAISS, by up to 0.002 of mAP worse (JHMDB)
_SCORES = 1 << 24  # how many are in memory at once
_GALLERY_BLOCK = 1 << 12


def compare(
    codes: Codes,
    gallery_features: np.ndarray,
    query_features: np.ndarray,
    *,
    query_embeddings: np.ndarray,
    counts: RankCounts,
    k: int = 100,
) -> list[dict[str, Any]]:
    """Score the features of a gallery and its queries, and what can be made of them without training.

    Args:
        codes: the run's own, with the labels.
        gallery_features, query_features: float32 [G, feature_dim] and [Q, feature_dim].
        query_embeddings: float32 [Q, hash_length], what the queries' codes are the signs of.
        counts: of the run's codes.
        k: items, for mAP@k/hits.
    Returns:
        A row a method: `method` ("float", "itq", "lsh", "rabitq" for more than 64 bits, "rabitq+8", "run", "finer"),
        `mAP`, `mAP@k/hits` and `precision@1` (means over the queries with something relevant, expected over ties), and
        `bytes_per_item`. Where a method is not defined, as ITQ with fewer features than bits, these are None and a
        warning has the reason.
    """
    labels = codes.query_labels, codes.gallery_labels
    rows = [
        _row(
            "float",
            feature_counts(query_features, gallery_features, *labels),
            k=k,
            num_bytes=gallery_features.itemsize * gallery_features.shape[1],
        )
    ]
    num_bytes = num_code_bytes(codes.hash_length)
    for method in HASHES:
        try:
            head = fit_hash(gallery_features, hash_length=codes.hash_length, method=method, seed=SEED)
        except UsageError as error:
            logger.warning("%s is not compared with: %s", method, error)
            rows.append(_row(method, [], k=k, num_bytes=None))
            continue
        packed = pack_codes(head(query_features)), pack_codes(head(gallery_features))
        found = rank_counts(*packed, *labels, hash_length=codes.hash_length)
        rows.append(_row(method, [found], k=k, num_bytes=num_bytes))
    for method, num_dims in (("rabitq", 8 * (num_bytes - FACTOR_BYTES)), ("rabitq+8", codes.hash_length)):
        if num_dims <= 0:
            continue  # Note [Bytes of RaBitQ]
        try:
            parts, size = rabitq_counts(query_features, gallery_features, *labels, num_dims=num_dims)
        except UsageError as error:
            logger.warning("%s is not compared with: %s", method, error)
            rows.append(_row(method, [], k=k, num_bytes=None))
            continue
        rows.append(_row(method, parts, k=k, num_bytes=size))
    finer = asymmetric_counts(query_embeddings, codes)
    return [*rows, _row("run", [counts], k=k, num_bytes=num_bytes), _row("finer", finer, k=k, num_bytes=num_bytes)]


def feature_counts(
    query_features: np.ndarray, gallery_features: np.ndarray, query_labels: np.ndarray, gallery_labels: np.ndarray
) -> Iterator[RankCounts]:
    """Rank a gallery by the cosine of features that are taken relative to the gallery's mean; exact.

    The products are summed in float64 and rounded to float32, so that items with the same feature tie wherever they
    stand. A feature equal to the mean has no direction; its cosine is 0.

    Args:
        query_features, gallery_features: float [Q, feature_dim] and [G, feature_dim].
        query_labels, gallery_labels: as for `rank_counts`.
    Yields:
        RankCounts of some queries after others, so that memory holds `_SCORES` scores however many there are.
    """
    mean = gallery_features.mean(axis=0, dtype=np.float64)
    gallery_directions, query_directions = _directions(gallery_features, mean), _directions(query_features, mean)
    yield from _count_products(query_directions, gallery_directions, query_labels, gallery_labels)


def asymmetric_counts(query_embeddings: np.ndarray, codes: Codes) -> Iterator[RankCounts]:
    """Rank a gallery by asymmetric distance: the inner product of embeddings of queries with signs.

    Args:
        query_embeddings: float32 [Q, hash_length].
    Yields:
        As `feature_counts`.
    """
    signs = 2 * unpack_codes(codes.gallery_codes, hash_length=codes.hash_length).astype(np.float32) - 1
    yield from _count_products(query_embeddings, signs, codes.query_labels, codes.gallery_labels)


def rabitq_counts(
    query_features: np.ndarray,
    gallery_features: np.ndarray,
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    *,
    num_dims: int,
) -> tuple[Iterator[RankCounts], int]:
    """Rank a gallery by FAISS's RaBitQ: inner products as they are estimated from a bit a dimension and two factors.

    Features are taken relative to the gallery's mean and scaled to length 1, projected on the first principal
    components of the gallery's, turned at random, and scaled to length 1 again, so that a cosine is estimated.

    Args:
        query_features, gallery_features, query_labels, gallery_labels: as of `feature_counts`.
        num_dims: dimensions, and bits, of an item.
    Returns:
        RankCounts of some queries after others, as `feature_counts`; and the bytes of an item.
    Raises:
        UsageError: there are no more items than dimensions, or the features have fewer.
    Source: Gao and Long, RaBitQ: Quantizing High-Dimensional Vectors with a Theoretical Error Bound for Approximate
        Nearest Neighbor Search, SIGMOD 2024, section 3, as `faiss.IndexRaBitQ` has it.
    """
    import faiss

    num_items, feature_dim = gallery_features.shape
    if not num_dims < num_items or num_dims > feature_dim:
        raise UsageError(
            f"its {num_dims} dimensions must be fewer than the videos of the gallery ({num_items}), and no more than a "
            f"feature has numbers ({feature_dim})."
        )
    mean = gallery_features.mean(axis=0, dtype=np.float64)
    items, asked = (_directions(features, mean) for features in (gallery_features, query_features))
    turned_axes = faiss.PCAMatrix(feature_dim, num_dims, 0, True)  # turned at random, by a seed of FAISS's
    turned_axes.max_points_per_d = -(-num_items // feature_dim)  # all of them; it would draw some otherwise
    turned_axes.train(items)
    items, asked = (_directions(turned_axes.apply(each), np.zeros(num_dims)) for each in (items, asked))
    index = faiss.IndexRaBitQ(num_dims, faiss.METRIC_INNER_PRODUCT)
    index.qb = QUERY_BITS
    index.train(items)
    index.add(items)
    return _count_estimates(index, asked, query_labels, gallery_labels), int(index.code_size)


def _count_estimates(
    index: Any, queries: np.ndarray, query_labels: np.ndarray, gallery_labels: np.ndarray
) -> Iterator[RankCounts]:
    """Rank all items of a FAISS index by the inner products with queries that it estimates."""
    num_rows = max(1, _SCORES // index.ntotal)
    for start in range(0, len(queries), num_rows):
        part = slice(start, start + num_rows)
        found, ids = index.search(queries[part], index.ntotal)
        scores = np.empty_like(found)
        np.put_along_axis(scores, ids, found, axis=1)
        yield score_counts(scores, query_labels[part], gallery_labels)


def _count_products(
    queries: np.ndarray, items: np.ndarray, query_labels: np.ndarray, gallery_labels: np.ndarray
) -> Iterator[RankCounts]:
    """Rank items by their inner products with queries, which are summed in float64 and rounded to float32."""
    num_rows = max(1, _SCORES // len(items))
    for start in range(0, len(queries), num_rows):
        part = slice(start, start + num_rows)
        asked = queries[part].astype(np.float64)
        scores = np.empty((len(asked), len(items)), np.float32)
        for first in range(0, len(items), _GALLERY_BLOCK):
            block = slice(first, first + _GALLERY_BLOCK)
            scores[:, block] = asked @ items[block].T.astype(np.float64)
        yield score_counts(scores, query_labels[part], gallery_labels)


def describe_comparison(rows: list[dict[str, Any]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Turn the rows of `compare` into a header and rows for people."""
    names = {
        "float": "features, cosine", "itq": "itq", "lsh": "lsh", "rabitq": "rabitq", "rabitq+8": "rabitq, as many bits",
        "run": "this run", "finer": "its finer order",
    }  # fmt: skip
    keys = [key for key in rows[0] if key not in ("method", "bytes_per_item")]
    table = [
        (names[row["method"]], *(_format(row[key]) for key in keys), str(row["bytes_per_item"] or "-")) for row in rows
    ]
    return ("method", *keys, "bytes an item"), table


def _format(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.4f}"


def _directions(features: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Take features relative to a mean and scale them to length 1: float32 [N, feature_dim]."""
    centred = (features - mean).astype(np.float32)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    directions: np.ndarray = np.divide(centred, length, out=np.zeros_like(centred), where=length != 0)
    return directions


def _row(method: str, parts: Any, *, k: int, num_bytes: int | None) -> dict[str, Any]:
    """Average over the queries of several RankCounts that have something relevant."""
    values: dict[str, list[np.ndarray]] = {"mAP": [], f"mAP@{k}/hits": [], "precision@1": []}
    for counts in parts:
        answerable = counts.answerable()
        per_query = (
            average_precision(answerable),
            average_precision(answerable, k=k, normaliser="hits"),
            precision_at_k(answerable, k=1),
        )
        for found, value in zip(values.values(), per_query, strict=True):
            found.append(value)
    means = {name: mean_defined(np.concatenate(found)) if found else None for name, found in values.items()}
    return {"method": method, **means, "bytes_per_item": num_bytes}
