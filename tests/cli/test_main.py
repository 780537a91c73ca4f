from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from commands import TINY_OPTIONS
from paths import ROOT
from safetensors.torch import load_file, save_file
from videos import black_frames, numbered_frame, write_frames

from c3dhash.cli.main import cli
from c3dhash.config import (
    CacheConfig,
    DuplicatesConfig,
    EncodeConfig,
    EvaluateConfig,
    HashConfig,
    IndexConfig,
    QueryConfig,
    RecognizeConfig,
    ServeConfig,
    TrainConfig,
)
from c3dhash.evaluation.codes import Codes, save_codes
from c3dhash.gallery.lock import writing
from c3dhash.models import known_weights
from c3dhash.models.backbones import build_backbone
from c3dhash.models.weights import weights_metadata
from c3dhash.records import Sample
from c3dhash.video.cache import FrameCache
from c3dhash.video.clips import ClipReader


def error_line(stderr: str) -> str:
    """The one line that an error is."""
    assert "Traceback" not in stderr
    return stderr.strip().splitlines()[-1]


def test_the_three_lines_of_the_readme(run, motion_dir, tmp_path):
    (tmp_path / "data").mkdir()
    shutil.copytree(motion_dir, tmp_path / "data" / "motion")
    shutil.copytree(motion_dir / "gallery", tmp_path / "db")
    code, out, err = run("train", "--hash-length", "48", "--margin", "14", *TINY_OPTIONS[:4], *TINY_OPTIONS[6:])
    assert code == 0, err
    assert re.search(r"Best epoch \d of 2, val mAP 0\.\d+: runs/resnet3d10-48bit-", out)
    assert "3 classes, 12 train, 6 val, 9 gallery, 6 query" in err

    code, out, err = run("index", "db/")
    assert (code, out) == (
        0,
        "9 added, 0 updated, 0 moved, 0 missing, 0 removed, 0 unchanged, 0 failed; gallery 'gallery' holds 9 clips.\n",
    )

    query = motion_dir / "query" / "move_up" / "move_up_000.mp4"
    code, out, err = run("query", query)
    assert code == 0, err
    assert re.split("  +", out.splitlines()[0]) == [
        "rank", "score", "distance", "same class", "of the query", "segment", "label", "video",
    ]  # fmt: skip
    assert len(out.splitlines()) == 10
    assert all(re.search(r" \d+%  ", line) for line in out.splitlines()[1:])
    code, out, err = run("query", query, "--json", "--top", "3", "--html", "page.html")
    hits = json.loads(out)
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    assert set(hits[0]) == {
        "rank", "distance", "video", "start_seconds", "end_seconds", "label", "score", "segments",
        "precision", "is_mirrored", "same_film",
    }  # fmt: skip
    assert all(0 < hit["precision"] < 1 for hit in hits)
    assert (tmp_path / "page.html").read_text().count(" % same class") == 3
    assert set(hits[0]["segments"][0]) == {
        "query_start_seconds", "query_end_seconds", "start_seconds", "end_seconds", "num_clips", "distance", "score",
        "speed",
    }  # fmt: skip
    assert (tmp_path / "page.html").read_text().count("data:image/jpeg") == 7

    code, out, err = run("evaluate", "--json", "--k", "5", "--radius", "1")
    numbers = json.loads(out)
    assert code == 0
    assert {"mAP", "mAP@5/hits", "mAP@5/min", "mAP@5/k", "precision@5", "precision@radius<=1"} <= set(numbers)
    code, out, err = run("evaluate", "--out", "report", "--calibrate")
    assert (code, "mAP" in out) == (0, True)
    (calibration,) = (tmp_path / "runs").glob("*/calibration.json")
    assert f"What distances mean: {calibration.relative_to(tmp_path)}" in err
    content = json.loads(calibration.read_text())
    assert sum(content["all_counts"]) == 9 * 6
    assert content["measured_on"] == "6 queries in 9 videos of data/motion"
    assert (tmp_path / "report" / "report.html").exists()


def test_which_videos_a_query_may_find(run, untrained_run, motion_dir, tmp_path):
    shutil.copytree(motion_dir / "gallery", tmp_path / "db")
    assert run("index", "db", "--model", untrained_run.path, "--precision", "fp32")[0] == 0
    video = sorted((tmp_path / "db" / "move_up").iterdir())[0]

    def found(*options):
        code, out, err = run("query", video.relative_to(tmp_path), "--precision", "fp32", "--json", *options)
        assert code == 0, err
        return [hit["video"] for hit in json.loads(out)]

    up = {str(path) for path in video.parent.iterdir()}
    assert len(found()) == 9 and set(found("--label", "move_up")) == set(found("--folder", "db/move_up")) == up
    assert set(found("--folder", "db/move_up", "--not-itself")) == up - {str(video)}
    assert found("--radius", "0", "--folder", str(video)) == [str(video)]
    assert len(found("--added-since", "2026-01-01")) == 9
    code, out, _ = run("query", video, "--precision", "fp32", "--radius", "0", "--folder", video, "--not-itself")
    assert (code, out) == (0, "Nothing was found within 0 bits.\n")
    for options, what in (
        (("--label", "up"), "label 'up' is of no video of gallery 'gallery': it has "),
        (("--folder", "db2"), "gallery 'gallery' has no video with clips that passes (folder 'db2')."),
        (("--added-since", "today"), "Invalid value for '--added-since': 'today'"),
        (("--radius", "-1"), "radius (-1) must be"),
    ):
        code, out, err = run("query", "not looked at.mp4", *options)
        assert (code, out) == (2, "") and what in error_line(err)


