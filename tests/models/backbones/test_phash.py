"""pHash by its definition; and that copies of a video keep their codes, which need no weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from videos import write_frames

from c3dhash.config import WITHOUT_WEIGHTS, EncodeConfig, HashConfig
from c3dhash.errors import UsageError
from c3dhash.gallery.fitting import index_with_features, make_run
from c3dhash.gallery.indexing import open_gallery
from c3dhash.gallery.query import query_video
from c3dhash.models.backbones import BACKBONES, build_backbone
from c3dhash.models.backbones.phash import cosine_basis, frequency_order

SHORT = EncodeConfig(window_seconds=1.0, stride_seconds=0.5, precision="fp32", device="cpu")


def slow_frequencies(picture: np.ndarray) -> np.ndarray:
    """DCT-II of a picture from its sum, orthonormal, [16, 16]."""
    height, width = picture.shape
    found = np.empty((16, 16))
    for v in range(16):
        for h in range(16):
            across = np.cos(np.pi / width * h * (np.arange(width) + 0.5)) * np.sqrt((1 if h == 0 else 2) / width)
            down = np.cos(np.pi / height * v * (np.arange(height) + 0.5)) * np.sqrt((1 if v == 0 else 2) / height)
            found[v, h] = down @ picture @ across
    return found


def test_features_are_the_lowest_frequencies_of_the_mean_picture() -> None:
    clips = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 5, 24, 40)).astype(np.float32))
    features = build_backbone("phash")(clips)
    assert features.shape == (2, 255)
    weights = np.array([0.299, 0.587, 0.114])
    for clip, feature in zip(clips.numpy(), features.numpy(), strict=True):
        picture = np.tensordot(weights, clip.mean(axis=1), axes=1)
        expected = slow_frequencies(picture).ravel()[frequency_order()]
        np.testing.assert_allclose(feature, expected, atol=1e-4)


def test_the_order_is_from_low_to_high() -> None:
    order = [divmod(place, 16) for place in frequency_order().tolist()]
    # (v + 1)^2 + (h + 1)^2: 5 5 8 10 10 13 13 17 17 18 ..., without (0, 0)
    assert order[:10] == [(0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1), (0, 3), (3, 0), (2, 2)]
    assert len(set(order)) == 255 and order[-1] == (15, 15)


@pytest.mark.parametrize("width", [40, 41])
def test_a_mirror_changes_signs(width: int) -> None:
    clips = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 4, 24, width)).astype(np.float32))
    backbone = build_backbone("phash")
    signs = backbone.mirror_signs()
    assert set(signs.tolist()) == {1, -1} and signs.shape == (255,)
    in_mirror = backbone(clips.flip(4)).numpy()
    np.testing.assert_allclose(in_mirror, backbone(clips).numpy() * signs, atol=1e-4)
    assert build_backbone("tsn_mobilenet_v2").mirror_signs() is None


def test_the_basis_is_orthonormal() -> None:
    for size in (16, 64, 100):
        np.testing.assert_allclose(cosine_basis(size) @ cosine_basis(size).T, np.eye(16), atol=1e-6)


def test_brighter_and_flatter_pictures_have_proportional_features() -> None:
    clips = torch.rand(1, 3, 2, 32, 32)
    backbone = build_backbone("phash")
    torch.testing.assert_close(backbone(0.5 * clips + 0.3), 0.5 * backbone(clips), atol=1e-5, rtol=1e-4)


def test_what_needs_no_weights_takes_none() -> None:
    assert set(WITHOUT_WEIGHTS) == {name for name, network in BACKBONES.items() if not network.needs_weights}
    assert HashConfig(backbone="phash").weights is None
    with pytest.raises(UsageError, match=r"weights \(imagenet\) are not for phash, which has none: leave them out"):
        HashConfig(backbone="phash", weights="imagenet")
    with pytest.raises(UsageError, match=r"weights \(None\) of --backbone c3d would be random"):
        HashConfig(backbone="c3d")


def films(folder: Path) -> list[np.ndarray]:
    """Write films of moving blobs, 3 s at 30 fps; return their frames, uint8 [90, 96, 128, 3]."""
    rng, found = np.random.default_rng(0), []
    folder.mkdir()
    y, x = np.mgrid[:96, :128]
    for number in range(6):
        places, speeds, heights = rng.uniform(0, 96, (6, 2)), rng.uniform(-0.5, 0.5, (6, 2)), rng.uniform(-80, 80, 6)
        frames = np.zeros((90, 96, 128, 3), np.float32)
        for time in range(90):
            for height, (a, b) in zip(heights, places + time * speeds, strict=True):
                frames[time] += height * np.exp(-((y - a) ** 2 + (x - b) ** 2) / 400)[..., None]
        found.append(np.clip(frames + 110, 0, 255).astype(np.uint8))
        write_frames(folder / f"{number}.avi", list(found[-1]))
    return found


def test_a_darker_smaller_part_of_a_film_is_found(tmp_path: Path) -> None:
    frames = films(tmp_path / "db")
    config = HashConfig(backbone="phash", hash_length=32)
    run = make_run(tmp_path / "gallery", [tmp_path / "db"], config=config, encode=SHORT)
    assert (run.config["hash"], run.config["weights"]) == ("sign", None)
    copy = [frame[::2, ::2] // 2 + 20 for frame in frames[3][20:75]]
    write_frames(tmp_path / "copy.avi", copy)
    with open_gallery(tmp_path / "gallery", run, config=SHORT) as gallery:
        report = index_with_features(run, gallery, [tmp_path / "db"], config=SHORT)
        assert (report.added, report.clips, report.failed) == (6, 36, [])
        ones = np.unpackbits(gallery.codes()[1], axis=1).mean(axis=0)
        assert ones.min() > 0.4 and ones.max() < 0.6, "around their medians"
        hits = query_video(run, gallery, tmp_path / "copy.avi")
    assert Path(hits[0].video).name == "3.avi"
    assert hits[0].distance <= 4 < min(hit.distance for hit in hits[1:])
    # Again, it is the gallery's own model.
    assert make_run(tmp_path / "gallery", [tmp_path / "db"], config=config, encode=SHORT).fingerprint == run.fingerprint
