"""Class heads that weights were published with, and their classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from c3dhash.errors import CheckpointError, UsageError
from c3dhash.models.backbones import build_backbone
from c3dhash.models.published import published_run


def i3d_file(path: Path, num_classes: int | None) -> dict[str, torch.Tensor]:
    """Write what the PyTorch port of I3D holds; only the first and the last layer have its names' patterns to show."""
    names = {"conv_1a": "Conv3d_1a_7x7", "conv_2b": "Conv3d_2b_1x1", "conv_2c": "Conv3d_2c_3x3"}
    tensors = {}
    for name, tensor in build_backbone("i3d").state_dict().items():
        first, rest = name.split(".", 1)
        tensors[f"{names.get(first, first.replace('mixed', 'Mixed'))}.{rest.replace('conv.', 'conv3d.')}"] = tensor
    if num_classes:
        tensors["logits.conv3d.weight"] = torch.randn(num_classes, 1024, 1, 1, 1)
        tensors["logits.conv3d.bias"] = torch.randn(num_classes)
    torch.save(tensors, path)
    return tensors


def test_a_class_head_comes_with_its_classes(tmp_path: Path) -> None:
    tensors = i3d_file(tmp_path / "rgb.pt", 400)
    run = published_run("i3d", tmp_path / "rgb.pt")
    assert run.labels[:2] == ("abseiling", "air drumming") and len(run.labels) == 400
    assert (run.model.hash_head, run.model.training, run.path) == (None, False, tmp_path / "rgb.pt")
    clips = torch.randn(1, 3, 16, 224, 224)
    with torch.inference_mode():
        outputs = run.model(clips)
        expected = outputs.feature @ tensors["logits.conv3d.weight"].flatten(1).T + tensors["logits.conv3d.bias"]
    torch.testing.assert_close(outputs.logits, expected)


@pytest.mark.parametrize(("num_classes", "reason"), [(None, "bring no class head"), (157, "tell 157 classes apart")])
def test_no_class_head_that_is_known(tmp_path: Path, num_classes: int | None, reason: str) -> None:
    i3d_file(tmp_path / "rgb.pt", num_classes)
    with pytest.raises(CheckpointError, match=reason):
        published_run("i3d", tmp_path / "rgb.pt")
    with pytest.raises(UsageError, match="backbone"):
        published_run("i4d", tmp_path / "rgb.pt")