def test_a_query_of_several_videos(run, untrained_run, motion_dir, tmp_path):
    shutil.copytree(motion_dir / "gallery", tmp_path / "db")
    shutil.copytree(motion_dir / "query" / "move_up", tmp_path / "queries")
    assert run("index", "db", "--model", untrained_run.path, "--precision", "fp32")[0] == 0
    videos = sorted((tmp_path / "queries").iterdir())
    alone = [json.loads(run("query", video, "--precision", "fp32", "--json")[1]) for video in videos]
    code, out, err = run("query", "queries", "--precision", "fp32", "--json")
    assert code == 0, err
    answers = json.loads(out)
    assert [answer["query"] for answer in answers] == [f"queries/{video.name}" for video in videos]
    assert [answer["hits"] for answer in answers] == alone
    assert {answer["error"] for answer in answers} == {None}

    (tmp_path / "bad.mp4").write_bytes(b"no video")
    code, out, err = run("query", videos[1], "bad.mp4", videos[0], "--precision", "fp32", "--top", "2", "--radius", "0")
    assert code == 1, err
    parts = out.split("\n\n")
    assert [part.split("\n")[0] for part in parts[:3]] == [str(videos[1]), "bad.mp4", str(videos[0])]
    assert "bad.mp4" in parts[1].split("\n")[1] and "rank" not in parts[1]
    code, out, _ = run("query", "bad.mp4", "bad.mp4", videos[0], "--precision", "fp32", "--json", "--top", "1")
    bad, good = json.loads(out)
    assert (code, bad["hits"], len(good["hits"]), good["error"]) == (1, [], 1, None)
    assert "bad.mp4" in bad["error"]
    (tmp_path / "empty").mkdir()
    for places, what in (
        (("empty",), "no videos in 'empty'"),
        (("queries", "--html", "page.html"), "html ('page.html')"),
    ):
        code, out, err = run("query", *places)
        assert (code, out) == (2, "") and what in error_line(err)


def test_evaluate_classes(run, untrained_run, motion_dir, tmp_path):
    model = ["--model", untrained_run.path, "--data", motion_dir, "--precision", "fp32"]
    code, out, err = run(
        "evaluate", *model, "--task", "classify", "--json", "--predictions", "p.csv", "--out", "report", "--crops", "3"
    )
    assert code == 0, err
    numbers = json.loads(out)
    assert {"accuracy@1", "accuracy@5", "mean_class_accuracy", "ece", "report", "confusion_matrix"} <= set(numbers)
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert lines[0] == "video,label,prediction,score,prediction2,score2,prediction3,score3"
    assert len(lines) == 7
    assert (tmp_path / "report" / "report.html").exists()
    code, out, err = run("evaluate", *model, "--task", "classify")
    assert code == 0, err
    assert out.splitlines()[0].split() == ["class", "precision", "recall", "f1-score", "support"]
    assert "macro avg" in out and "taken for" in out and "ece" in out
    for arguments, message in (
        (["--task", "classify", "--k", "3"], "--task classify searches nothing: leave out --k."),
        (["--predictions", "p.csv"], "this is of --task classify: leave out --predictions."),
        (["--average", "probabilities"], "this is of --task classify: leave out --average."),
        (["--crops", "2"], "crops (2) must be 1 or 3"),
        (["--crops", "3", "--views", "4"], "views (4) of 3 crops must be 1, or 2"),
        (["--task", "classify", "--backbone", "i3d"], "--backbone NAME and --weights NAME go together"),
    ):
        code, out, err = run("evaluate", *model, *arguments)
        assert (code, out) == (2, "")
        assert message in error_line(err)


def test_classify_over_time(run, untrained_run, motion_dir, tmp_path):
    video = shutil.copy(motion_dir / "query" / "move_up" / "move_up_000.mp4", tmp_path / "a.mp4")
    model = ["--model", untrained_run.path, "--precision", "fp32"]
    code, out, err = run("classify", video, *model, "--over-time", "--json", "--window-seconds", "0.5")
    assert code == 0, err
    (content,) = json.loads(out)
    assert set(content) == {"video", "top5", "segments"}
    assert set(content["segments"][0]) == {"start_seconds", "end_seconds", "label", "score"}
    outputs = ["--overlay", "o.mp4", "--timeline", "t.png", "--srt", "s.srt"]
    code, out, err = run("classify", video, *model, *outputs, "--smooth", "1")
    assert code == 0, err
    assert out.splitlines()[0] == "a.mp4" and "start" in out
    assert {path.name for path in tmp_path.iterdir()} >= {"o.mp4", "t.png", "s.srt"}
    assert (tmp_path / "s.srt").read_text().startswith("1\n00:00:00,000 --> ")
    for arguments, message in (
        (["--overlay", "o.mp4"], "'o.mp4' is there already and stays as it is"),
        (["--overlay", "o.gif"], "'o.gif': videos can be written as"),
        (["--timeline", "t.jpg"], "timeline ('t.jpg') is written as .png"),
        (["--srt", "gone/s.srt"], "there is no folder 'gone'"),
        (["--srt", "s.png"], "srt ('s.png') is written as .srt"),
        (["--timeline", "x.png", "--srt", "./x.png"], "two outputs have the name 'x.png'"),
        (["--csv", "a.csv", "--srt", "b.srt"], "csv ('a.csv') has a line a video"),
        (["--csv", "a.csv", "--json"], "csv ('a.csv') takes the place of printing: leave out --json."),
        (["--smooth", "3"], "windows are smoothed with --over-time: leave out --smooth."),
        ([video, "--srt", "b.srt"], "srt ('b.srt') is of one video: name one file"),
        (["--camera", "0"], "camera (0) takes the place of VIDEO"),
    ):
        code, out, err = run("classify", video, *model, *arguments)
        assert (code, out) == (2, "")
        assert message in error_line(err)
    for arguments, message in (
        (["--top", "3"], "camera (77) is only looked at: leave out --top."),
        (["--overlay", "x.mp4"], "camera (77) is only looked at: leave out --overlay."),
    ):
        code, out, err = run("classify", "--camera", "77", *model, *arguments)
        assert (code, out) == (2, "")
        assert message in error_line(err)
    for camera in ("77", "99999999999999"):
        code, out, err = run("classify", "--camera", camera, *model)
        assert (code, out) == (1, "")
        assert f"camera ({camera}) cannot be opened" in error_line(err)
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    code, out, err = run("classify", "bad.mp4", *model, "--srt", "bad.srt")
    assert code == 1 and "failed" in out
    assert not (tmp_path / "bad.srt").exists()


