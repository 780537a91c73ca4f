"""Hash heads without labels and without training: ITQ, fitted on features; LSH, drawn at random; signs of features.

All are one linear layer in front of the sign, and so fit into the hash head of a network as they are.

Note [Hyperplanes]
    Features after a ReLU are positive, and a hyperplane through the origin has nearly all of them on one side: a poor
    bit. It helps to draw normals that are orthogonal to the vector of ones, which needs no data: what all entries of a
    feature have in common then counts for nothing. It helps more to move the hyperplanes to the mean of some features,
    and ten are nearly as good as all; with that, the first makes no difference, and does no harm. Full mAP on JHMDB,
    48 bits, features of an ImageNet network, mean over 20 draws (standard deviation 0.006): 0.109 through the origin,
    0.117 orthogonal to the ones, 0.134 through the mean, 0.128 through the mean of ten. So both are done, and the
    second where there are features. Normals are orthogonal to each other, too, in blocks of at most feature_dim - 1
    (Ji et al., Super-Bit Locality-Sensitive Hashing, NIPS 2012, section 2), which made no difference here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from c3dhash.bits import num_code_bytes
from c3dhash.config import HASHES, SIGN
from c3dhash.errors import CodesError, UsageError

if TYPE_CHECKING:  # torch is imported where a network is, not to fit a hash head
    from c3dhash.models.hashnet import HashNet

ITQ_ITERATIONS = 50


class HashHead(NamedTuple):
    """A linear layer whose sign is a code: bit = weight @ feature + bias > 0.

    weight: float32 [hash_length, feature_dim]. bias: float32 [hash_length].
    """

    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Compute what the code is the sign of: float [N, feature_dim] -> [N, hash_length]."""
        values: np.ndarray = features @ self.weight.T + self.bias
        return values


def fit_hash(features: np.ndarray, *, hash_length: int, method: str, seed: int = 0) -> HashHead:
    """Make a hash head from features alone.

    "itq" takes out the mean, scales to length 1, projects on the first hash_length principal components, stretches each
    by the square root of its deviation, and turns these axes so that least is lost where a value becomes a sign. The
    length changes no sign, so that the rest is one linear layer.

    "lsh" draws hyperplanes at random: Note [Hyperplanes]. It needs no features, and can do with few.

    "sign" takes the features one by one: bit i says whether feature i is above its median, and each is divided by its
    deviation. It is for features whose first entries say most (backbones/phash.py).

    One scalar brings weight @ feature + bias to a root mean square of 1 over `features`, where tanh is neither flat
    nor linear, so that a training can go on from there. It changes no code.

    Args:
        features: float [N, feature_dim]; N may be 0 for "lsh".
        hash_length: bits.
        method: "itq", "lsh" or "sign".
        seed: of the first rotation of ITQ, of the hyperplanes of LSH.
    Returns:
        A HashHead.
    Raises:
        UsageError: as `check_hash`; or itq with no more features than bits.
        CodesError: features are not [N, feature_dim], or not finite.
    Source:
        Gong and Lazebnik, Iterative Quantization: A Procrustean Approach to Learning Binary Codes, CVPR 2011,
        section 2. The scaling to length 1 is FAISS's (ITQTransform); its rotation is not used, since it does not
        reach the optimum, and the stretching is our own: docs/decisions/0003-itq.md.
        Charikar, Similarity Estimation Techniques from Rounding Algorithms, STOC 2002, section 3.
    """
    if features.ndim != 2 or features.dtype.kind != "f":
        raise CodesError(f"features must be float [N, feature_dim], got {features.dtype} {list(features.shape)}.")
    check_hash(method, hash_length=hash_length, feature_dim=features.shape[1])
    num_bad = int((~np.isfinite(features)).any(axis=1).sum())
    if num_bad:
        raise CodesError(f"{num_bad} of {len(features)} features have a NaN or an infinity: see what made them.")
    if method == "itq":
        weight, mean = _fit_itq(features, hash_length=hash_length, seed=seed)
    elif method == SIGN:
        if not len(features):
            raise UsageError("sign needs clips to be fitted on, got 0.")
        weight = np.eye(hash_length, features.shape[1], dtype=np.float32)
        weight /= np.maximum(features.std(axis=0, dtype=np.float64), np.finfo(np.float32).tiny).astype(np.float32)
        mean = np.median(features, axis=0)
    else:
        weight = random_hyperplanes(features.shape[1], hash_length=hash_length, seed=seed)
        mean = features.mean(axis=0, dtype=np.float64) if len(features) else np.zeros(features.shape[1])
    # sign(W (x - mean) / |x - mean|) = sign(W x - W mean)
    head = HashHead(weight, -(weight.astype(np.float64) @ mean).astype(np.float32))
    values = head(features.astype(np.float32, copy=False))
    size = np.sqrt(np.mean(np.square(values, dtype=np.float64))) if len(values) else 0.0
    return HashHead(*(part / np.float32(size) for part in head)) if size else head


