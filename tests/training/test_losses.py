from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import GOLDEN_DIR

from c3dhash.errors import UsageError
from c3dhash.training import losses
from c3dhash.training.losses import (
    BatchAllTripletLoss,
    batch_all_triplet_loss,
    batch_all_triplet_sums,
    center_loss,
    classification_loss,
    default_margin,
    inverse_class_weights,
    reduce_triplets,
    widest_float,
)

GOLDEN = json.loads((GOLDEN_DIR / "triplet.json").read_text())


def brute_force(embeddings: torch.Tensor, labels: torch.Tensor, margin: float) -> tuple[torch.Tensor, int, int]:
    """The definition: list every ordered triplet. Return the sum of the hinges and how many are active and there."""
    total, num_active, num_triplets = embeddings.sum() * 0, 0, 0

    def same(i: int, j: int) -> bool:
        if labels.ndim == 1:
            return bool(labels[i] == labels[j])
        return bool((labels[i] & labels[j]).any())

    for a in range(len(labels)):
        for p in range(len(labels)):
            for n in range(len(labels)):
                if a == p or not same(a, p) or same(a, n):
                    continue
                hinge = (
                    margin
                    + (embeddings[a] - embeddings[p]).square().sum()
                    - (embeddings[a] - embeddings[n]).square().sum()
                )
                num_triplets += 1
                if hinge > 0:
                    num_active += 1
                    total = total + hinge
    return total, num_active, num_triplets


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000), batch=st.integers(2, 12), bits=st.integers(1, 9), classes=st.integers(1, 5),
    margin=st.sampled_from([0.0, 0.3, 2.0, 50.0]), multi_label=st.booleans(),
)  # fmt: skip
def test_equals_the_listing_of_every_triplet_in_value_and_gradient(seed, batch, bits, classes, margin, multi_label):
    generator = torch.Generator().manual_seed(seed)
    base = torch.tanh(torch.randn(batch, bits, generator=generator, dtype=torch.float64))
    if multi_label:
        labels = torch.rand(batch, classes, generator=generator) < 0.5
        labels[torch.arange(batch), torch.randint(classes, (batch,), generator=generator)] = True
    else:
        labels = torch.randint(classes, (batch,), generator=generator)
    ours, theirs = base.clone().requires_grad_(), base.clone().requires_grad_()
    sums = batch_all_triplet_sums(ours, labels, margin=margin)
    total, num_active, num_triplets = brute_force(theirs, labels, margin)
    assert int(sums.num_triplets) == num_triplets
    assert int(sums.num_active) == num_active
    sums.total.backward()
    total.backward()
    torch.testing.assert_close(sums.total, total, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "case", GOLDEN["cases"], ids=lambda case: f"B{case['batch']}-C{case['classes']}-m{case['margin']:g}"
)
@pytest.mark.parametrize("reduction", ["all", "active"])
def test_golden(case, reduction):
    embeddings = np.tanh(np.random.RandomState(case["seed"]).standard_normal((case["batch"], case["bits"])))
    embeddings = torch.tensor(embeddings.astype(np.float32), requires_grad=True)
    labels = torch.tensor(np.random.RandomState(case["seed"] + 1).randint(0, case["classes"], case["batch"]))
    loss = batch_all_triplet_loss(embeddings, labels, margin=case["margin"], reduction=reduction)
    loss.backward()
    assert loss.item() == pytest.approx(case[f"loss_{reduction}"], rel=1e-6)
    assert embeddings.grad.norm().item() == pytest.approx(case[f"grad_norm_{reduction}"], rel=1e-5)
    np.testing.assert_allclose(embeddings.grad.ravel()[:4], case[f"grad_first4_{reduction}"], rtol=1e-4, atol=1e-7)