def test_classify_people(run, untrained_run, motion_dir, tmp_path):
    video = shutil.copy(motion_dir / "query" / "move_up" / "move_up_000.mp4", tmp_path / "a.mp4")
    model = ["--model", untrained_run.path, "--precision", "fp32"]
    (tmp_path / "boxes.csv").write_text("seconds,x0,y0,x1,y1\n0,4,4,30,60\n0,40,4,60,60\n0.5,4,4,30,60\n")
    people = ["classify", video, *model, "--people", "--boxes", "boxes.csv"]
    code, out, err = run(*people, "--json", "--top", "2", "--window-seconds", "0.5")
    assert code == 0, err
    (content,) = json.loads(out)
    assert set(content) == {"video", "people"}
    first, second = content["people"]
    assert set(first) == {"id", "top2", "segments", "boxes"} and (first["id"], second["id"]) == (1, 2)
    assert first["boxes"] == [
        {"seconds": 0.0, "x0": 4.0, "y0": 4.0, "x1": 30.0, "y1": 60.0},
        {"seconds": 0.5, "x0": 4.0, "y0": 4.0, "x1": 30.0, "y1": 60.0},
    ]
    code, out, err = run(*people, "--overlay", "o.mp4", "--people-csv", "p.csv")
    assert code == 0, err
    assert "person" in out and out.splitlines()[0] == "a.mp4"
    assert (tmp_path / "o.mp4").exists() and (tmp_path / "p.csv").read_text().startswith("a,0.000,0.0")
    for arguments, message in (
        (["--boxes", "boxes.csv"], "without --people nobody is looked for: leave out --boxes."),
        (["--detector", "hog"], "nobody is looked for: leave out --detector."),
        (["--every-seconds", "1"], "nobody is looked for: leave out --every-seconds."),
        (["--people-csv", "q.csv"], "nobody is looked for: leave out --people-csv."),
        (["--people", "--boxes", "boxes.csv", "--detector", "hog"], "boxes ('boxes.csv'): leave out --detector."),
        (["--people", "--srt", "s.srt"], "one video after the other: leave out --srt."),
        (["--people", "--over-time"], "one video after the other: leave out --over-time."),
        (["--people", "--people-csv", "p.csv"], "'p.csv' is there already and stays as it is"),
        (["--people", "--workers", "2"], "one video after the other: leave out --workers."),
        (["--people", "--boxes", "boxes.csv", "--window-seconds", "0"], "window_seconds (0) must be above 0"),
        (["--people", "--people-csv", "p.json"], "people-csv ('p.json') is written as .csv"),
        (["--people", "--boxes", "gone.csv"], "boxes 'gone.csv' cannot be read: No such file"),
        (["--people", "--detector", "yolo"], "detector ('yolo') must be one of auto, hog, "),
        (["--people", "--every-seconds", "0"], "every_seconds (0.0) must be between 0.01 and 10"),
    ):
        code, out, err = run("classify", video, *model, *arguments)
        assert (code, out) == (2, ""), arguments
        assert message in error_line(err)
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    code, out, err = run("classify", "bad.mp4", *model, "--people", "--boxes", "boxes.csv", "--people-csv", "n.csv")
    assert code == 1 and "failed" in out and not (tmp_path / "n.csv").exists()
    shutil.copy(video, tmp_path / "b.mp4")
    shutil.copy(video, tmp_path / "c.mp4")
    (tmp_path / "ava.csv").write_text("a,0,0.1,0.1,0.5,0.9\nc,0,0.1,0.1,0.5,0.9\n")
    several = ["classify", "a.mp4", "b.mp4", "c.mp4", *model, "--people", "--boxes", "ava.csv", "--people-csv", "n.csv"]
    code, out, err = run(*several)
    assert code == 1 and "boxes 'ava.csv' has none of 'b'" in out, "one video does not stop the others"
    assert {line.split(",")[0] for line in (tmp_path / "n.csv").read_text().splitlines()} == {"a", "c"}


