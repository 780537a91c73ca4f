"""Shifts of cells from frame to frame, and what features say of them."""

from __future__ import annotations

import math

import pytest
import torch

from c3dhash.models.backbones import build_backbone, tsn
from c3dhash.models.backbones.shifts import (
    CELLS,
    NUM_DIRECTIONS,
    NUM_SHIFTS,
    PARTS,
    STILL_WEIGHT,
    _all_shifts,
    cell_shifts,
    moving_weights,
    shift_histograms,
)


def moving(dx: int, dy: int, *, num_frames: int = 4, height: int = 12, width: int = 14) -> torch.Tensor:
    """Return maps of noise that moves by so many cells a frame, and brings in new noise: [1, T, 64, h, w]."""
    side = 2 * num_frames
    noise = torch.randn(64, height + 2 * side, width + 2 * side)
    places = [(side - frame * dy, side - frame * dx) for frame in range(num_frames)]
    return torch.stack([noise[:, y : y + height, x : x + width] for y, x in places])[None]


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (1, 0), (0, -2), (-2, 1), (2, 2)])
def test_shifts_are_found(dx, dy):
    maps = 3 + 5 * moving(dx, dy)
    shifts = _all_shifts(maps)
    assert shifts.shape == (1, 3, 2, 12, 14)
    inner = shifts[..., 2:-2, 2:-2]
    torch.testing.assert_close(inner, torch.tensor([dx, dy]).float()[:, None, None].expand_as(inner), atol=0.02, rtol=0)
    assert torch.equal(cell_shifts(maps), shifts - shifts.mean((3, 4), keepdim=True)), "the camera's do not count"


def test_no_cell_leaves_the_picture():
    shifts = _all_shifts(torch.randn(1, 4, 64, 5, 5))
    assert shifts[..., 0, :, 0].min() >= 0 and shifts[..., 1, 0, :].min() >= 0
    assert shifts[..., 0, :, -1].max() <= 0 and shifts[..., 1, -1, :].max() <= 0


def slow_histograms(shifts: torch.Tensor) -> torch.Tensor:
    """Cell by cell and bin by bin, of one clip whose sizes are multiples of cells and parts."""
    x, y = shifts[0].double().unbind(1)
    num_steps, height, width = x.shape
    blocks = []
    for field, still in (((x, y), 0.4), (slopes(x), 0.1), (slopes(y), 0.1)):
        sums = torch.zeros(PARTS, NUM_DIRECTIONS + 1, CELLS, CELLS, dtype=torch.float64)
        for t in range(num_steps):
            for row in range(height):
                for column in range(width):
                    a, b = (float(each[t, row, column]) for each in field)
                    place = t * PARTS // num_steps, slice(None), row * CELLS // height, column * CELLS // width
                    lower, share = divmod(math.atan2(b, a) / (2 * math.pi) * NUM_DIRECTIONS, 1)
                    bins, step = [0.0] * NUM_DIRECTIONS, 2 * math.pi / NUM_DIRECTIONS
                    for k, part in ((int(lower), 1 - share), (int(lower) + 1, share)):  # the law of sines
                        bins[k % NUM_DIRECTIONS] += math.hypot(a, b) * math.sin(part * step) / math.sin(step)
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
    shifts = cell_shifts(maps)
    found = shift_histograms(shifts)
    assert found.shape == (1, NUM_SHIFTS) and found.dtype == torch.float32
    torch.testing.assert_close(found[0].double(), slow_histograms(shifts), atol=1e-4, rtol=1e-3)


def test_where_things_move_and_how():
    """The camera moves, and at the left something moves another way."""
    maps = moving(1, 0, num_frames=4, height=9, width=9)
    maps[..., :3] = moving(1, 2, num_frames=4, height=9, width=3)
    shifts = shift_histograms(cell_shifts(maps))[0].view(3, PARTS, NUM_DIRECTIONS + 1, CELLS, CELLS)[0]
    down = NUM_DIRECTIONS // 4
    assert (shifts[:, :NUM_DIRECTIONS, 1, 0].argmax(1) == down).all()
    maps = moving(1, 0, num_frames=4, height=24, width=24)
    shifts = shift_histograms(cell_shifts(maps))[0].view(3, PARTS, NUM_DIRECTIONS + 1, CELLS, CELLS)[0]
    assert (shifts[:, :, 1, 1].argmax(1) == NUM_DIRECTIONS).all(), "what moves as the camera does stands still"


