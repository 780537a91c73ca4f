"""The run of a gallery is found where it was, where it was moved, and in the gallery itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from c3dhash.errors import ModelMismatchError
from c3dhash.gallery.indexing import open_gallery
from c3dhash.gallery.runs import run_of
from c3dhash.gallery.store import Gallery
from c3dhash.models.runs import Run, load_run


@pytest.fixture
def run(untrained_run: Run, tmp_path: Path) -> Run:
    shutil.copytree(untrained_run.path, tmp_path / "runs" / "a")
    return load_run(tmp_path / "runs" / "a")


@pytest.fixture
def gallery(run: Run, tmp_path: Path):
    with open_gallery(tmp_path / "gallery", run) as gallery:
        yield gallery


def retrain(path: Path) -> None:
    weights = load_file(path / "model.safetensors")
    weights["hash_head.bias"] += 1
    save_file(weights, path / "model.safetensors")


def test_where_it_was(run: Run, gallery: Gallery, tmp_path: Path) -> None:
    assert run_of(gallery, runs_dir=tmp_path / "none").path == run.path.resolve()


@pytest.mark.parametrize(
    "to, runs_dir", [("runs/renamed", "none"), ("elsewhere/a", "elsewhere"), ("gallery/model", "x")]
)
def test_where_it_is_now(to: str, runs_dir: str, run: Run, gallery: Gallery, tmp_path: Path) -> None:
    (tmp_path / to).parent.mkdir(exist_ok=True)
    run.path.rename(tmp_path / to)
    (tmp_path / "runs").mkdir(exist_ok=True)
    shutil.copytree(tmp_path / to, newer := tmp_path / "runs" / "newer")
    retrain(newer)
    found = run_of(gallery, runs_dir=tmp_path / runs_dir)
    assert found.path == tmp_path / to
    gallery.check_model(found.fingerprint, hash_length=found.hash_length)


@pytest.mark.parametrize("what", ["gone", "trained anew"])
def test_one_that_is_not_there_is_asked_for(what: str, run: Run, gallery: Gallery, tmp_path: Path) -> None:
    if what == "gone":
        shutil.rmtree(run.path)
    else:
        retrain(run.path)
    message = (
        rf"gallery '{gallery.path}' holds codes of the run '{run.path}' \({run.fingerprint[:8]}…\), which is not there "
        rf"any more, nor under '{tmp_path}/runs/': say where it is with --model DIR, or index into another folder"
    )
    with pytest.raises(ModelMismatchError, match=message):
        run_of(gallery, runs_dir=tmp_path / "runs")


def test_why_one_that_is_there_is_not_taken(run: Run, gallery: Gallery, tmp_path: Path) -> None:
    (run.path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(
        ModelMismatchError, match=rf"may be it cannot be used \(run '{run.path}' cannot be read: .*\): say"
    ):
        run_of(gallery, runs_dir=tmp_path / "none")


def test_a_gallery_of_another_program_has_no_run(tmp_path: Path) -> None:
    with (
        Gallery.create(tmp_path / "g", hash_length=16, model_fingerprint="f" * 32) as gallery,
        pytest.raises(ModelMismatchError, match=r"codes of a run whose place it does not know \(ffffffff…\)"),
    ):
        run_of(gallery, runs_dir=tmp_path)