def test_classify_many_videos_into_a_file(run, untrained_run, motion_dir, tmp_path):
    shutil.copytree(motion_dir / "query" / "move_up", tmp_path / "db")
    (tmp_path / "db" / "bad.mp4").write_bytes(b"no video")
    command = ["classify", "db", "--model", untrained_run.path, "--precision", "fp32", "--csv", "a.csv"]
    code, out, err = run(*command)
    assert (code, out) == (1, "")
    first = (tmp_path / "a.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in first] == ["video", "db/bad.mp4", "db/move_up_000.mp4", "db/move_up_001.mp4"]
    (tmp_path / "db" / "bad.mp4").unlink()
    shutil.copy(tmp_path / "db" / "move_up_000.mp4", tmp_path / "db" / "new.mp4")
    code, out, err = run(*command)
    assert code == 0, err
    assert "'a.csv' has the answers about 2 videos" in err
    second = (tmp_path / "a.csv").read_text().splitlines()
    assert second[:3] == [first[0], *first[2:]] and second[3].startswith("db/new.mp4,")
    assert second[3].split(",")[1:] == first[2].split(",")[1:], "the same video"
    assert run(*command)[0] == 0
    code, _, err = run(*command, "--views", "2")
    assert code == 2 and "of another run, or of other settings" in error_line(err)


def test_index_json_and_exit_codes(run, untrained_run, motion_dir, tmp_path):
    shutil.copytree(motion_dir / "query" / "move_up", tmp_path / "db")
    (tmp_path / "db" / "broken.mp4").write_bytes(b"no video at all")
    code, out, err = run("index", "db", "--model", untrained_run.path, "--json")
    report = json.loads(out)
    assert code == 1
    assert {key: value for key, value in report.items() if key != "failed"} == {
        "added": 2, "updated": 0, "moved": 0, "missing": 0, "removed": 0, "unchanged": 0, "clips": 2, "vanished": [],
        "flat_windows": 0, "flat_videos": 0, "without_codes": [],
    }  # fmt: skip
    assert report["failed"][0]["video"].endswith("broken.mp4")
    assert report["failed"][0]["reason"]
    assert "broken.mp4" in err
    (tmp_path / "db" / "broken.mp4").unlink()
    code, out, _ = run("index", "db", "--model", untrained_run.path, "--json")
    assert (code, json.loads(out)["unchanged"]) == (0, 2)
    # the gallery knows its model: no --model, and no runs/ here
    code, out, _ = run("query", "db/move_up_000.mp4", "--json")
    assert (code, json.loads(out)[0]["distance"]) == (0, 0)


def test_index_changes_what_searches_and_nothing_else(run, untrained_run, motion_dir, tmp_path):
    shutil.copytree(motion_dir / "gallery", tmp_path / "db")
    assert run("index", "db", "--model", untrained_run.path)[0] == 0
    video = sorted((tmp_path / "db").glob("*/*.mp4"))[0]
    exact = json.loads(run("query", video, "--json")[1])
    code, out, err = run("index", "db", "--kind", "ivf", "--json")
    report = json.loads(out)
    assert (code, report["unchanged"], report["clips"]) == (0, 9, 0), "nothing is encoded again"
    assert re.search(r"Search: ivf, nprobe 1: finds 1\.000 of the 10 nearest, in .* ms, exact search takes", err, re.M)
    code, out, _ = run("gallery", "info")
    assert re.search(
        r"^search    ivf, nprobe 1: found 1\.000 of the 10 nearest when it was built, of 9 queries$", out, re.M
    )
    measured = json.loads(run("gallery", "info", "--json")[1])["search"]
    assert (measured["setting"], measured["kind"], measured["measured"]["recall"]) == ("ivf", "ivf", 1.0)
    assert json.loads(run("query", video, "--json")[1]) == exact
    assert run("index", "db")[0] == 0
    assert (tmp_path / "gallery" / "approximate.bin").exists(), "it is remembered"
    code, _, err = run("index", "db", "--kind", "exact")
    assert code == 0 and not (tmp_path / "gallery" / "approximate.bin").exists()
    assert re.search(r"^search    exact$", run("gallery", "info")[1], re.M)
    code, _, err = run("index", "db", "--kind", "auto")
    assert re.search(r"Search: exact, which takes .* ms a query \(auto takes ivf from 100 ms on\)\.$", err, re.M)
    assert re.search(r"^search    exact \(auto\)$", run("gallery", "info")[1], re.M)


def test_videos_that_show_nothing_are_said(run, untrained_run, motion_dir, tmp_path):
    shutil.copytree(motion_dir / "query" / "move_up", tmp_path / "db")
    write_frames(tmp_path / "db" / "black.mp4", black_frames(50))
    write_frames(tmp_path / "db" / "late.mp4", [*black_frames(50), *[numbered_frame(number) for number in range(50)]])
    code, out, _ = run("index", "db", "--model", untrained_run.path, "--window-seconds", "2")
    assert (code, out.splitlines()[1:]) == (0, [
        "Windows that show nothing (black, white or of one colour) have no code: 2, of 2 of the videos.",
        "no code: db/black.mp4",
    ])  # fmt: skip
    code, out, err = run("query", "db/black.mp4")
    assert (code, out, error_line(err).startswith("c3dhash: video 'db/black.mp4' shows nothing: ")) == (1, "", True)
    code, out, _ = run("query", "db/black.mp4", "db/late.mp4", "--json", "--top", "1")
    black, late = json.loads(out)
    assert (code, black["hits"], black["error"][:34]) == (1, [], "video 'db/black.mp4' shows nothing")
    assert (late["hits"][0]["video"], late["hits"][0]["start_seconds"]) == (str(tmp_path / "db" / "late.mp4"), 2)


def test_index_plans_keeps_and_prunes(run, untrained_run, motion_dir, tmp_path):
    shutil.copytree(motion_dir / "query" / "move_up", tmp_path / "db")
    first, second = sorted((tmp_path / "db").iterdir())
    model = ["--model", untrained_run.path]
    code, out, _ = run("index", "db", "--dry-run")  # needs no model
    assert (code, out) == (0, f"new       {first}\nnew       {second}\n0 unchanged; nothing was done.\n")
    assert not (tmp_path / "gallery").exists()
    assert run("index", "db", *model)[0] == 0
    first.unlink()
    (tmp_path / "db" / "sub").mkdir()
    second.rename(moved := tmp_path / "db" / "sub" / "c.mp4")
    code, out, _ = run("index", "db", "--dry-run", "--prune")
    assert (code, out) == (
        0,
        f"moved     {moved} <- {second}\nremoved   {first}\n0 unchanged; nothing was done.\n",
    )
    code, out, _ = run("index", "db", "--dry-run", "--json")
    plan = json.loads(out)
    assert (plan["moved"], plan["missing"]) == ([{"from": str(second), "to": str(moved)}], [str(first)])
    code, out, _ = run("index", "db")  # the gallery knows its run
    assert (code, out.split(";")[0]) == (0, "0 added, 0 updated, 1 moved, 1 missing, 0 removed, 0 unchanged, 0 failed")
    code, out, _ = run("index", "db", "--prune", "--json")
    assert (code, json.loads(out)["removed"], json.loads(out)["missing"]) == (0, 1, 0)
    (tmp_path / "db").rename(tmp_path / "away")
    code, out, err = run("index", "db", "--prune", "--json")
    assert (code, json.loads(out)["vanished"], json.loads(out)["missing"]) == (1, [str(tmp_path / "db")], 1)
    assert "holds none of the 1 videos that the gallery knows from there: is its disk mounted?" in err
    code, out, _ = run("index", "db", "--prune", "--prune-vanished", "--json")
    assert (code, json.loads(out)["removed"]) == (0, 1)


def test_a_folder_that_is_not_there_is_said_before_a_network_is_chosen(run, tmp_path):
    code, out, err = run("index", str(tmp_path), "nowhere")
    assert (code, out) == (2, "")
    assert err.splitlines() == ["c3dhash: 'nowhere' does not exist; name a folder of videos."]
    assert not (tmp_path / "gallery").exists()


def test_index_says_where_its_run_should_be_and_who_writes(run, untrained_run, motion_dir, tmp_path):
    shutil.copytree(motion_dir / "query" / "move_up", tmp_path / "db")
    shutil.copytree(untrained_run.path, tmp_path / "old")
    assert run("index", "db", "--model", "old")[0] == 0
    (tmp_path / "old").rename(tmp_path / "deep")
    assert run("index", "db")[0] == 0, "found beside where it was"
    (tmp_path / "far" / "off").mkdir(parents=True)
    (tmp_path / "deep").rename(tmp_path / "far" / "off" / "run")
    for command in (("index", "db"), ("query", "db/move_up_000.mp4")):
        code, _, err = run(*command)
        assert code == 1
        assert re.search(r"the run '.*/old' \(\w{8}…\), which is not there any more.*--model DIR", error_line(err))
    assert run("query", "db/move_up_000.mp4", "--model", "far/off/run")[0] == 0
    held = threading.Event()
    release = threading.Event()

    def hold():
        with writing(tmp_path / "gallery"):
            held.set()
            release.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    code, _, err = run("index", "db", "--model", "far/off/run", "--wait-seconds", "0")
    release.set()
    thread.join()
    assert (code, "gallery 'gallery' is being written by process" in error_line(err)) == (1, True)


def test_index_json_survives_a_name_that_is_not_utf8(run, untrained_run, motion_dir, tmp_path):
    shutil.copytree(motion_dir / "query" / "move_up", tmp_path / "db")
    shutil.copy(next((tmp_path / "db").iterdir()), os.fsencode(tmp_path / "db") + b"/odd\xff.mp4")
    code, out, _ = run("index", "db", "--model", untrained_run.path, "--json")
    report = json.loads(out)
    assert (code, report["added"], report["failed"][0]["video"]) == (1, 2, f"{tmp_path}/db/odd\\xff.mp4")


def test_codes_without_training(run, motion_dir, tmp_path, monkeypatch):
    torch.manual_seed(0)
    backbone = build_backbone("resnet3d10", num_frames=4, size=32)
    tensors = {name: tensor.contiguous() for name, tensor in backbone.state_dict().items()}
    (tmp_path / "pretrain").mkdir()
    save_file(tensors, tmp_path / "pretrain" / "own.safetensors", metadata=weights_metadata(backbone))
    untrained = ["--backbone", "resnet3d10", "--weights", "own.safetensors", "--num-frames", "4", "--size", "32",
                 "--hash-length", "8", "--precision", "fp32"]  # fmt: skip
    shutil.copytree(motion_dir / "gallery", tmp_path / "db")
    monkeypatch.setattr(known_weights, "DEFAULT_BACKBONE", "resnet3d10")
    monkeypatch.setattr(known_weights, "DEFAULT_WEIGHTS", "own.safetensors")
    code, out, err = run("index", "db", "--gallery", "default", "--num-frames", "4", "--size", "32")
    assert code == 0, err
    assert "codes without labels, by resnet3d10 with weights own.safetensors; --backbone and --weights take" in err
    assert "Model: default/model (lsh, 48 bits, fitted on 9 clips)" in err, "too few for 48 bits of ITQ"
    code, out, err = run("index", "db", "--gallery", "default", "--json")
    assert (code, json.loads(out)["unchanged"], "without labels" in err) == (0, 9, False)

    code, out, err = run("index", "db", *untrained)
    assert code == 0
    assert out == (
        "9 added, 0 updated, 0 moved, 0 missing, 0 removed, 0 unchanged, 0 failed; gallery 'gallery' holds 9 clips.\n"
    )
    assert (
        "Model: gallery/model (itq, 8 bits, fitted on 9 clips). "
        "Evaluate it: c3dhash evaluate --model gallery/model --data DATA"
    ) in err
    code, out, err = run("evaluate", "--model", "gallery/model", "--data", motion_dir, "--precision", "fp32")
    assert code == 0, err
    table = out.split("\n\n")[1].splitlines()
    assert table[0].split("  ")[0] == "method"
    assert [line.split("  ")[0] for line in table[1:]] == [
        "features, cosine", "itq", "lsh", "rabitq, as many bits", "this run", "its finer order",
    ]  # fmt: skip
    code, out, err = run("evaluate", "--model", "gallery/model", "--data", motion_dir, "--json", "--no-compare")
    assert (code, "comparison" in json.loads(out)) == (0, False)

    # Its own model also where another run is newer, and where the gallery was moved.
    trained = tmp_path / "runs" / "trained"
    shutil.copytree(tmp_path / "gallery" / "model", trained)
    weights = load_file(trained / "model.safetensors")
    weights["hash_head.bias"] += 1
    save_file(weights, trained / "model.safetensors")
    shutil.copytree(motion_dir / "val", tmp_path / "more")
    code, out, err = run("index", "more", "--json")
    assert (code, json.loads(out)["added"]) == (0, 6), err
    (tmp_path / "gallery").rename(tmp_path / "moved")
    code, out, err = run("query", "more/move_up/move_up_000.mp4", "--gallery", "moved", "--json")
    assert (code, json.loads(out)[0]["distance"]) == (0, 0), err
    code, out, err = run("index", "db", "more", "--gallery", "moved", *untrained, "--json")
    assert (code, json.loads(out)["unchanged"]) == (0, 15), err
    code, out, err = run("index", "db", "--gallery", "moved", *untrained, "--hash", "lsh")
    assert code == 1
    assert re.search(r"gallery 'moved' has a model of its own with hash itq, got lsh: leave", error_line(err))
    code, out, err = run("index", "db", "--gallery", "moved", "--model", "runs/trained")
    assert (code, "--gallery NAME" in error_line(err)) == (1, True)


def test_codes_of_pictures(run, motion_dir, tmp_path):
    """phash needs no weights and has windows of its own, unless others are asked for; also where it is typed again."""
    shutil.copytree(motion_dir / "gallery", tmp_path / "db")
    for _ in range(2):
        code, out, err = run("index", "db", "--backbone", "phash", "--hash-length", "16")
        assert code == 0, err
    assert "(sign, 16 bits, fitted on" in err and out.startswith("0 added")
    code, out, err = run("gallery", "info", "--json")
    windows = json.loads(out)["windows"]
    assert (windows["window_seconds"], windows["stride_seconds"]) == (1.0, 0.5)
    video = next((tmp_path / "db").rglob("*.mp4"))
    code, out, err = run("query", video, "--json", "--top", "1")
    assert (code, json.loads(out)[0]["distance"]) == (0, 0), err
    options = ("--backbone", "phash", "--hash-length", "16", "--window-seconds", "2")
    assert run("index", "db", "--gallery", "other", *options)[0] == 0
    code, out, err = run("gallery", "info", "--gallery", "other", "--json")
    assert (json.loads(out)["windows"]["window_seconds"], json.loads(out)["windows"]["stride_seconds"]) == (2.0, None)
    code, out, err = run("index", "db", "--gallery", "third", "--backbone", "phash", "--hash-length", "300")
    assert code == 2 and re.search(r"sign makes no more bits than a feature has numbers \(255\)", error_line(err))


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["train"], 1, "folder 'data' does not exist.*c3dhash data synth"),
        (["train", "--hash-length", "0"], 2, r"hash_length \(0\)"),
        (["train", "--margin", "-1"], 2, r"margin \(-1\.0\)"),
        (["train", "--epochs", "many"], 2, "'many' is not a valid integer"),
        (["train", "--bits", "48"], 2, "--bits"),
        (["train", "--resume", "runs/none"], 1, "runs/none"),
        (["train", "--resume", "x", "--margin", "3"], 2, "leave out --margin"),
        (["index", ".", "--offline"], 1, r"no finished run .*\(c3dhash train makes one\), and .*models fetch i3d`"),
        (["index"], 2, "DIR"),
        (["index", "db", "--model", "x", "--hash-length", "8"], 2, "--hash-length goes with --backbone NAME --weights"),
        (["index", "db", "--model", "x", "--size", "32", "--hash", "lsh"], 2, "--size, --hash goes with --backbone"),
        (["index", "db", "--backbone", "c3d"], 2, r"weights \(None\) of --backbone c3d would be random"),
        (["index", "db", "--backbone", "c3d", "--weights", "none"], 2, r"weights \(none\) of --backbone c3d would be"),
        (["index", "db", "--backbone", "c3d", "--model", "m"], 2, "--model .* --backbone .*: leave out one of them"),
        (
            ["index", "db", "--backbone", "phash", "--weights", "w"],
            2,
            r"weights \(w\) are not for phash, which has none",
        ),
        (["index", "db", "--backbone", "vgg", "--weights", "w"], 2, r"backbone \('vgg'\) must be one of"),
        (["index", "db", "--backbone", "c3d", "--weights", "w"], 1, "weights 'w' for c3d must be a name"),
        (["index", "db", "--backbone", "c3d", "--weights", "w", "--hash", "pca"], 2, r"hash \('pca'\)"),
        (["index", "db", "--backbone", "c3d", "--weights", "w", "--hash-length", "0"], 2, r"hash_length \(0\)"),
        (["query", "a.mp4"], 1, "gallery 'gallery' does not exist: run `c3dhash index DIR` first"),
        (["evaluate", "--codes", "gone.npz"], 1, "gone.npz"),
        (["evaluate", "--codes", "a.npz", "--model", "b"], 2, "leave out --model"),
        (["evaluate", "--codes", "a.npz", "--compare"], 2, "leave out --compare"),
        (["evaluate", "--codes", "a.npz", "--calibrate"], 2, "leave out --calibrate"),
        (["evaluate"], 1, "no finished run"),
        (["evaluate", "--clips-per-window", "0"], 2, r"clips_per_window \(0\) must be between 1 and 1000"),
        (["data", "synth", "x", "--classes", "1"], 2, r"num_classes \(1\)"),
        (["data", "synth", "x", "--seed", "-1"], 2, r"seed \(-1\)"),
        (["train", "--size", "4"], 2, r"size \(4\) must be between 8 and 1024\.$"),
        (["index", "x", "--kind", "flat"], 2, r"kind \('flat'\) must be one of auto, exact, ivf, hnsw, multihash\.$"),
        (["index", "x", "--kind"], 2, "--kind"),
        (["index", "x", "--window-seconds", "inf"], 2, r"window_seconds \(inf\)"),
        (["index", "x", "--window-seconds", "0", "--stride-seconds", "1"], 2, r"stride_seconds \(1\.0\)"),
        (["evaluate", "--codes", "a.npz", "--batch-size", "3"], 2, "leave out --batch-size"),
        (["data", "check", "gone"], 1, "folder 'gone' does not exist"),
        (["data", "split", "x", "--shares", "1,2"], 2, r"--shares \(1,2\)"),
        (["data", "frames", "gone", "x"], 2, "gone"),
        (["train", "--format", "tape"], 2, "'tape'"),
        (["classify"], 2, "VIDEO"),
        (["classify", "a.mp4"], 1, "no finished run under 'runs/'"),
        (["classify", "a.mp4", "--top", "0"], 2, r"top \(0\) must be between 1 and"),
        (["models", "show", "c4d"], 2, r"backbone \('c4d'\) must be one of c3d"),
        (["models", "--json", "show", "c3d"], 2, "--json must stand behind show"),
        (["models", "export", "runs/x", "--onnx", "x.onnx"], 1, "'runs/x' is no run directory"),
        (["models", "export", "runs/x"], 2, "--onnx"),
        (["fly"], 2, "No such command 'fly'"),
        (["classify"], 2, "name the VIDEO..., files or folders, or a --camera"),
        ([], 2, "Usage"),
        (["data", "check", "x", "--workers", "0"], 2, r"workers \(0\) must be between 1 and 256; the default is 2"),
        (["data", "frames", "x", "y", "--workers", "300"], 2, r"workers \(300\) must be between 1 and 256"),
    ],
)
def test_wrong_usage_is_one_line(run, arguments, code, message):
    found, out, err = run(*arguments)
    assert found == code
    assert out == ""
    if arguments:
        assert re.search(message, error_line(err))
        assert error_line(err).startswith("c3dhash: ")


