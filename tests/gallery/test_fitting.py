from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from paths import TESTS_DIR
from safetensors.torch import save_file
from tiny import TinyBackbone
from videos import black_frames, numbered_frame, write_frames

from c3dhash.bits import pack_codes
from c3dhash.config import EncodeConfig, HashConfig
from c3dhash.errors import CheckpointError, CodesError, GalleryError, ModelMismatchError, UsageError
from c3dhash.gallery import fitting
from c3dhash.gallery.fitting import index_with_features, kept_features, make_run, own_run
from c3dhash.gallery.indexing import IndexReport, encode_here, open_gallery
from c3dhash.gallery.plan import Step
from c3dhash.models.backbones import BACKBONES, build_backbone
from c3dhash.models.encode import encode_videos
from c3dhash.models.fingerprints import fingerprint
from c3dhash.models.hashing import fit_hash
from c3dhash.models.hashnet import HashNet
from c3dhash.models.runs import Run, find_run, load_run
from c3dhash.models.weights import weights_metadata
from c3dhash.records import FeatureBatch
from c3dhash.video.reader import content_hash

FP32 = EncodeConfig(precision="fp32", device="cpu")


@pytest.fixture
def weights(tmp_path, monkeypatch) -> Path:
    """Published weights, as far as the code can tell."""
    monkeypatch.setitem(BACKBONES, "tiny", TinyBackbone)
    return write_weights(tmp_path / "published.safetensors", seed=3)


def write_weights(path: Path, *, seed: int, name: str = "tiny") -> Path:
    torch.manual_seed(seed)
    backbone = build_backbone(name)
    save_file(backbone.state_dict(), path, metadata=weights_metadata(backbone))
    return path


@pytest.fixture
def config(weights) -> HashConfig:
    return HashConfig(backbone="tiny", weights=str(weights), hash_length=8, hash="itq")


@pytest.fixture
def videos(motion_dir, tmp_path) -> Path:
    """A folder of twelve videos in class folders, free to change."""
    shutil.copytree(motion_dir / "train", tmp_path / "db")
    return tmp_path / "db"


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "gallery"


def update(path: Path, run: Run, places: list[Path], encode: EncodeConfig = FP32) -> IndexReport:
    """Index as the command does."""
    with open_gallery(path, run, config=encode) as gallery:
        return index_with_features(run, gallery, places, config=encode)


def codes_of(path: Path, run: Run) -> dict[str, np.ndarray]:
    """The codes in a gallery by video; there is one clip a video here."""
    with open_gallery(path, run, config=FP32) as gallery:
        ids, codes = gallery.codes()
        return {clip.video: code for clip, code in zip(gallery.clips(ids), codes, strict=True)}


def assert_codes_are_those_of_the_network(path: Path, run: Run) -> None:
    """Each code equals what the videos' own way through the network gives."""
    found = codes_of(path, run)
    for result in encode_videos(run, map(Path, found), config=FP32):
        assert np.array_equal(result.codes.codes[0], found[str(result.video)])


def step_of(video: Path) -> Step:
    """A file as it is now."""
    facts = video.stat()
    return Step(str(video), None, facts.st_size, facts.st_mtime_ns)


@pytest.fixture
def no_network(monkeypatch):
    """Let nothing be decoded any more."""

    def encode(run, videos, **_):
        assert list(videos) == []
        return
        yield

    monkeypatch.setattr("c3dhash.gallery.indexing.encode_videos", encode)


@pytest.mark.parametrize("method", ["itq", "lsh"])
def test_a_gallery_gets_a_model_of_its_own(config, videos, path, method):
    assert own_run(path) is None
    run = make_run(path, [videos], config=dataclasses.replace(config, hash=method), encode=FP32)
    assert run.path == path / "model"
    assert run.fingerprint == own_run(path).fingerprint == run.config["fingerprint"]
    assert (run.hash_length, run.labels, run.model.class_head, run.model.clip_size) == (8, (), None, (4, 32, 32))
    assert {name: run.config[name] for name in ("task", "hash", "fitted_clips", "finished", "shortcut")} == {
        "task": "hash", "hash": method, "fitted_clips": 12, "finished": True, "shortcut": None,
    }  # fmt: skip
    assert {"backbone_fingerprint", "versions", "weights", "seed", "preprocessing"} <= set(run.config)
    report = update(path, run, [videos])
    assert (report.added, report.clips, report.failed) == (12, 12, [])
    assert_codes_are_those_of_the_network(path, run)
    assert {entry.name for entry in path.iterdir()} == {"catalog.sqlite", "codes.bin", "model"}
    assert len(np.unique(np.stack(list(codes_of(path, run).values())), axis=0)) > 6


