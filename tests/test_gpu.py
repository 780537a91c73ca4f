"""What differs on a CUDA device. Not run where there is none; `-m gpu` without one fails instead of passing unseen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TINY

from c3dhash.models.encode import Encoder
from c3dhash.models.runs import load_run
from c3dhash.training.losses import batch_all_triplet_loss
from c3dhash.training.train import train_run
from c3dhash.video.cache import FrameCache

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def cuda():
    assert torch.cuda.is_available(), "tests marked gpu need a CUDA device"


def test_the_triplet_loss_is_the_same():
    embeddings, labels = torch.tanh(torch.randn(64, 48)), torch.randint(8, (64,))
    losses = []
    for device in ("cpu", "cuda"):
        on_device = embeddings.to(device).clone().requires_grad_()
        loss = batch_all_triplet_loss(on_device, labels.to(device), margin=14.0)
        loss.backward()
        losses.append((loss.item(), on_device.grad.cpu()))
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-5)
    torch.testing.assert_close(losses[0][1], losses[1][1], rtol=1e-3, atol=1e-6)


def test_codes_are_the_same(untrained_run):
    clips = np.random.default_rng(0).integers(0, 256, (8, 4, 16, 16, 3), np.uint8)
    embeddings = [
        Encoder(load_run(untrained_run.path).model, device=device, precision="fp32")(clips).embeddings
        for device in ("cpu", "cuda")
    ]
    np.testing.assert_allclose(embeddings[0], embeddings[1], atol=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_runs_and_resumes(motion, tmp_path, precision):
    cache = FrameCache(tmp_path / "frames", max_bytes=1 << 28)
    config = replace(TINY, device="cuda", precision=precision)
    run_dir = train_run(motion, config, run_dir=tmp_path / "run", cache=cache)
    train_run(motion, replace(config, epochs=3), run_dir=run_dir, cache=cache, resume=True)
    assert len((run_dir / "metrics.jsonl").read_text().splitlines()) == 3
