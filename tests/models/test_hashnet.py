from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from c3dhash.config import ModelConfig
from c3dhash.errors import UsageError
from c3dhash.models.encode import Encoder
from c3dhash.models.hashnet import HashNet, build_model
from c3dhash.records import Preprocessing

SMALL = ModelConfig(num_frames=4, size=16, hash_length=16)


def test_the_heads_stand_beside_each_other():
    model = build_model(SMALL, num_classes=5).eval()
    clips = torch.randn(2, 3, 4, 16, 16)
    feature, embedding, logits = model(clips)
    assert feature.shape == (2, 512)
    torch.testing.assert_close(embedding, torch.tanh(feature @ model.hash_head.weight.T + model.hash_head.bias))
    torch.testing.assert_close(logits, feature @ model.class_head.weight.T + model.class_head.bias)
    assert model(clips[:1]).embedding.shape == (1, 16), "a batch of one keeps its axis"


def test_the_hash_head_votes_where_classes_have_codes():
    model = build_model(SMALL, num_classes=2).eval()
    clips = torch.randn(2, 3, 4, 16, 16)
    _, embedding, alone = model(clips)
    model.class_codes = torch.ones(2, 16)
    model.class_codes[1] = -1
    # by hand: the likeness to +1 everywhere is the mean of the embedding, to -1 everywhere its opposite; times 5
    vote = 5 * embedding.mean(1, keepdim=True)
    logits = model(clips).logits
    torch.testing.assert_close(logits, alone + torch.cat([vote, -vote], 1))
    model.zero_grad()
    logits.sum().backward()
    assert model.hash_head.weight.grad is None, "class scores do not train the hash head"
    model.train()
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm3d):
            norm.eval()
    torch.testing.assert_close(model(clips).logits, alone, msg="in training, the class head learns by itself")


def test_class_codes_come_and_go_with_the_weights():
    model, other = build_model(SMALL, num_classes=2), build_model(SMALL, num_classes=2)
    model.class_codes = torch.ones(2, 16)
    other.load_state_dict(model.state_dict())
    assert other.class_codes is not None and other.class_codes is not model.class_codes
    assert torch.equal(other.class_codes, model.class_codes)
    model.class_codes = None
    other.load_state_dict(model.state_dict())
    assert other.class_codes is None


def test_heads_compute_in_float32_under_autocast():
    model = build_model(SMALL, num_classes=2).eval()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(torch.randn(1, 3, 4, 16, 16))
    assert {part.dtype for part in outputs} == {torch.float32}


@pytest.mark.parametrize(
    ("stack", "channels", "interval_seconds"), [(0, "flow", None), (5, "RGB", None), (5, "flow", 0.04)]
)
def test_stacks_are_of_flow_and_spread(stack, channels, interval_seconds):
    values = (1.0,) * (10 if channels == "flow" else 3)
    with pytest.raises(UsageError, match=rf"stack \({stack}\) must be 1, or more for flow whose stacks are spread"):
        Preprocessing(channels, 1.0, values, values, interval_seconds, stack)


def test_stacks_are_not_mixed_up_with_flow():
    config = dataclasses.replace(SMALL, backbone="tsn_flow_resnet18", num_frames=2, size=32)
    model = build_model(config, num_classes=2).eval()
    message = r"clips of 2 channels are not for this network, which reads 10 \(flow\): give it stacks of 5 flows"
    with pytest.raises(UsageError, match=message):
        Encoder(model, device="cpu", precision="fp32")(np.zeros((1, 2, 32, 32, 2), np.uint8))
    encoded = Encoder(model, device="cpu", precision="fp32")(np.zeros((1, 2, 32, 32, 10), np.uint8))
    assert encoded.embeddings.shape == (1, 16)


@pytest.mark.parametrize(("backbone", "given"), [("resnet3d18", 2), ("i3d_flow", 3)])
def test_rgb_and_flow_are_not_mixed_up(backbone, given):
    model = build_model(dataclasses.replace(SMALL, backbone=backbone), num_classes=2).eval()
    clips = np.zeros((1, 4, 16, 16, given), np.uint8)
    message = rf"clips of {given} channels are not for this network, which reads {5 - given} \("
    with pytest.raises(UsageError, match=message):
        model(torch.zeros(1, given, 4, 16, 16))
    with pytest.raises(UsageError, match=message):
        Encoder(model, device="cpu", precision="fp32")(clips)
    encoded = Encoder(model, device="cpu", precision="fp32")(np.zeros((1, 4, 16, 16, 5 - given), np.uint8))
    assert encoded.embeddings.shape == (1, 16)


def test_hash_length_is_checked():
    with pytest.raises(UsageError, match=r"hash_length \(0\)"):
        HashNet(build_model(SMALL, num_classes=2).backbone, hash_length=0, num_classes=2)
    with pytest.raises(UsageError, match=r"hash_length \(0\)"):
        ModelConfig(hash_length=0)