def test_the_head_is_fitted_on_the_features_of_the_videos(config, videos, path):
    run = make_run(path, [videos], config=config, encode=FP32)
    results = encode_videos(run, sorted(videos.rglob("*.mp4")), config=FP32, with_features=True)
    features = {result.video: result.features.features for result in results}
    head = fit_hash(np.concatenate([features[video] for video in sorted(features)]), hash_length=8, method="itq")
    np.testing.assert_allclose(run.model.hash_head.weight.detach().numpy(), head.weight, atol=1e-4)
    np.testing.assert_allclose(run.model.hash_head.bias.detach().numpy(), head.bias, atol=1e-3)


def test_every_clip_goes_through_the_network_once(config, videos, path, no_network, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("c3dhash.gallery.indexing.encode_videos", encode_videos)
        run = make_run(path, [videos], config=config, encode=FP32)
    assert update(path, run, [videos]).added == 12  # no_network: from what was kept


def test_flat_windows_are_not_fitted_to_and_stay_out_where_indexing_goes_on(config, videos, path, monkeypatch):
    """What is kept of a video says how many of its windows show nothing."""
    write_frames(videos / "black.mp4", black_frames(50))
    write_frames(videos / "late.mp4", [*black_frames(50), *[numbered_frame(number) for number in range(50)]])
    short = dataclasses.replace(FP32, window_seconds=2)
    run = make_run(path, [videos], config=config, encode=short)
    assert run.config["fitted_clips"] == 13
    monkeypatch.setattr("c3dhash.gallery.indexing.encode_videos", None)  # the rest goes on from what is kept
    report = update(path, run, [videos], short)
    assert (report.added, report.clips, report.failed) == (14, 13, [])
    assert (report.flat_windows, report.flat_videos) == (2, 2)
    assert report.without_codes == [str(videos / "black.mp4")]


def test_the_second_time_it_is_not_fitted_again(config, videos, path, motion_dir, monkeypatch):
    run = make_run(path, [videos], config=config, encode=FP32)
    update(path, run, [videos])
    monkeypatch.setattr(fitting, "initialize_hash_head", None)
    again = make_run(path, [videos, motion_dir / "val"], config=config, encode=FP32)
    assert again.fingerprint == run.fingerprint
    report = update(path, again, [videos, motion_dir / "val"])
    assert (report.added, report.unchanged) == (6, 12)
    assert_codes_are_those_of_the_network(path, run)
    assert not (path / "features").exists()


def test_only_features_of_our_own_are_deleted(untrained_run, tmp_path):
    run = dataclasses.replace(untrained_run, config={"backbone_fingerprint": "f"})
    kept = kept_features(run, tmp_path, config=FP32)
    kept.directory.mkdir()
    own, mine = kept.directory / f"{'0' * 32}.npz", kept.directory / "features.npz"
    for path in (own, mine):
        path.touch()
    kept.clear()
    assert list(kept.directory.iterdir()) == [mine]
    mine.unlink()
    kept.clear()
    assert not kept.directory.exists()


def test_the_same_weights_may_lie_elsewhere_and_others_not(config, videos, path, weights, tmp_path):
    run = make_run(path, [videos], config=config, encode=FP32)
    shutil.copy(weights, tmp_path / "copy.safetensors")
    copy = dataclasses.replace(config, weights=str(tmp_path / "copy.safetensors"))
    assert make_run(path, [videos], config=copy, encode=FP32).fingerprint == run.fingerprint
    write_weights(tmp_path / "copy.safetensors", seed=4)
    with pytest.raises(ModelMismatchError, match=r"with weights '.*published\.safetensors' \(\w{8}\), got '.*copy\."):
        make_run(path, [videos], config=copy, encode=FP32)


@pytest.mark.parametrize("name, value", [("hash_length", 9), ("hash", "lsh"), ("num_frames", 5), ("size", 48)])
def test_other_options_than_those_of_the_model_are_refused(config, videos, path, name, value):
    make_run(path, [videos], config=config, encode=FP32)
    own = own_run(path).config[name]
    message = rf"'{path}' has a model of its own with {name} {own}, got {value}: leave --backbone out"
    with pytest.raises(ModelMismatchError, match=message):
        make_run(path, [videos], config=dataclasses.replace(config, **{name: value}), encode=FP32)


def test_clips_that_nothing_is_said_of_are_those_of_the_model(config, videos, path):
    """The default clip of a backbone may change from version to version; a gallery keeps its own."""
    run = make_run(path, [videos], config=dataclasses.replace(config, num_frames=5, size=48), encode=FP32)
    again = dataclasses.replace(config, num_frames=None, size=None)
    assert make_run(path, [videos], config=again, encode=FP32).fingerprint == run.fingerprint
    assert again.num_frames is None and run.model.clip_size == (5, 48, 48)


def test_a_gallery_of_a_trained_run_keeps_it(config, videos, path, untrained_run):
    open_gallery(path, untrained_run).close()
    with pytest.raises(ModelMismatchError, match=rf"gallery '{path}' holds codes of a model that is not its own"):
        make_run(path, [videos], config=config, encode=FP32)


def test_more_clips_than_are_fitted_on(config, videos, path, monkeypatch):
    monkeypatch.setattr(fitting, "MAX_FITTED_CLIPS", 9)
    run = make_run(path, [videos], config=config, encode=dataclasses.replace(FP32, batch_size=1))
    assert run.config["fitted_clips"] == 9
    assert 9 <= len(list((path / "features").glob("*.npz"))) < 12
    assert update(path, run, [videos]).added == 12
    assert_codes_are_those_of_the_network(path, run)


@pytest.mark.parametrize("seed", range(3))
def test_the_order_in_which_features_come_does_not_matter(config, videos, path, tmp_path, monkeypatch, seed):
    """Also where there are more than are fitted on: the first that come are not those that are."""
    monkeypatch.setattr(fitting, "MAX_FITTED_CLIPS", 9)
    come = []

    def in_any_order(*arguments, **options):
        results = list(encode_here(*arguments, **options))
        for place in np.random.default_rng(seed).permutation(len(results)):
            come.append(results[place][0].video)
            yield results[place]

    (videos / "broken.mp4").write_bytes(b"\0" * 1000)
    run = make_run(path, [videos], config=config, encode=FP32)
    other = make_run(tmp_path / "other", [videos], config=config, encode=FP32, encode_steps=in_any_order)
    assert come != sorted(come) and len(come) > 9
    assert (other.fingerprint, other.config["fitted_clips"]) == (run.fingerprint, 9)


def test_a_long_video_gives_a_part_of_its_clips(config, videos, path, monkeypatch):
    short = dataclasses.replace(FP32, window_seconds=0.2)
    monkeypatch.setattr(fitting, "MAX_FITTED_CLIPS", 10)
    run = make_run(path, [videos], config=config, encode=short)
    assert run.config["fitted_clips"] == 10
    assert (run.config["window_seconds"], run.config["stride_seconds"]) == (0.2, None)
    report = update(path, run, [videos], short)
    assert (report.added, report.failed) == (12, [])
    with open_gallery(path, run, config=short) as gallery:
        clips = gallery.clips(gallery.codes()[0])
    expected = [
        (str(result.video), *span)
        for result in encode_videos(run, sorted(videos.rglob("*.mp4")), config=short)
        for span in zip(result.codes.start_seconds, result.codes.end_seconds, strict=True)
    ]
    assert sorted((clip.video, clip.start_seconds, clip.end_seconds) for clip in clips) == sorted(expected)


FIT_AND_STOP = """
import sys
from pathlib import Path
from tiny import TinyBackbone
from c3dhash.models.backbones import BACKBONES
from c3dhash.config import EncodeConfig, HashConfig
from c3dhash.gallery.fitting import KeptFeatures, make_run

BACKBONES["tiny"] = TinyBackbone
save, num_saved = KeptFeatures.save, 0

def save_and_say(self, path, batch, content_hash):
    global num_saved
    save(self, path, batch, content_hash)
    num_saved += 1
    if num_saved == 5:
        print("five", flush=True)
        sys.stdin.read()  # for ever: the parent kills

KeptFeatures.save = save_and_say
gallery, videos, weights = sys.argv[1:]
config = HashConfig(backbone="tiny", weights=weights, hash_length=8)
make_run(Path(gallery), [Path(videos)], config=config, encode=EncodeConfig(precision="fp32", device="cpu"))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_while_fitting_it_goes_on_with_what_it_had(config, videos, path, weights, tmp_path, monkeypatch):
    arguments = [sys.executable, "-c", FIT_AND_STOP, str(path), str(videos), str(weights)]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS_DIR), *sys.path])},
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "five\n"
        process.kill()
    assert process.returncode == -signal.SIGKILL
    files = {file.name: file.stat().st_mtime_ns for file in (path / "features").glob("*.npz")}
    assert len(files) == 5
    assert own_run(path) is None

    encoded: list[Path] = []

    def counted(run, paths, **options):
        for result in encode_videos(run, paths, **options):
            encoded.append(result.video)
            yield result

    monkeypatch.setattr("c3dhash.gallery.indexing.encode_videos", counted)
    run = make_run(path, [videos], config=config, encode=FP32)
    assert len(encoded) == 7, "the five that were there are not computed again"
    now = {file.name: file.stat().st_mtime_ns for file in (path / "features").glob("*.npz")}
    assert len(now) == 12
    assert {name: now[name] for name in files} == files
    assert update(path, run, [videos]).added == 12
    whole = make_run(tmp_path / "whole", [videos], config=config, encode=FP32)
    update(tmp_path / "whole", whole, [videos])
    ours, theirs = codes_of(path, run), codes_of(tmp_path / "whole", whole)
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


INDEX = """
import sys
from tiny import TinyBackbone
from c3dhash.cli import main
from c3dhash.models.backbones import BACKBONES

BACKBONES["tiny"] = TinyBackbone
main(sys.argv[1:])
"""


def test_two_that_start_together_make_one_model(videos, path, weights):
    arguments = [
        sys.executable, "-c", INDEX, "index", str(videos), "--gallery", str(path), "--backbone", "tiny",
        "--weights", str(weights), "--hash-length", "8", "--precision", "fp32", "--device", "cpu", "--json",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS_DIR), *sys.path])}
    both = [
        subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=100) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    reports = sorted((json.loads(out) for out, _ in outputs), key=lambda report: report["added"])
    assert [(report["added"], report["unchanged"]) for report in reports] == [(0, 12), (12, 0)]
    assert sum("bits fitted on 12 clips" in err for _, err in outputs) == 1
    assert_codes_are_those_of_the_network(path, own_run(path))
    assert {entry.name for entry in path.iterdir()} == {"catalog.sqlite", "codes.bin", "model"}


def test_a_disk_that_fills_up_says_so(config, videos, path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fitting.np, "savez", full)
    message = r"features '.*/features/\w+\.npz' cannot be written \(No space left on device\): make room, then type"
    with pytest.raises(GalleryError, match=message):
        make_run(path, [videos], config=config, encode=FP32)


def test_killed_while_the_model_is_written_it_is_fitted_again(config, videos, path, no_network, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("c3dhash.gallery.indexing.encode_videos", encode_videos)
        run = make_run(path, [videos], config=config, encode=FP32)
    (path / "model" / "config.json").unlink()  # the last file that is written
    assert own_run(path) is None
    assert make_run(path, [videos], config=config, encode=FP32).fingerprint == run.fingerprint


def test_a_video_that_changed_since_is_encoded_anew(config, videos, path):
    run = make_run(path, [videos], config=config, encode=FP32)
    files = sorted(videos.glob("*/*.mp4"))
    shutil.copy(files[5], files[0])
    files[1].unlink()
    assert update(path, run, [videos]).added == 11
    assert_codes_are_those_of_the_network(path, run)


def test_a_video_that_changes_while_it_is_decoded_is_not_kept(config, videos, path, monkeypatch):
    files = sorted(videos.glob("*/*.mp4"))

    def slow(run, paths, **options):
        for result in encode_videos(run, paths, **options):
            if result.video == files[0]:
                shutil.copy(files[5], files[0])
            if result.video == files[1]:
                files[1].unlink()
            yield result

    with monkeypatch.context() as patch:
        patch.setattr("c3dhash.gallery.indexing.encode_videos", slow)
        run = make_run(path, [videos], config=config, encode=FP32)
    assert run.config["fitted_clips"] == 10
    assert update(path, run, [videos]).added == 11
    assert_codes_are_those_of_the_network(path, run)


def test_unreadable_files_are_reported_by_the_update(config, videos, path):
    (videos / "broken.mp4").write_bytes(b"\0" * 1000)
    run = make_run(path, [videos], config=config, encode=FP32)
    assert run.config["fitted_clips"] == 12
    report = update(path, run, [videos])
    assert report.added == 12
    assert [Path(failure["video"]).name for failure in report.failed] == ["broken.mp4"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"garbage"])
def test_damaged_features_are_made_again(config, videos, path, content, caplog):
    run = make_run(path, [videos], config=config, encode=FP32)
    damaged = next((path / "features").glob("*.npz"))
    damaged.write_bytes(content)
    assert update(path, run, [videos]).added == 12
    assert f"'{damaged}' cannot be read and is made again" in caplog.text
    assert_codes_are_those_of_the_network(path, run)


def test_too_few_videos_say_what_to_do_and_keep_the_features(config, videos, path, no_network, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("c3dhash.gallery.indexing.encode_videos", encode_videos)
        with pytest.raises(UsageError, match="got 12 for hash_length 12: take fewer bits, more videos, or --hash lsh"):
            make_run(path, [videos], config=dataclasses.replace(config, hash_length=12), encode=FP32)
    assert own_run(path) is None
    run = make_run(path, [videos], config=config, encode=FP32)  # no_network: from what was kept
    assert run.config["fitted_clips"] == 12


def test_bits_and_the_length_of_a_feature(config, videos, path):
    with pytest.raises(UsageError, match=r"\(24\), got hash_length 30: take fewer bits, or --hash lsh"):
        make_run(path, [videos], config=dataclasses.replace(config, hash_length=30), encode=FP32)
    assert not path.exists(), "said before anything is decoded"
    run = make_run(path, [videos], config=dataclasses.replace(config, hash_length=30, hash="lsh"), encode=FP32)
    assert update(path, run, [videos]).added == 12


def test_what_cannot_be_made_is_refused(config, videos, path, tmp_path):
    with pytest.raises(UsageError, match=r"'.*nowhere' does not exist"):
        make_run(path, [tmp_path / "nowhere"], config=config)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no videos in '.*empty'"):
        make_run(path, [tmp_path / "empty"], config=config)
    with pytest.raises(CheckpointError, match=r"weights 'gone\.pth' for tiny must be a name \(none is known\)"):
        make_run(path, [videos], config=dataclasses.replace(config, weights="gone.pth"))
    with pytest.raises(UsageError, match=r"backbone \('vgg'\) must be one of"):
        make_run(path, [videos], config=dataclasses.replace(config, backbone="vgg"))
    with pytest.raises(UsageError, match=r"weights \(None\) of --backbone c3d would be random.*--weights NAME or FILE"):
        HashConfig(backbone="c3d")
    with pytest.raises(UsageError, match=r"hash \('pca'\) must be one of auto, itq, lsh"):
        dataclasses.replace(config, hash="pca")
    path.write_text("a file")
    with pytest.raises(GalleryError, match=rf"gallery '{path}' cannot be made: .*; choose another folder"):
        make_run(path, [videos], config=config)


def test_features_of_another_network_or_other_windows_are_not_taken(config, videos, path):
    run = make_run(path, [videos], config=config, encode=FP32)
    video = sorted(videos.rglob("*.mp4"))[0]
    step = step_of(video)
    own = kept_features(run, path, config=FP32)
    batch, digest = own.load(step)
    assert (batch.features.shape, batch.start_seconds.tolist()) == ((1, 24), [0])
    assert digest == content_hash(video)
    assert kept_features(run, path, config=dataclasses.replace(FP32, window_seconds=5)).load(step) is None
    assert fitting.KeptFeatures(path, network="0" * 32, config=FP32).load(step) is None
    os.utime(video, ns=(1, 1))
    assert own.load(step_of(video)) is None
    assert own.load(dataclasses.replace(step, video=str(videos / "gone.mp4"))) is None
    assert own.codes(run, step_of(video)) is None


class Reversed(TinyBackbone):
    """The same weights, and other features."""

    name = "reversed"

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return super().forward(clips.flip(2, 3))


def test_features_of_another_architecture_with_the_same_weights_are_not_taken(config, videos, path, monkeypatch):
    monkeypatch.setitem(BACKBONES, "reversed", Reversed)
    with pytest.raises(UsageError, match="got 12 for hash_length 12"):  # features are kept, and no model is made
        make_run(path, [videos], config=dataclasses.replace(config, hash_length=12), encode=FP32)
    weights = write_weights(path / "reversed.safetensors", seed=3, name="reversed")
    other = dataclasses.replace(config, backbone="reversed", weights=str(weights))
    run = make_run(path, [videos], config=other, encode=FP32)
    assert update(path, run, [videos]).added == 12
    assert_codes_are_those_of_the_network(path, run)
    with pytest.raises(ModelMismatchError, match="with backbone reversed, got tiny"):
        make_run(path, [videos], config=config, encode=FP32)


def test_a_gallery_of_the_first_rule_goes_on(config, videos, path, motion_dir, tmp_path):
    """Its files state fingerprints as the first version made them, and there are features that it kept."""
    run = make_run(path, [videos], config=config, encode=FP32)
    headless = HashNet(run.model.backbone, hash_length=None, num_classes=None)
    stated = {"fingerprint": fingerprint(run.model, like=""), "backbone_fingerprint": fingerprint(headless, like="")}
    (path / "model" / "config.json").write_text(json.dumps({**run.config, **stated}))
    shutil.rmtree(path / "features")
    first = own_run(path)
    assert first.fingerprint == stated["fingerprint"] != run.fingerprint
    old_features = fitting.KeptFeatures(path, network=stated["backbone_fingerprint"], config=FP32)
    old_features.directory.mkdir()
    for video in videos.rglob("*.mp4"):  # of whichever architecture: the first rule did not tell
        batch = FeatureBatch(np.ones((1, 24), np.float32), np.zeros(1), np.ones(1))
        old_features.save(old_features.file(step_of(video)), batch, "")
    again = make_run(path, [videos], config=config, encode=FP32)
    assert again.fingerprint == first.fingerprint
    assert update(path, again, [videos]).added == 12
    assert_codes_are_those_of_the_network(path, again)
    assert not (path / "features").exists()
    assert update(path, own_run(path), [videos, motion_dir / "val"]).added == 6
    others = dataclasses.replace(config, weights=str(write_weights(tmp_path / "other.safetensors", seed=4)))
    with pytest.raises(ModelMismatchError, match=rf"with weights '.*' \({stated['backbone_fingerprint'][:8]}\)"):
        make_run(path, [videos], config=others, encode=FP32)


def test_a_run_that_was_trained_has_no_features(untrained_run, path):
    assert kept_features(untrained_run, path, config=FP32) is None


def test_the_run_is_like_any_other(config, videos, path):
    run = make_run(path, [videos], config=config, encode=FP32)
    found = load_run(find_run(path / "model"))
    assert found.fingerprint == run.fingerprint
    (result,) = encode_videos(found, [next(videos.rglob("*.mp4"))], config=FP32, with_features=True)
    values = torch.tanh(found.model.hash_head(torch.from_numpy(result.features.features))).detach()
    assert np.array_equal(pack_codes(values.numpy()), result.codes.codes)
    assert 0.2 < float(values.abs().mean()) < 0.95


def test_features_have_times():
    with pytest.raises(CodesError, match=r"features must be float32 \[N, feature_dim\], got float64 \[2, 3\]"):
        FeatureBatch(np.zeros((2, 3)), np.zeros(2), np.zeros(2))
    with pytest.raises(CodesError, match=r"2 features need as many float64 start and end times, got float64 \[3\]"):
        FeatureBatch(np.zeros((2, 3), np.float32), np.zeros(2), np.zeros(3))
    assert repr(FeatureBatch(np.zeros((2, 3), np.float32), np.zeros(2), np.zeros(2))) == (
        "FeatureBatch(features float32 [2, 3])"
    )