def initialize_hash_head(model: HashNet, features: np.ndarray, *, method: str, seed: int) -> None:
    """Make the hash head one that needs no training as `fit_hash` does, to go on from there.

    Args:
        features: float32 [N, feature_dim], of training clips.
        method: "itq" or "lsh".
    """
    import torch

    layer = model.hash_head
    assert layer is not None
    head = fit_hash(features, hash_length=layer.out_features, method=method, seed=seed)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(head.weight))
        layer.bias.copy_(torch.from_numpy(head.bias))


def check_hash(method: str, *, hash_length: int, feature_dim: int) -> None:
    """Raise a UsageError unless a method can make so many bits of features of this length."""
    num_code_bytes(hash_length)
    if method not in (*HASHES, SIGN):
        raise UsageError(f"hash ({method!r}) must be one of {', '.join((*HASHES, SIGN))}; itq gives the better codes.")
    if method != "lsh" and hash_length > feature_dim:
        raise UsageError(
            f"{method} makes no more bits than a feature has numbers ({feature_dim}), got hash_length {hash_length}: "
            "take fewer bits, or --hash lsh."
        )
    if feature_dim < 2:
        raise UsageError(f"feature_dim ({feature_dim}) must be 2 or more; backbones have some hundreds.")


def random_hyperplanes(feature_dim: int, *, hash_length: int, seed: int) -> np.ndarray:
    """Draw normals as Note [Hyperplanes] says.

    Returns:
        float32 [hash_length, feature_dim], of length 1 each.
    """
    rng = np.random.default_rng(seed)
    blocks, num_left = [], hash_length
    while num_left:
        size = min(num_left, feature_dim - 1)
        normals = rng.standard_normal((feature_dim, size))
        normals -= normals.mean(axis=0)  # the part along the vector of ones
        blocks.append(np.linalg.qr(normals)[0].T)
        num_left -= size
    return np.concatenate(blocks).astype(np.float32)


def find_rotation(projected: np.ndarray, *, seed: int) -> np.ndarray:
    """Turn features so that least is lost where a value becomes a sign.

    The loss |B - Z R|^2 with B = sign(Z R) falls in both steps of an iteration: for a given R the signs are the nearest
    B; for a given B the R that minimises it maximises trace(R^T Z^T B), which R = U V^T does, with U S V^T = Z^T B.

    Args:
        projected: Z, float [N, L].
        seed: of the rotation to begin with.
    Returns:
        R, float64 [L, L], orthogonal; turned features are Z @ R.
    Source: Gong and Lazebnik, CVPR 2011, section 2.2, with its 50 iterations.
    """
    length = projected.shape[1]
    rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((length, length)))[0]
    for _ in range(ITQ_ITERATIONS):
        signs = np.where(projected @ rotation > 0, 1.0, -1.0)
        left, _, right = np.linalg.svd(projected.T @ signs)
        rotation = left @ right
    return rotation


def _fit_itq(features: np.ndarray, *, hash_length: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return principal axes, stretched and turned, float32 [hash_length, feature_dim], and the mean of the features."""
    import faiss

    num_features, feature_dim = features.shape
    if num_features <= hash_length:
        raise UsageError(
            f"itq needs more clips to be fitted on than bits, got {num_features} for hash_length {hash_length}: take "
            "fewer bits, more videos, or --hash lsh."
        )
    mean = features.mean(axis=0, dtype=np.float64)
    centred = (features - mean).astype(np.float32)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    pca = faiss.PCAMatrix(feature_dim, hash_length)
    pca.max_points_per_d = -(-num_features // feature_dim)  # all of them; it would draw some otherwise
    pca.train(centred)
    axes = faiss.vector_to_array(pca.A).reshape(hash_length, feature_dim)
    axes *= np.sqrt((centred @ axes.T).std(axis=0, keepdims=True)).T  # codes follow what varies most
    rotation = find_rotation(centred @ axes.T, seed=seed)
    return (rotation.T @ axes).astype(np.float32), mean