def test_errors_of_the_gallery_and_the_video(run, untrained_run, motion_dir, tmp_path):
    video = motion_dir / "query" / "move_up" / "move_up_000.mp4"
    code, *_ = run("index", motion_dir / "query", "--model", untrained_run.path)
    assert code == 0
    other = tmp_path / "other"
    shutil.copytree(untrained_run.path, other)
    code, _, err = run("query", tmp_path / "gone.mp4")
    assert (code, "gone.mp4" in error_line(err)) == (1, True)
    import safetensors.torch as st

    weights = st.load_file(other / "model.safetensors")
    weights["hash_head.bias"] += 1
    st.save_file(weights, other / "model.safetensors")
    code, _, err = run("query", video, "--model", other)
    assert code == 1
    assert re.search(r"gallery 'gallery' holds 16-bit codes of model .*--model", error_line(err))
    # A damaged index is a cache: made again.
    (tmp_path / "gallery" / "codes.bin").write_bytes(b"garbage")
    code, out, _ = run("query", video, "--json")
    assert (code, json.loads(out)[0]["distance"]) == (0, 0)


def test_two_data_sets_and_an_unknown_class(run, motion_dir, untrained_run, tmp_path):
    for name in ("a", "b"):
        shutil.copytree(motion_dir, tmp_path / "data" / name)
    code, _, err = run("train", *TINY_OPTIONS)
    assert (code, bool(re.search("2 data sets in 'data'.*--data", error_line(err)))) == (1, True)
    (tmp_path / "data" / "b" / "train" / "move_up").rename(tmp_path / "data" / "b" / "train" / "fly")
    code, _, err = run("evaluate", "--data", "data/b", "--model", untrained_run.path)
    assert (code, "'fly' is unknown" in error_line(err)) == (1, True)


