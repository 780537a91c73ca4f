"""Shifts of cells from frame to frame, and what features say of them."""

from __future__ import annotations

import math

import pytest
import torch

from c3dhash.models.backbones import build_backbone
from c3dhash.models.backbones.shifts import CELLS, NUM_DIRECTIONS, NUM_SHIFTS, PARTS, cell_shifts, shift_histograms


def moving(dx: int, dy: int, *, num_frames: int = 4, height: int = 12, width: int = 14) -> torch.Tensor:
    """Return maps of noise that moves by so many cells a frame, and brings in new noise: [1, T, 64, h, w]."""
    side = 2 * num_frames
    noise = torch.randn(64, height + 2 * side, width + 2 * side)
    places = [(side - frame * dy, side - frame * dx) for frame in range(num_frames)]
    return torch.stack([noise[:, y : y + height, x : x + width] for y, x in places])[None]


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (1, 0), (0, -2), (-2, 1), (2, 2)])
def test_shifts_are_found(dx, dy):
    shifts = cell_shifts(3 + 5 * moving(dx, dy))
    assert shifts.shape == (1, 3, 2, 12, 14)
    inner = shifts[..., 2:-2, 2:-2]
    torch.testing.assert_close(inner, torch.tensor([dx, dy]).float()[:, None, None].expand_as(inner), atol=0.02, rtol=0)


def test_no_cell_leaves_the_picture():
    shifts = cell_shifts(torch.randn(1, 4, 64, 5, 5))
    assert shifts[..., 0, :, 0].min() >= 0 and shifts[..., 1, 0, :].min() >= 0
    assert shifts[..., 0, :, -1].max() <= 0 and shifts[..., 1, -1, :].max() <= 0


def slow_histograms(maps: torch.Tensor) -> torch.Tensor:
    """Cell by cell and bin by bin, of one clip whose sizes are multiples of cells and parts."""
    x, y = cell_shifts(maps)[0].double().unbind(1)
    x, y = x - x.mean((1, 2), keepdim=True), y - y.mean((1, 2), keepdim=True)
    num_steps, height, width = x.shape
    blocks = []
    for field, still in (((x, y), 0.4), (slopes(x), 0.1), (slopes(y), 0.1)):
        sums = torch.zeros(PARTS, NUM_DIRECTIONS + 1, CELLS, CELLS, dtype=torch.float64)
        for t in range(num_steps):
            for row in range(height):
                for column in range(width):
                    a, b = (float(each[t, row, column]) for each in field)
                    place = t * PARTS // num_steps, slice(None), row * CELLS // height, column * CELLS // width
                    angles = [2 * math.pi * k / NUM_DIRECTIONS for k in range(NUM_DIRECTIONS)]
                    bins = [max(0.0, math.cos(k) * a + math.sin(k) * b) for k in angles]
                    sums[place] += torch.tensor([*bins, max(0.0, 1 - math.hypot(a, b) / still)])
        means = sums * PARTS * CELLS**2 / (num_steps * height * width)
        roots = (means + 1e-6).sqrt().flatten()
        blocks.append(roots / roots.norm())
    return torch.cat(blocks) / math.sqrt(3)


def slopes(field: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    steps = []
    for dim in (2, 1):
        size = field.shape[dim]
        after = field.index_select(dim, torch.arange(1, size + 1).clamp(max=size - 1))
        before = field.index_select(dim, torch.arange(-1, size - 1).clamp(min=0))
        steps.append((after - before) / 2)
    return steps[0], steps[1]


def test_histograms_are_those_of_a_loop():
    maps = moving(1, 0, num_frames=7, height=6, width=9)
    maps[..., :3, :] = moving(-1, 2, num_frames=7, height=3, width=9)
    found = shift_histograms(maps)
    assert found.shape == (1, NUM_SHIFTS) and found.dtype == torch.float32
    torch.testing.assert_close(found[0].double(), slow_histograms(maps), atol=1e-4, rtol=1e-3)


def test_where_things_move_and_how():
    """The camera moves, and at the left something moves another way."""
    maps = moving(1, 0, num_frames=4, height=9, width=9)
    maps[..., :3] = moving(1, 2, num_frames=4, height=9, width=3)
    shifts = shift_histograms(maps)[0].view(3, PARTS, NUM_DIRECTIONS + 1, CELLS, CELLS)[0]
    down = NUM_DIRECTIONS // 4
    assert (shifts[:, :NUM_DIRECTIONS, 1, 0].argmax(1) == down).all()
    maps = moving(1, 0, num_frames=4, height=24, width=24)
    shifts = shift_histograms(maps)[0].view(3, PARTS, NUM_DIRECTIONS + 1, CELLS, CELLS)[0]
    assert (shifts[:, :, 1, 1].argmax(1) == NUM_DIRECTIONS).all(), "what moves as the camera does stands still"


def test_each_clip_by_itself_and_one_frame_says_nothing():
    clips = torch.cat([moving(1, 0), moving(0, 1)])
    both = shift_histograms(clips)
    torch.testing.assert_close(both, torch.cat([shift_histograms(clips[:1]), shift_histograms(clips[1:])]))
    torch.testing.assert_close(both.norm(dim=1), torch.ones(2))
    assert not shift_histograms(clips[:, :1].half()).any()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(shift_histograms(clips), both)


@pytest.mark.parametrize("name", ["tsn_mobilenet_v2", "tsm_resnet18", "tsn_efficientnet_lite0"])
def test_shifts_stand_behind_the_changes_and_are_as_long(name):
    network, clips = build_backbone(name, num_frames=4, size=64).eval(), torch.randn(2, 3, 4, 64, 64)
    with torch.inference_mode():
        network.add_changes()
        before = network(clips)
        network.add_shifts()
        features = network(clips)
        kept = network.run_stages(clips, last=len(network.stages()) - 1)
        assert torch.equal(network.run_stages(kept, first=len(network.stages()) - 1), features)
    dim = before.shape[1]
    assert network.has_shifts and network.feature_dim == dim + NUM_SHIFTS == features.shape[1]
    assert torch.equal(features[:, :dim], before)
    torch.testing.assert_close(features[:, dim:].norm(dim=1), before.norm(dim=1))
    torch.testing.assert_close(features[:, dim:] / before.norm(dim=1, keepdim=True), shift_histograms(kept))


def test_gradients_are_finite():
    maps = torch.zeros(1, 3, 8, 4, 4, requires_grad=True)
    (shift_histograms(maps).sum() + shift_histograms(maps + torch.randn(maps.shape)).sum()).backward()
    assert maps.grad.isfinite().all()


def test_only_networks_that_are_divided_and_say_changes_have_them(monkeypatch):
    network = build_backbone("resnet3d10", num_frames=4, size=32)
    network.add_shifts()
    assert (network.has_shifts, network.feature_dim) == (False, type(network).feature_dim)
    network = build_backbone("tsn_resnet18", num_frames=4, size=32)
    network.add_shifts()
    assert not network.has_shifts, "changes come first"
    network.add_changes()
    monkeypatch.setattr(network, "parts", lambda: ())
    network.add_shifts()
    assert (network.has_shifts, network.feature_dim) == (False, 1024)
