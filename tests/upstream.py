"""Checkpoints as upstream writes them, filled by the rule that the golden values were made by."""

from __future__ import annotations

import json
import zlib

import numpy as np
import torch
from paths import GOLDEN_DIR

from c3dhash.models.backbones import LAYOUTS
from c3dhash.models.backbones.layouts import unwrap


def golden_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """List the entries of an upstream checkpoint: its keys and shapes."""
    entries = json.loads((GOLDEN_DIR / f"{name}.json").read_text())["entries"]
    return {key: tuple(shape) for key, shape in entries.items()}


def golden_arrays(name: str) -> dict[str, np.ndarray]:
    """Return what the upstream network computes."""
    with np.load(GOLDEN_DIR / f"{name}.npz") as arrays:
        return dict(arrays)


def fill(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Fill one entry: noise seeded by its key, scaled by what the last part of the key says it is."""
    noise = np.asarray(np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape), np.float32)
    match key.rsplit(".", 1)[-1]:
        case "num_batches_tracked":
            noise = np.zeros(shape, np.float32)
        case "running_var":
            noise = 0.5 + np.abs(noise)
        case "running_mean" | "bias":
            noise = 0.1 * noise
        case "weight" if len(shape) == 1:
            noise = 1 + 0.1 * noise
        case _:
            noise *= np.sqrt(2 / np.prod(shape[1:]), dtype=np.float32)
    return torch.from_numpy(noise)


def golden_tensors(name: str) -> dict[str, torch.Tensor]:
    """Fill all entries of an upstream checkpoint."""
    return {key: fill(key, shape) for key, shape in golden_shapes(name).items()}


def hollow_tensors(name: str) -> dict[str, torch.Tensor]:
    """Give each entry its shape, but one stored number: files of a few kilobytes for tests of structure."""
    return {key: torch.tensor(0.5).expand(shape) for key, shape in golden_shapes(name).items()}


def golden_clips(num_frames: int, *, scale: float = 1.0) -> torch.Tensor:
    """Return the input of the golden values, float32 [2, 3, T, 112, 112]."""
    clips = np.random.RandomState(20260101).standard_normal((2, 3, num_frames, 112, 112))
    return torch.from_numpy(clips.astype(np.float32)) * scale


def relative_error(values: torch.Tensor, expected: np.ndarray) -> float:
    """Return the largest error in standard deviations of the expected values."""
    return float(np.abs(values.detach().numpy() - expected).max() / expected.std())


def recognised(tensors: dict[str, torch.Tensor]) -> list[str]:
    """Name the layouts that say a checkpoint is theirs."""
    return [name for name, layout in LAYOUTS.items() if layout.recognise(unwrap(tensors))]


def filled(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Fill all entries by the rule."""
    return {key: fill(key, shape) for key, shape in shapes.items()}


def hollow(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Give each entry its shape, but one stored number."""
    return {key: torch.tensor(0.5).expand(shape) for key, shape in shapes.items()}


def norm_shapes(key: str, channels: int) -> dict[str, tuple[int, ...]]:
    """List the entries of a batch norm."""
    names = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{key}.{name}": (channels,) for name in names}, f"{key}.num_batches_tracked": ()}


def resnet3d_shapes(num_blocks: tuple[int, ...], *, is_deep: bool, shortcut: str, num_classes: int) -> dict:
    """List the entries that github.com/kenshohara/3D-ResNets-PyTorch gives a 3D ResNet; is_deep: of bottlenecks."""
    shapes = {"conv1.weight": (64, 3, 7, 7, 7), **norm_shapes("bn1", 64)}
    in_channels, expansion = 64, 4 if is_deep else 1
    for stage, (width, count) in enumerate(zip((64, 128, 256, 512), num_blocks, strict=True), start=1):
        for block in range(count):
            path, out_channels = f"layer{stage}.{block}", width * expansion
            convs = [(width, in_channels, 3, 3, 3), (width, width, 3, 3, 3)]
            if is_deep:
                convs = [(width, in_channels, 1, 1, 1), (width, width, 3, 3, 3), (out_channels, width, 1, 1, 1)]
            for number, shape in enumerate(convs, start=1):
                shapes |= {f"{path}.conv{number}.weight": shape, **norm_shapes(f"{path}.bn{number}", shape[0])}
            if shortcut == "B" and block == 0 and (stage > 1 or in_channels != out_channels):
                shapes[f"{path}.downsample.0.weight"] = (out_channels, in_channels, 1, 1, 1)
                shapes |= norm_shapes(f"{path}.downsample.1", out_channels)
            in_channels = out_channels
    return {**shapes, "fc.weight": (num_classes, in_channels), "fc.bias": (num_classes,)}


def conv_module_shapes(key: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """List the entries of a convolution and its norm as mmcv's ConvModule names them."""
    return {f"{key}.conv.weight": shape, **norm_shapes(f"{key}.bn", shape[0])}


def mmaction2_resnet50_shapes(
    path: str, *, stem_frames: int, kernel_frames: list[list[int]], width: int = 64, lateral_frames: int = 0
) -> dict[str, tuple[int, ...]]:
    """List the entries that mmaction2's ResNet3d gives a ResNet-50.

    kernel_frames: of each stage, of each block, the length of conv1. lateral_frames: of kernels that come from a path
        with an eighth of the channels, 0 for none.
    """
    shapes = conv_module_shapes(f"{path}conv1", (width, 3, stem_frames, 7, 7))
    in_channels = width
    for stage, frames_of_blocks in enumerate(kernel_frames, start=1):
        if lateral_frames:
            name = "conv1" if stage == 1 else f"layer{stage - 1}"
            fast = in_channels // 8
            shapes[f"{path}{name}_lateral.conv.weight"] = (2 * fast, fast, lateral_frames, 1, 1)
            in_channels += 2 * fast
        channels = width * 2 ** (stage - 1)
        for block, frames in enumerate(frames_of_blocks):
            key = f"{path}layer{stage}.{block}"
            shapes |= conv_module_shapes(f"{key}.conv1", (channels, in_channels, frames, 1, 1))
            shapes |= conv_module_shapes(f"{key}.conv2", (channels, channels, 1, 3, 3))
            shapes |= conv_module_shapes(f"{key}.conv3", (4 * channels, channels, 1, 1, 1))
            if block == 0:
                shapes |= conv_module_shapes(f"{key}.downsample", (4 * channels, in_channels, 1, 1, 1))
            in_channels = 4 * channels
    return shapes


def as_mmaction2(tensors: dict[str, torch.Tensor], *, is_shifted: bool) -> dict[str, torch.Tensor]:
    """Rename torchvision's entries of a ResNet as mmaction2 writes them."""
    renamed = {"cls_head.fc_cls.weight": tensors["fc.weight"][:400], "cls_head.fc_cls.bias": tensors["fc.bias"][:400]}
    for key, tensor in tensors.items():
        *path, layer, entry = key.split(".")
        if layer == "fc":
            continue
        if path[-1:] == ["downsample"]:
            path, layer = path[:-1], {"0": "downsample.conv", "1": "downsample.bn"}[layer]
        elif layer.startswith("bn"):
            layer = f"conv{layer[2:]}.bn"
        else:
            layer = f"{layer}.conv.net" if is_shifted and path and layer == "conv1" else f"{layer}.conv"
        renamed[".".join(["backbone", *path, layer, entry])] = tensor
    return renamed
