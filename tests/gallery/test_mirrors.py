"""Codes in a mirror, from codes: against videos that were mirrored; and where they are not known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from videos import write_frames

from c3dhash.config import EncodeConfig, HashConfig
from c3dhash.errors import UsageError
from c3dhash.gallery.duplicates import find_duplicates, redundant
from c3dhash.gallery.fitting import index_with_features, make_run
from c3dhash.gallery.indexing import index_videos, open_gallery
from c3dhash.gallery.mirrors import mirror_mask
from c3dhash.gallery.store import Gallery
from c3dhash.models.encode import encode_videos

SHORT = EncodeConfig(window_seconds=1.0, stride_seconds=0.5, precision="fp32", device="cpu")


def write_films(folder: Path, *, num: int = 8, num_frames: int = 200) -> list[list[np.ndarray]]:
    """Write films of smooth pictures that move, 96 px wide and 72 px high: of 82 columns 64 are the middle."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:72, :96]
    films = []
    for number in range(num):
        places, speeds = rng.uniform(0, 72, (12, 2)), rng.normal(0, 0.7, (12, 2))
        heights, frames = rng.normal(0, 90, (12, 3)), []
        for time in range(num_frames):
            moved = (places + time * speeds) % (72, 96)
            blobs = np.exp(-((y - moved[:, :1, None]) ** 2 + (x - moved[:, 1:, None]) ** 2) / 150)
            frames.append(np.clip(120 + np.tensordot(blobs, heights, axes=(0, 0)), 0, 255).astype(np.uint8))
        films.append(frames)
        write_frames(folder / f"{number}.avi", frames, fourcc="FFV1")
    return films


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """db/: eight films, and a mirrored copy of one and of a part of another."""
    films = write_films(tmp_path / "db")
    write_frames(tmp_path / "db" / "mirrored.avi", [frame[:, ::-1] for frame in films[3]], fourcc="FFV1")
    write_frames(tmp_path / "db" / "part.avi", [frame[:, ::-1] for frame in films[5][50:150]], fourcc="FFV1")
    return tmp_path / "db"


def index(folder: Path, gallery_path: Path, *, config: EncodeConfig = SHORT, **options: str | int) -> Gallery:
    run = make_run(gallery_path, [folder], config=HashConfig(backbone="phash", **options), encode=config)
    gallery = open_gallery(gallery_path, run, config=config)
    index_with_features(run, gallery, [folder], config=config)
    return gallery


def test_mirrored_copies_are_told(copies: Path, tmp_path: Path) -> None:
    with index(copies, tmp_path / "gallery", hash_length=64) as gallery:
        assert find_duplicates(gallery) == []
        groups = find_duplicates(gallery, mirror=True)
        found = {
            (Path(group.best).name, Path(member.video).name): (member.relation, member.is_mirrored)
            for group in groups
            for member in group.members
        }
        assert found == {("3.avi", "mirrored.avi"): ("copy", True), ("5.avi", "part.avi"): ("part", True)}
        assert [Path(name).name for name in redundant(groups)] == ["mirrored.avi", "part.avi"]


@pytest.mark.parametrize("hash_length", [64, 30])
def test_the_mask_makes_nearly_the_codes_of_mirrored_videos(copies: Path, tmp_path: Path, hash_length: int) -> None:
    """Spare bits stay 0. By chance half of the bits differ."""
    run = make_run(
        tmp_path / "gallery", [copies], config=HashConfig(backbone="phash", hash_length=hash_length), encode=SHORT
    )
    with open_gallery(tmp_path / "gallery", run, config=SHORT) as gallery:
        mask = mirror_mask(gallery)
    assert mask.shape == (-(-hash_length // 8),) and np.unpackbits(mask)[hash_length:].sum() == 0
    results = list(encode_videos(run, sorted(copies.iterdir()), config=SHORT, with_mirrored=True))
    codes, mirrored = (
        np.concatenate([each.codes.codes for each in side])
        for side in (results, [result.mirrored for result in results])
    )
    differ = np.unpackbits(codes ^ mask ^ mirrored, axis=1).sum(axis=1)
    assert (
        differ.mean()
        < 0.1 * hash_length
        < 0.3 * hash_length
        < np.unpackbits(codes ^ mirrored, axis=1).sum() / len(codes)
    )


def test_where_codes_in_a_mirror_are_not_known(copies: Path, tmp_path: Path, untrained_run) -> None:
    with open_gallery(tmp_path / "network", untrained_run, config=SHORT) as gallery:
        index_videos(untrained_run, gallery, [copies / "0.avi"], config=SHORT)
        with pytest.raises(UsageError, match=r"gallery '.*network' has those of resnet3d10, trained: leave --mirror"):
            find_duplicates(gallery, mirror=True)
    refused = [
        (
            index(copies, tmp_path / "itq", hash_length=16, hash="itq"),
            r"has those of phash, hash itq: leave --mirror out",
        ),
        (
            index(copies, tmp_path / "views", config=replace(SHORT, views=2), hash_length=16),
            r"are of 2 views, half of them mirror images: .* leave --mirror out",
        ),
        (
            Gallery.create(tmp_path / "other", hash_length=16, model_fingerprint="a" * 32),
            r"gallery '.*other' has those of a run that is not there",
        ),
    ]
    for gallery, message in refused:
        with gallery, pytest.raises(UsageError, match=message):
            find_duplicates(gallery, mirror=True)
