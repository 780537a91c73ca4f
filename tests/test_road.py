"""Layouts other than class folders of videos, from train to evaluate through the command line."""

from __future__ import annotations

import json
import shutil

import pytest
from commands import TINY_OPTIONS

from c3dhash.datasets.samples import Dataset


def videos_of(motion: Dataset, split: str) -> list:
    return [sample for sample in motion.samples if sample.split == split]


def test_ccv_with_several_labels_a_video(run, motion, tmp_path):
    # Three motions as three labels; every fourth video carries the next label too, one carries none.
    folder = tmp_path / "data" / "ccv"
    (folder / "videos").mkdir(parents=True)
    for split, list_name in (("train", "train"), ("gallery", "train"), ("query", "test")):
        ids, rows = [], []
        for number, sample in enumerate(videos_of(motion, split)):
            name = f"{split}{number:03d}"
            shutil.copy(sample.video, folder / "videos" / f"{name}.mp4")
            row = [int(label == sample.labels[0]) for label in range(20)]
            if number % 4 == 0:
                row[(sample.labels[0] + 1) % 3] = 1
            if number == 1:
                row = [0] * 20
            ids.append(name)
            rows.append(" ".join(map(str, row)))
        for kind, lines in (("VidID", ids), ("Label", rows)):
            with (folder / f"{list_name}{kind}.txt").open("a") as file:
                file.write("\n".join(lines) + "\n")
    code, out, err = run("train", *TINY_OPTIONS, "--out", "runs/ccv")
    assert code == 0, err
    assert "ccv in" in err
    code, out, err = run("evaluate", "--json")
    assert code == 0, err
    numbers = json.loads(out)
    assert (numbers["num_queries"], numbers["num_gallery"]) == (6, 21)
    assert numbers["queries_without_relevant"] == 1, "the query without a label"
    assert 0 < numbers["mAP"]["expected"] <= 1
    assert 0 < numbers["class_mAP"] <= 1


@pytest.mark.parametrize("picture", [pytest.param("jpg", marks=pytest.mark.slow), "png"])
def test_frame_folders_train_like_their_videos(run, motion_dir, tmp_path, picture):
    code, _, err = run("data", "frames", motion_dir, "data/frames", "--picture", picture)
    assert code == 0, err
    code, out, err = run("train", *TINY_OPTIONS, "--out", "runs/frames")
    assert code == 0, err
    assert "frame_folders in" in err
    code, out, err = run("evaluate", "--json")
    assert (code, json.loads(out)["num_gallery"]) == (0, 9)
    if picture == "png":  # lossless: the very clips of the videos, so the very numbers
        code, from_videos, err = run("evaluate", "--data", motion_dir, "--json")
        assert json.loads(from_videos)["mAP"] == json.loads(out)["mAP"]


def test_missing_videos(run, motion_dir, tmp_path):
    shutil.copytree(motion_dir, tmp_path / "all")
    code, _, err = run("data", "split", "all")
    assert code == 0, err
    gone = next((tmp_path / "all").rglob("*.mp4"))
    gone.unlink()
    code, _, err = run("train", "--data", "all", "--format", "lists", *TINY_OPTIONS)
    assert code == 1
    assert gone.name in err
    code, _, err = run("train", "--data", "all", "--format", "lists", "--allow-missing", *TINY_OPTIONS)
    assert code == 0, err
