from __future__ import annotations

import csv
import dataclasses
import os
from pathlib import Path

import pytest
import torch

from c3dhash.errors import UsageError, VideoError
from c3dhash.recognition.answer_file import AnswerFile, made_by
from c3dhash.recognition.results import Prediction, Recognition

SEEN = (Prediction("walk", 0.75), Prediction("run, fast", 0.25))


def read(path):
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def test_lines_come_as_videos_are_through(tmp_path):
    path = tmp_path / "a.csv"
    with AnswerFile(path, made_by="0123", top=2) as answers:
        assert path.read_text() == "video,prediction,score,prediction2,score2,failed,made_by\n"
        answers.add(Recognition(Path("a.mp4"), SEEN))
        (row,) = read(path)
        answers.add(Recognition(Path("b.mp4"), error=VideoError("'b.mp4' is\nno video.")))
    assert row == {
        "video": "a.mp4", "prediction": "walk", "score": "0.750000", "prediction2": "run, fast", "score2": "0.250000",
        "failed": "", "made_by": "0123",
    }  # fmt: skip
    failed = {"video": "b.mp4", "failed": "'b.mp4' is no video.", "made_by": "0123"}
    assert read(path)[1] == {**dict.fromkeys(row, ""), **failed}


def test_a_second_start_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.csv"
    with AnswerFile(path, made_by="0123", top=2) as answers:
        answers.add(Recognition(Path("a.mp4"), SEEN))
        answers.add(Recognition(Path("bad.mp4"), error=VideoError("no video")))
        answers.add(Recognition(Path("cut.mp4"), SEEN))
    path.write_bytes(path.read_bytes()[:-9])  # killed in the middle of the last line
    with AnswerFile(path, made_by="0123", top=2) as answers:
        assert len(answers) == 1
        assert Path("a.mp4") in answers and tmp_path / "a.mp4" in answers
        assert Path("bad.mp4") not in answers and Path("cut.mp4") not in answers
        answers.add(Recognition(Path("cut.mp4"), SEEN))
    assert [row["video"] for row in read(path)] == ["a.mp4", "cut.mp4"]


def test_names_keep_their_bytes(tmp_path):
    odd = Path(b'caf\xe9\n",x.mp4'.decode("utf-8", "surrogateescape"))
    for _ in range(2):
        with AnswerFile(tmp_path / "a.csv", made_by="0123", top=2) as answers:
            if odd not in answers:
                answers.add(Recognition(odd, SEEN))
    assert [row["video"] for row in read(tmp_path / "a.csv")] == [str(odd)]


def test_what_is_of_somebody_else_stays(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("video,note\na.mp4,mine\n")
    with pytest.raises(UsageError, match=r"a\.csv' holds no answers of this kind and stays as it is"):
        AnswerFile(path, made_by="0123", top=2)
    assert path.read_text() == "video,note\na.mp4,mine\n"
    other = tmp_path / "b.csv"
    with AnswerFile(other, made_by="0123", top=2) as answers:
        answers.add(Recognition(Path("a.mp4"), SEEN))
    before = other.read_bytes()
    with pytest.raises(UsageError, match=r"b\.csv' holds answers of another run, or of other settings"):
        AnswerFile(other, made_by="4567", top=2)
    with pytest.raises(UsageError, match="holds no answers of this kind"):
        AnswerFile(other, made_by="0123", top=1)
    assert other.read_bytes() == before
    with pytest.raises(UsageError, match="there is no folder"):
        AnswerFile(tmp_path / "gone" / "a.csv", made_by="0123", top=2)
    with pytest.raises(UsageError, match="is no file; name another"):
        AnswerFile(tmp_path, made_by="0123", top=2)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="pipe' is no file"):
        AnswerFile(tmp_path / "pipe", made_by="0123", top=2)


def test_two_processes_do_not_write_one_file(tmp_path):
    path = tmp_path / "a.csv"
    with AnswerFile(path, made_by="0123", top=2) as answers:
        answers.add(Recognition(Path("a.mp4"), SEEN))
        with pytest.raises(UsageError, match=r"a\.csv' is being written by another process"):
            AnswerFile(path, made_by="0123", top=2)
        answers.add(Recognition(Path("b.mp4"), SEEN))
    assert [row["video"] for row in read(path)] == ["a.mp4", "b.mp4"]
    with AnswerFile(path, made_by="0123", top=2) as answers:
        assert len(answers) == 2


def test_a_link_stays_one(tmp_path):
    (tmp_path / "link.csv").symlink_to("real.csv")
    (tmp_path / "real.csv").touch()
    with AnswerFile(tmp_path / "link.csv", made_by="0123", top=2) as answers:
        answers.add(Recognition(Path("a.mp4"), SEEN))
    assert (tmp_path / "link.csv").is_symlink()
    assert [row["video"] for row in read(tmp_path / "real.csv")] == ["a.mp4"]


def test_what_decides_the_answers(untrained_run):
    known = made_by([untrained_run], {"views": 1})
    assert known == made_by([untrained_run], {"views": 1})
    assert known != made_by([untrained_run], {"views": 2})
    assert known != made_by([dataclasses.replace(untrained_run, labels=("a", "b", "c"))], {"views": 1})
    weight = untrained_run.model.class_head.weight
    before = weight.detach().clone()
    with torch.no_grad():
        weight += 1
        assert known != made_by([untrained_run], {"views": 1}), "the fingerprint is of the codes alone"
        weight.copy_(before)
    assert known == made_by([untrained_run], {"views": 1})
