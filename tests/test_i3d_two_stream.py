"""The script that asks I3D's two streams, as the authors' demo does."""

from __future__ import annotations

from pathlib import Path

import i3d_two_stream
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from videos import write_video

from c3dhash.errors import UsageError
from c3dhash.models.backbones import build_backbone

NAMES = {"conv_1a": "Conv3d_1a_7x7", "conv_2b": "Conv3d_2b_1x1", "conv_2c": "Conv3d_2c_3x3"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> dict[str, Path]:
    """Random weights of both streams in the layout of the PyTorch port."""
    paths, folder = {}, tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for name, backbone in (("rgb", "i3d"), ("flow", "i3d_flow")):
        tensors = {}
        for key, tensor in build_backbone(backbone).state_dict().items():
            first, rest = key.split(".", 1)
            tensors[f"{NAMES.get(first, first.replace('mixed', 'Mixed'))}.{rest.replace('conv.', 'conv3d.')}"] = tensor
        tensors["logits.conv3d.weight"], tensors["logits.conv3d.bias"] = (
            torch.randn(400, 1024, 1, 1, 1),
            torch.randn(400),
        )
        paths[name] = folder / f"{name}.pt"
        torch.save(tensors, paths[name])
    return paths


def save_clip(path: Path, num_channels: int, *, seed: int) -> Path:
    clip = np.random.default_rng(seed).uniform(-1, 1, (1, 9, 64, 64, num_channels))
    np.save(path, clip)
    return path


def ask(*arguments: object) -> list[str]:
    result = CliRunner().invoke(i3d_two_stream.main, [str(each) for each in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout.splitlines()


def test_logits_are_added(tmp_path, weights):
    rgb, flow = save_clip(tmp_path / "rgb.npy", 3, seed=1), save_clip(tmp_path / "flow.npy", 2, seed=2)
    networks = {name: i3d_two_stream.load_network(backbone, str(weights[name]))
                for name, backbone in (("rgb", "i3d"), ("flow", "i3d_flow"))}  # fmt: skip
    logits = {name: i3d_two_stream.logits_of(networks[name][0], np.load(path).astype(np.float32))
              for name, path in (("rgb", rgb), ("flow", flow))}  # fmt: skip
    labels = networks["rgb"][1]
    options = ("--rgb-weights", weights["rgb"], "--flow-weights", weights["flow"])
    for arguments, expected in (
        (("--rgb", rgb), logits["rgb"]),
        (("--flow", flow), logits["flow"]),
        (("--rgb", rgb, "--flow", flow), logits["rgb"] + logits["flow"]),
    ):
        lines = ask(*arguments, *options)
        assert lines[0] == f"Norm of logits: {np.sqrt((expected**2).sum()):f}"
        assert lines[2] == "Top classes and probabilities" and len(lines) == 23
        order = np.argsort(-expected)
        shares = np.exp(expected - expected.max()) / np.exp(expected - expected.max()).sum()
        for line, index in zip(lines[3:], order, strict=False):
            probability, logit, name = line.split(" ", 2)
            assert float(probability) == pytest.approx(shares[index], rel=1e-4)
            assert float(logit) == pytest.approx(expected[index], rel=1e-4)
            assert name == labels[index]
    (tmp_path / "names.txt").write_text("\n".join(f"class {number}" for number in range(400)))
    assert ask("--rgb", rgb, *options, "--labels", tmp_path / "names.txt")[3].endswith(
        f"class {int(np.argmax(logits['rgb']))}"
    )


def test_a_video_is_what_the_authors_describe(tmp_path, weights):
    path = write_video(tmp_path / "a.avi", 20)
    clips = i3d_two_stream.clips_of_video(path, has_flow=True)
    assert {name: clip.shape for name, clip in clips.items()} == {
        "rgb": (1, 20, 224, 224, 3), "flow": (1, 20, 224, 224, 2),
    }  # fmt: skip
    assert all(clip.dtype == np.float32 and clip.min() >= -1 and clip.max() <= 1 for clip in clips.values())
    assert set(i3d_two_stream.clips_of_video(path, has_flow=False)) == {"rgb"}
    assert ask("--video", path, "--no-flow", "--rgb-weights", weights["rgb"])[0].startswith("Norm of logits: ")


def test_bad_input_is_one_line(tmp_path):
    for name, array, reason in (
        ("shape", np.zeros((9, 64, 64, 3)), r"must be one clip \[1, T, H, W, 3\], is \[9, 64, 64, 3\]"),
        ("range", np.full((1, 9, 64, 64, 3), 200.0), "must hold numbers from -1 to 1"),
        ("type", np.zeros((1, 9, 64, 64, 3), np.uint8), "must hold numbers from -1 to 1"),
        ("nan", np.full((1, 9, 64, 64, 3), np.nan), "must hold numbers from -1 to 1"),
    ):
        np.save(tmp_path / f"{name}.npy", array)
        with pytest.raises(UsageError, match=reason):
            i3d_two_stream.load_clip(tmp_path / f"{name}.npy", num_channels=3)
    (tmp_path / "text.npy").write_text("nothing")
    with pytest.raises(UsageError, match="is no array that NumPy can read"):
        i3d_two_stream.load_clip(tmp_path / "text.npy", num_channels=3)
    for arguments, reason in (
        ((), "nothing to look at"),
        (("--video", "a.mp4", "--rgb", "a.npy"), "--video takes the place"),
        (("--no-flow", "--rgb", "a.npy"), "--no-flow goes with --video"),
    ):
        with pytest.raises(UsageError, match=reason):
            CliRunner().invoke(i3d_two_stream.main, list(arguments), catch_exceptions=False)