def test_by_hand():
    # On a line at 0, 1 (class 0) and 2 (class 1), margin 2. Squared distances: d01 = 1, d02 = 4, d12 = 1.
    # anchor 0, positive 1, negative 2: 2 + 1 - 4 < 0.   anchor 1, positive 0, negative 2: 2 + 1 - 1 = 2.
    embeddings = torch.tensor([[0.0], [1.0], [2.0]], requires_grad=True)
    labels = torch.tensor([0, 0, 1])
    assert batch_all_triplet_loss(embeddings, labels, margin=2.0).item() == 1.0
    loss = batch_all_triplet_loss(embeddings, labels, margin=2.0, reduction="active")
    assert loss.item() == 2.0
    loss.backward()  # hinge = 2 + (x1 - x0)^2 - (x1 - x2)^2: d/dx0 = -2, d/dx1 = 2 + 2, d/dx2 = -2
    assert embeddings.grad.ravel().tolist() == [-2.0, 4.0, -2.0]


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]], ids=["no negative", "no positive"])
def test_a_batch_without_a_triplet_gives_zero_with_a_graph(labels):
    embeddings = torch.randn(3, 4, requires_grad=True)
    loss = batch_all_triplet_loss(embeddings, torch.tensor(labels), margin=1.0)
    assert loss.item() == 0
    loss.backward()
    assert torch.equal(embeddings.grad, torch.zeros(3, 4))


def test_is_computed_in_float32_under_autocast():
    embeddings, labels = torch.tanh(torch.randn(16, 8)), torch.arange(16) // 4
    exact = batch_all_triplet_loss(embeddings, labels, margin=3.0)
    with torch.autocast("cpu", torch.bfloat16):
        assert batch_all_triplet_loss(embeddings, labels, margin=3.0) == exact
        assert batch_all_triplet_loss(embeddings.bfloat16(), labels, margin=3.0).dtype == torch.float32


def test_the_module_is_the_function():
    embeddings, labels = torch.randn(8, 4), torch.arange(8) // 2
    module = BatchAllTripletLoss(margin=2.0, reduction="active")
    assert module(embeddings, labels) == batch_all_triplet_loss(embeddings, labels, margin=2.0, reduction="active")


def test_bad_arguments():
    embeddings, labels = torch.randn(4, 3), torch.tensor([0, 0, 1, 1])
    with pytest.raises(UsageError, match=r"margin \(-1\)"):
        batch_all_triplet_loss(embeddings, labels, margin=-1)
    with pytest.raises(UsageError, match=r"margin \(nan\)"):
        BatchAllTripletLoss(margin=float("nan"))
    with pytest.raises(UsageError, match="reduction \\('sum'\\)"):
        reduce_triplets(batch_all_triplet_sums(embeddings, labels, margin=1), reduction="sum")
    with pytest.raises(UsageError, match=r"\[4, 3\].*\[3\]"):
        batch_all_triplet_loss(embeddings, labels[:3], margin=1)
    with pytest.raises(UsageError, match=r"torch.int64 \[4, 3\]"):
        batch_all_triplet_loss(embeddings, torch.zeros(4, 3, dtype=torch.int64), margin=1)


def test_default_margin():
    assert [default_margin(bits) for bits in (48, 64)] == [14, 20]
    assert all(default_margin(bits) >= bits / 4 for bits in range(8, 1025))


def test_classification_loss():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    # -log softmax: log(1 + e^-2) and log(1 + e^-1), averaged
    expected = (np.log1p(np.exp(-2)) + np.log1p(np.exp(-1))) / 2
    assert classification_loss(logits, torch.tensor([0, 1])).item() == pytest.approx(expected, rel=1e-6)
    # binary: log(1 + e^-x) where the label holds, log(1 + e^x) where not, summed over the classes of each of two videos
    labels = torch.tensor([[True, False], [True, True]])
    expected = (np.log1p(np.exp(-2)) + np.log(2) + np.log(2) + np.log1p(np.exp(-1))) / 2
    assert classification_loss(logits, labels).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("num_classes", [2, 20, 500])
def test_at_chance_both_cross_entropies_pull_alike(num_classes):
    labels = torch.randint(num_classes, (8,))
    single = torch.zeros(8, num_classes, requires_grad=True)  # softmax: 1/C each
    several = torch.full((8, num_classes), -np.log(num_classes - 1), requires_grad=True)  # sigmoid: 1/C each
    values = classification_loss(single, labels), classification_loss(several, F.one_hot(labels, num_classes).bool())
    for value in values:
        value.backward()
    torch.testing.assert_close(single.grad, several.grad, rtol=1e-4, atol=1e-7)
    assert 0 < (values[1] - values[0]).item() < 1