def test_each_clip_by_itself_and_in_full_precision():
    clips = torch.cat([moving(1, 0), moving(0, 1)])
    both = cell_shifts(clips)
    torch.testing.assert_close(both, torch.cat([cell_shifts(clips[:1]), cell_shifts(clips[1:])]))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(cell_shifts(clips), both)
    halves = clips.half()
    assert torch.equal(cell_shifts(halves), cell_shifts(halves.float()))
    histograms = shift_histograms(both)
    torch.testing.assert_close(histograms, torch.cat([shift_histograms(both[:1]), shift_histograms(both[1:])]))
    torch.testing.assert_close(histograms.norm(dim=1), torch.ones(2))


def test_cells_count_by_how_far_they_go():
    shifts = torch.zeros(2, 3, 2, 4, 4)
    shifts[0, 0, :, 0, 2:] = torch.tensor([3.0, 4.0])[:, None]  # between the first two frames, at the top right
    weights = moving_weights(shifts, (2, 2))
    assert weights.shape == (2, 4, 2, 2)
    torch.testing.assert_close(weights.sum((1, 2, 3)), torch.ones(2))
    torch.testing.assert_close(weights[1], torch.full((4, 2, 2), 1 / 16))  # nothing moves there
    expected = torch.zeros(4, 2, 2)
    expected[:2, 0, 1] = torch.tensor([2.5, 1.25])  # half of the cells in it; the second frame has half of the step
    expected += STILL_WEIGHT * expected.mean()
    torch.testing.assert_close(weights[0], expected / expected.sum(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["tsn_mobilenet_v2", "tsm_resnet18", "tsn_efficientnet_lite0", "tsn_convnext_tiny"])
def test_what_moves_counts_more_and_histograms_stand_behind(name, monkeypatch):
    network, clips = build_backbone(name, num_frames=4, size=64).eval(), torch.randn(2, 3, 4, 64, 64)
    last = len(network.stages()) - 1
    with torch.inference_mode():
        network.add_changes()
        before = network(clips)
        network.add_motion()
        features = network(clips)
        kept = network.run_stages(clips, last=last)
        assert torch.equal(network.run_stages(kept, first=last), features)
        assert_alike(network(clips[1:]), features[1:])
        monkeypatch.setattr(tsn, "moving_weights", lambda shifts, size: torch.ones(2, 4, *size) / (4 * math.prod(size)))
        alike = network(clips)
    dim = before.shape[1]
    assert network.has_motion and network.feature_dim == dim + NUM_SHIFTS == features.shape[1]
    assert_alike(alike[:, :dim], before)
    assert_alike(features[:, dim // 2 : dim], before[:, dim // 2 :])
    with pytest.raises(AssertionError):
        assert_alike(features[:, : dim // 2], before[:, : dim // 2])
    length = features[:, :dim].norm(dim=1, keepdim=True)
    torch.testing.assert_close(features[:, dim:] / length, shift_histograms(cell_shifts(kept)))


def assert_alike(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Compare by the largest number: without weights a network may give 1e-9."""
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


def test_the_mean_is_that_of_the_cells_by_their_weights():
    network = build_backbone("tsn_resnet18", num_frames=3, size=64).eval()
    x, weights = torch.randn(2 * 3, 512, 2, 2), torch.rand(2, 3, 2, 2)
    weights /= weights.sum((1, 2, 3), keepdim=True)
    expected = torch.einsum("btchw,bthw->bc", x.view(2, 3, 512, 2, 2), weights)
    torch.testing.assert_close(network._moving_mean(x, weights), expected)


def test_one_frame_says_nothing_of_motion():
    network, clips = build_backbone("tsn_mobilenet_v2", num_frames=1, size=64).eval(), torch.randn(2, 3, 1, 64, 64)
    with torch.inference_mode():
        network.add_changes()
        before = network(clips)
        network.add_motion()
        features = network(clips)
    assert torch.equal(features[:, :-NUM_SHIFTS], before) and not features[:, -NUM_SHIFTS:].any()


def test_gradients_are_finite():
    maps = torch.zeros(1, 3, 8, 4, 4, requires_grad=True)
    for each in (maps, maps + torch.randn(maps.shape)):
        shifts = cell_shifts(each)
        (shift_histograms(shifts).sum() + moving_weights(shifts, (2, 2)).square().sum()).backward()
    assert maps.grad.isfinite().all()


def test_only_networks_that_are_divided_and_say_changes_have_them(monkeypatch):
    network = build_backbone("resnet3d10", num_frames=4, size=32)
    network.add_motion()
    assert (network.has_motion, network.feature_dim) == (False, type(network).feature_dim)
    network = build_backbone("tsn_resnet18", num_frames=4, size=32)
    network.add_motion()
    assert not network.has_motion, "changes come first"
    network.add_changes()
    monkeypatch.setattr(network, "parts", lambda: ())
    network.add_motion()
    assert (network.has_motion, network.feature_dim) == (False, 1024)