def test_evaluate_a_codes_file(run, tmp_path):
    codes = Codes(np.array([[1], [2]], np.uint8), np.array([0, 1]), np.array([[1]], np.uint8), np.array([0]), 8)
    save_codes(codes, tmp_path / "codes.npz")
    code, out, _ = run("evaluate", "--codes", "codes.npz", "--json", "--k", "100", "--radius", "2")
    assert (code, json.loads(out)["mAP"]["expected"]) == (0, 1.0)
    code, out, err = run("evaluate", "--codes", "codes.npz", "--out", ".")
    assert (code, out) == (2, "")
    assert "'.' holds what c3dhash evaluate did not write (codes.npz)" in error_line(err)


def test_data_commands(run, motion_dir, tmp_path):
    code, out, _ = run("data", "synth", "set", "--classes", "2", "--train-videos", "3")
    assert (code, out) == (0, "set: 2 classes, 6 train, 4 val, 4 gallery, 4 query\n")
    code, _, err = run("data", "synth", "set", "--classes", "2", "--seed", "1")
    assert (code, "'set' holds the set of seed 0" in error_line(err)) == (2, True)
    code, out, _ = run("data", "check", "set", "--json")
    assert (code, json.loads(out)["format"]) == (0, "folders")
    (tmp_path / "set" / "train" / "move_up" / "empty.mp4").touch()
    code, out, _ = run("data", "check", "set")
    assert (code, "empty.mp4" in out) == (1, True)
    (tmp_path / "set" / "train" / "move_up" / "empty.mp4").unlink()
    code, out, _ = run("data", "split", "set", "--output", "lists", "--shares", "0.5,0.2,0.3")
    assert code == 0
    assert (tmp_path / "lists" / "train.txt").exists()
    code, out, _ = run("data", "frames", "set", "pictures", "--size", "32")
    assert code == 0
    assert len(list((tmp_path / "pictures").rglob("img_00001.jpg"))) == 18
    code, out, _ = run("data", "list", "--json")
    assert {"UCF101", "HMDB51", "JHMDB"} <= {known["name"] for known in json.loads(out)}
    code, out, _ = run("data", "cache")
    assert (code, "c3dhash/frames: 0 videos" in out) == (0, True)
    cache = FrameCache(tmp_path / "cache", max_bytes=1 << 20)
    ClipReader(4, 16, cache).evaluation_clips(Sample(next((tmp_path / "set").rglob("*.mp4")), (0,), "train"))
    (tmp_path / "cache" / "mine.frames").touch()
    assert run("data", "cache", "--cache", "cache", "--clear")[1] == "cache: 1 videos, 0.00 GiB deleted\n"
    assert list((tmp_path / "cache").glob("*.frames")) == [tmp_path / "cache" / "mine.frames"]


