"""mixup and cutmix of batches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TINY

from c3dhash.training.mixing import mix


def clips(num: int) -> torch.Tensor:
    """Return clips of one value each, uint8 [B, 2, 20, 30, 3]: ten times their number."""
    return torch.arange(num, dtype=torch.uint8).mul(10).view(-1, 1, 1, 1, 1).expand(num, 2, 20, 30, 3).contiguous()


@pytest.mark.parametrize("way", ["mixup", "cutmix"])
def test_clips_and_labels_are_mixed_by_the_same_share(way):
    """The mean of a mixed clip is what its shares say, with a class of its own for each clip."""
    config, labels = replace(TINY, **{way: 1.0}), torch.arange(8)
    seen = []
    for seed in range(30):
        batch, shares = mix(clips(8), labels, config, num_classes=9, rng=np.random.default_rng(seed))
        assert batch.dtype == torch.uint8 and batch.shape == (8, 2, 20, 30, 3)
        assert torch.allclose(shares.sum(1), torch.ones(8)) and not shares[:, 8].any()
        means = batch.float().mean(dim=(1, 2, 3, 4))
        assert torch.allclose(means, shares[:, :8] @ (10.0 * labels), atol=0.51 if way == "mixup" else 1e-3)
        own = shares.gather(1, labels[:, None])[:, 0]
        assert (own >= 0.5 - 1e-6).all(), "the label of a clip is the larger share"
        seen.append(float(own[own < 1].min()) if (own < 1).any() else 1.0)
        if way == "cutmix":
            assert all(len(np.unique(clip)) <= 2 for clip in batch.numpy())
            assert np.array_equal(batch[:, 0], batch[:, 1]), "the same part of each frame"
    assert np.std(seen) > 0.1, "the share is drawn"


@pytest.mark.parametrize("shape", [(6, 5), (6, 4, 2, 3, 7), (6, 2, 4, 3, 7)])
def test_what_frozen_stages_gave_is_mixed_as_it_is(shape):
    kept = torch.rand(shape, dtype=torch.float32).half()
    mixed, shares = mix(kept, torch.arange(6), replace(TINY, mixup=0.5), num_classes=6, rng=np.random.default_rng(1))
    expected = torch.einsum("ij,j...->i...", shares, kept.float())
    assert mixed.dtype == torch.float16 and torch.allclose(mixed.float(), expected, atol=2e-3)
    if len(shape) == 5:
        cut, shares = mix(kept, torch.arange(6), replace(TINY, cutmix=1.0), num_classes=6, rng=np.random.default_rng(1))
        own = (cut == kept).float().mean(dim=(1, 2, 3, 4))
        assert torch.allclose(own, shares.diagonal(), atol=1e-3) and (own < 1).any()
        assert torch.equal(cut[:, 0, 0] == kept[:, 0, 0], (cut == kept).flatten(1, 2).all(1)), "of every frame alike"


def test_several_labels_and_both_ways():
    labels = torch.tensor([[True, True, False], [False, False, True]])
    config = replace(TINY, mixup=1.0, cutmix=1.0)
    kinds = set()
    for seed in range(20):
        batch, shares = mix(clips(2), labels, config, num_classes=3, rng=np.random.default_rng(seed))
        assert shares[0, 0] == shares[0, 1] == pytest.approx(1 - float(shares[0, 2]))
        kinds.add("cutmix" if set(np.unique(batch)) <= {0, 10} and 0 < batch.float().mean() < 10 else "mixup")
    assert kinds == {"mixup", "cutmix"}


@pytest.mark.parametrize("side", [1, 2, 3, 4, 7, 14])
def test_a_map_keeps_the_larger_share_of_itself(side):
    """Parts are whole cells, of which no more are cut than the share says."""
    kept, config = torch.rand(4, 3, 2, side, side).half(), replace(TINY, cutmix=1.0)
    own = np.array([mix(kept, torch.arange(4), config, num_classes=4, rng=np.random.default_rng(seed))[1].diagonal()
                    for seed in range(300)])  # fmt: skip
    assert own.min() >= 0.5
    assert (own.min() < 1) == (side > 1)