def test_a_wider_search_gives_the_same(monkeypatch):
    # What other devices than the CPU do, so that no number must be read from them.
    embeddings, labels = torch.randn(20, 6), torch.randint(4, (20,))
    results = []
    for width in (losses._search_width, len):
        monkeypatch.setattr(losses, "_search_width", width)
        mine = embeddings.clone().requires_grad_()
        sums = batch_all_triplet_sums(mine, labels, margin=3.0)
        sums.total.backward()
        results.append((sums, mine.grad))
    assert all(torch.equal(one, other) for one, other in zip(results[0][0], results[1][0], strict=True))
    assert torch.equal(results[0][1], results[1][1])
    assert losses._search_width(torch.ones(3, 3, dtype=torch.bool, device="meta")) == 3


def test_metal_has_no_float64():
    assert [widest_float(torch.device(name)) for name in ("cpu", "cuda", "mps")] == [torch.float64] * 2 + [
        torch.float32
    ]


def test_center_loss_is_the_cross_entropy_with_the_centres():
    centers = torch.tensor([[1.0, 1.0, -1.0], [-1.0, 1.0, 1.0]])
    embeddings = torch.tensor([[0.5, 0.0, -0.8], [0.2, -0.6, 0.1]])
    # By hand: -ln of (1 + h c) / 2 for each entry, since a target is 0 or 1.
    expected = [-math.log(x) for x in (0.75, 0.5, 0.9, 0.4, 0.2, 0.55)]
    loss = center_loss(embeddings, torch.tensor([0, 1]), centers)
    assert loss.item() == pytest.approx(sum(expected) / 6, rel=1e-5)
    many = torch.tensor([[True, False], [False, True], [True, True], [False, False]])
    both = torch.cat([embeddings, torch.zeros(1, 3), torch.full((1, 3), 0.9)])
    # The third has targets 1/2, 1, 1/2 and chances 1/2, so that each entry gives ln 2; the fourth does not count.
    assert center_loss(both, many, centers).item() == pytest.approx((sum(expected) / 3 + math.log(2)) / 3, rel=1e-5)
    none = center_loss(embeddings.requires_grad_(), torch.zeros(2, 2, dtype=torch.bool), centers)
    assert none.item() == 0
    none.backward()


def test_a_saturated_embedding_gives_a_finite_loss():
    embeddings = torch.tensor([[1.0, -1.0]], requires_grad=True)
    loss = center_loss(embeddings, torch.tensor([0]), torch.tensor([[-1.0, 1.0]]))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(embeddings.grad).all()


def test_shares_of_one_class_are_its_label():
    logits, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 1, 1])
    weights = torch.tensor([0.5, 2.0, 1.0, 3.0])
    for options in ({}, {"label_smoothing": 0.1}, {"class_weights": weights}):
        hard = classification_loss(logits, labels, **options)
        soft = classification_loss(logits, labels, shares=F.one_hot(labels, 4).float(), **options)
        torch.testing.assert_close(soft, hard)
    mixed = classification_loss(logits, labels, shares=torch.full((6, 4), 0.25))
    torch.testing.assert_close(mixed, -logits.log_softmax(1).mean())


def test_centres_are_drawn_to_by_shares():
    """Of a clip that is three quarters of one class, the target is three quarters of its centre."""
    centers, shares = torch.tensor([[1.0, 1.0], [-1.0, 1.0]]), torch.tensor([[0.75, 0.25]])
    embeddings = torch.tensor([[0.5, 0.9]])
    chance, other = 0.75, 0.95  # the target of the first bit is (1 + 0.5) / 2
    expected = -(0.75 * np.log(chance) + 0.25 * np.log(1 - chance) + np.log(other)) / 2
    assert center_loss(embeddings, shares, centers).item() == pytest.approx(expected, rel=1e-5)


def test_weights_make_classes_count_alike():
    labels = np.array([0] * 8 + [1] * 2 + [3] * 2)
    weights = inverse_class_weights(labels, num_classes=4)
    assert weights.tolist() == pytest.approx([0.5, 2.0, 1.0, 2.0])
    assert weights[labels].mean() == pytest.approx(1)
    several = np.array([[True, True], [True, False], [True, False]])
    assert inverse_class_weights(several, num_classes=2).tolist() == pytest.approx([4 / 6, 2.0])