def test_models(run, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    (tmp_path / "pretrain").mkdir()
    (tmp_path / "pretrain" / "c3d-pretrained.pth").touch()
    code, out, _ = run("models", "--json")
    facts = {fact["backbone"]: fact for fact in json.loads(out)}
    assert (code, facts["resnet3d18"]["feature_dim"], facts["c3d"]["feature_dim"]) == (0, 512, 4096)
    assert [weights["name"] for weights in facts["c3d"]["weights"] if weights["is_found"]] == ["sports1m"]
    assert not any(weights["is_found"] for weights in facts["resnet3d18"]["weights"])
    assert (facts["c3d"]["gflops"], facts["c3d"]["preprocessing"]["scale"]) == (38.547, 1 / 255)
    code, out, _ = run("models")
    assert code == 0
    assert re.search(r"^c3d +4096 +78\.0 M +38\.5 +16x112x112 +RGB -1 to 1$", out, re.M)
    assert re.search(r"^resnet3d18 +512 +33\.2 M +8\.3 +16x112x112 +RGB 0 to 1, mean \.43 \.41 \.38$", out, re.M)
    assert re.search(r"^c3d +sports1m\*, ", out, re.M)
    assert re.search(r"^resnet3d18 +kinetics400, kinetics700, ", out, re.M)
    assert re.search(r"^r3d_18 +kinetics400\+$", out, re.M)
    assert max(map(len, out.splitlines())) <= 110


def test_models_show(run, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    code, out, _ = run("models", "show", "resnet3d18")
    assert (code, "RGB 0 to 1, mean .43 .41 .38, std .28 .27 .27" in out, "33,203,904" in out) == (0, True, True)
    assert re.search(
        r"weights +kinetics400\n +resnet-18-kinetics\.pth\n +from github.com/.*: put it into pretrain/", out
    )
    code, out, _ = run("models", "show", "c3d", "--json")
    assert (code, json.loads(out)["backbone"]) == (0, "c3d")


def test_models_export(run, untrained_run, tmp_path):
    code, out, err = run("models", "export", untrained_run.path, "--onnx", "model.onnx", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert (report["path"], report["input_shape"]) == ("model.onnx", ["N", 4, 16, 16, 3])
    assert report["num_bytes"] == (tmp_path / "model.onnx").stat().st_size
    code, out, err = run("models", "export", untrained_run.path, "--onnx", "one.onnx", "--batch-size", "1")
    assert code == 0, err
    assert re.match(r"one\.onnx: \d+\.\d MB, opset \d+, clips uint8 \[1, 4, 16, 16, 3\]\n", out)
    assert re.search(r"^embedding: at most \d\.\de-\d\d from PyTorch$", out, re.M)


def test_classify(run, untrained_run, motion_dir, tmp_path):
    shutil.copytree(motion_dir / "query" / "move_up", tmp_path / "db")
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    code, out, err = run("classify", "db/move_up_000.mp4", "--model", untrained_run.path, "--json")
    (video,) = json.loads(out)
    assert (code, set(video), video["video"]) == (0, {"video", "top5"}, "db/move_up_000.mp4")
    assert [set(prediction) for prediction in video["top5"]] == [{"label", "probability"}] * 3
    probabilities = [prediction["probability"] for prediction in video["top5"]]
    assert probabilities == sorted(probabilities, reverse=True) and sum(probabilities) == pytest.approx(1)
    code, out, err = run("classify", "broken.mp4", "db", "--model", untrained_run.path, "--top", "1")
    lines = out.splitlines()
    assert (code, lines[0], lines[2], lines[4]) == (1, "broken.mp4", "db/move_up_000.mp4", "db/move_up_001.mp4")
    assert lines[1].startswith("   failed: ") and re.fullmatch(r"   0\.\d{3}  move_\w+", lines[3])
    assert "broken.mp4" in err
    code, out, _ = run("classify", "broken.mp4", "--model", untrained_run.path, "--top", "3", "--json")
    (video,) = json.loads(out)
    assert (code, video["top3"], "broken.mp4" in video["reason"]) == (1, [], True)


def test_json_of_a_name_that_is_not_utf8(run, untrained_run, tmp_path):
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/odd\xff.mp4")
    shutil.copy(__file__, odd)
    code, out, _ = run("classify", odd, "--model", untrained_run.path, "--json")
    (video,) = json.loads(out)
    assert (code, video["video"], video["top5"]) == (1, odd, [])


def test_published_weights_recognise(run, motion_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("C3DHASH_OFFLINE", "0")  # so that what --offline sets is undone
    for options in (["--backbone", "i3d"], ["--weights", "kinetics400"],
                    ["--backbone", "i3d", "--weights", "kinetics400", "--model", "run"]):  # fmt: skip
        code, _, err = run("classify", motion_dir / "query", *options)
        assert (code, "--backbone NAME and --weights NAME go together" in error_line(err)) == (2, True)
    for command in (["models", "fetch", "i3d"],
                    ["classify", motion_dir / "query", "--backbone", "i3d", "--weights", "kinetics400"],
                    ["index", motion_dir / "query", "--backbone", "i3d", "--weights", "kinetics400"]):  # fmt: skip
        code, out, err = run(*command, "--offline")
        assert (code, "--offline or C3DHASH_OFFLINE forbids it" in error_line(err), out) == (1, True, "")
    assert not (tmp_path / "gallery").exists() and not (tmp_path / "cache").exists()
    code, _, err = run("models", "fetch", "slowonly")
    assert (code, "no weights of slowonly can be fetched" in error_line(err)) == (1, True)
    cached = tmp_path / "cache" / "c3dhash" / "weights" / "i3d-kinetics-400.safetensors"
    cached.parent.mkdir(parents=True)
    cached.touch()
    assert run("models", "fetch", "i3d")[:2] == (0, f"{cached}\n")
    code, out, _ = run("models", "fetch", "i3d", "kinetics400", "--json")
    assert (code, json.loads(out)) == (0, {"backbone": "i3d", "weights": "kinetics400", "path": str(cached)})


def test_an_existing_run_is_not_overwritten(run, untrained_run, motion_dir):
    code, _, err = run("train", "--data", motion_dir, "--out", untrained_run.path)
    assert (code, "--resume" in error_line(err)) == (2, True)


def test_ctrl_c_leaves_a_run_that_can_be_resumed(tmp_path, motion_dir):
    command = [
        sys.executable,
        "-m",
        "c3dhash",
        "train",
        "--data",
        str(motion_dir),
        "--out",
        "run",
        *TINY_OPTIONS,
        "--epochs",
        "500",
    ]
    environment = {**os.environ, "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell ignores it for what runs with &
    )  # fmt: skip
    deadline = time.monotonic() + 240
    while not (tmp_path / "run" / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert "Go on with: c3dhash train --resume run" in err
    assert "Traceback" not in err
    done = len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps({**config, "epochs": done + 1}))
    command = [sys.executable, "-m", "c3dhash", "train", "--resume", "run"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == done + 1


def commands(group, prefix: str = ""):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


@pytest.mark.parametrize(
    "name, configs",
    [
        ("train", (TrainConfig, CacheConfig)),
        ("index", (HashConfig, EncodeConfig, IndexConfig)),
        ("query", (QueryConfig,)),
        ("duplicates", (DuplicatesConfig,)),
        ("serve", (ServeConfig,)),
        ("classify", (RecognizeConfig, EncodeConfig)),
        ("evaluate", (EvaluateConfig, CacheConfig)),
    ],
)
def test_every_setting_is_an_option_with_its_default(name, configs):
    options = {parameter.name: parameter for parameter in cli.commands[name].params}
    for config in configs:
        for item in dataclasses.fields(config):
            if (name, item.name) == ("classify", "crop_bars"):  # of galleries only
                assert item.name not in options
                continue
            assert options[item.name].default == item.default
            assert f"--{item.name.replace('_', '-')}" in options[item.name].opts
            assert options[item.name].help == item.metadata["help"]


@pytest.mark.parametrize("name", [name for name, _ in commands(cli)])
def test_every_command_is_documented(name, run):
    code, out, _ = run(*name.split(), "--help")
    assert code == 0
    assert out.startswith("Usage: c3dhash")
    text = (ROOT / "README.md").read_text() + "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    assert f"c3dhash {name}" in text


def test_the_log_says_where_something_failed(run, capsys):
    """What a server goes on after: its answer says that the log says why."""
    run("--version")
    logger = logging.getLogger("c3dhash.somewhere")
    logger.warning("as usual")
    try:
        raise ZeroDivisionError("by nothing")
    except ZeroDivisionError:
        logger.exception("a request failed")
    lines = capsys.readouterr().err.splitlines()
    assert lines[:3] == ["warning: as usual", "error: a request failed", "Traceback (most recent call last):"]
    assert "test_main.py" in lines[3] and lines[-1] == "ZeroDivisionError: by nothing"


def test_help_does_not_import_what_is_heavy():
    script = "import sys; from c3dhash.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n" \
             "print([name for name in ('torch', 'faiss', 'cv2', 'matplotlib') if name in sys.modules])"  # fmt: skip
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[-1] == "[]"
