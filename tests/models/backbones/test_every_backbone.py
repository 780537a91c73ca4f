"""Every backbone goes the whole road on tiny clips: train, load, index, query, classify, ONNX.

A backbone that is added to BACKBONES is tested here without further ado. Most are marked slow.
"""

from __future__ import annotations

import shutil

import numpy as np
import onnxruntime
import pytest
import torch

from c3dhash.bits import pack_codes
from c3dhash.config import EncodeConfig, TrainConfig
from c3dhash.datasets.find import find_dataset
from c3dhash.datasets.synth import make_motion_set
from c3dhash.gallery.indexing import index_videos, open_gallery
from c3dhash.gallery.query import encode_video, query_video
from c3dhash.models.backbones import BACKBONES
from c3dhash.models.onnx_export import export_onnx
from c3dhash.models.runs import load_run
from c3dhash.models.weights import load_backbone
from c3dhash.recognition.recognize import recognize_videos
from c3dhash.training.train import train_run
from c3dhash.video.cache import FrameCache
from c3dhash.video.normalization import normalize
from c3dhash.video.optical_flow import flow_clip, frames_of_flow
from c3dhash.video.reader import read_clips
from c3dhash.video.transforms import center_clip, decoded_short_side

FP32 = EncodeConfig(precision="fp32", device="cpu")
# One of each kind goes the road by default; the others are 5 to 90 seconds each on one thread.
QUICK = ("resnet3d10", "tsn_flow_resnet18", "tsm_resnet18", "phash")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two motions: as few videos as a P x K batch and a validation need, and one to search with."""
    directory = tmp_path_factory.mktemp("videos")
    counts = {"train": 2, "val": 1, "gallery": 1, "query": 1}
    return make_motion_set(directory, num_classes=2, videos_per_class=counts, seed=1)


@pytest.fixture
def directory(tmp_path):
    """A folder that is emptied at once: some of these networks fill hundreds of megabytes, several times."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def parameters() -> list:
    found = []
    for name in BACKBONES:
        marks = [] if name in QUICK else [pytest.mark.slow]
        found.append(pytest.param(name, marks=marks))
    return found


def pixels_of(video, model):
    """The one clip of a short video, as whoever deploys an ONNX file makes it: uint8 [1, T, H, W, C]."""
    (frames, size), pixels = model.clip_size[:2], model.preprocessing
    num_frames, stack = frames, pixels.stack
    if pixels.channels == "flow":
        num_frames, stack = frames_of_flow(frames, stack)
    (clip,) = read_clips(video, num_frames=num_frames, short_side=decoded_short_side(size), stack=stack)
    seen = flow_clip(clip.frames, stack=pixels.stack) if pixels.channels == "flow" else clip.frames
    return center_clip(seen, size=size)[None]


@pytest.mark.parametrize("name", parameters())
def test_the_whole_road(name, videos, directory):
    network = BACKBONES[name]
    config = TrainConfig(
        backbone=name, num_frames=network.min_clip_size[0], size=network.min_clip_size[1], hash_length=16, epochs=1,
        classes_per_batch=2, clips_per_class=2, precision="fp32", device="cpu",
    )  # fmt: skip
    cache = FrameCache(directory / "frames", max_bytes=0)
    path = train_run(find_dataset(videos), config, run_dir=directory / "run", cache=cache)
    drawn = torch.get_rng_state()
    run = load_run(path)
    assert torch.equal(torch.get_rng_state(), drawn), "no random weights for those of a file"
    (directory / "run" / "last.pt").unlink()

    # What is loaded is what was trained, also as weights to start from.
    assert run.config["finished"] and run.fingerprint == run.config["fingerprint"]
    video = next((videos / "query").rglob("*.mp4"))
    codes = encode_video(run, video, config=FP32).codes
    clips = pixels_of(video, run.model)
    with torch.inference_mode():
        outputs = run.model(normalize(torch.from_numpy(clips), run.model.preprocessing))
        backbone = load_backbone(run.path, backbone=name) if network.needs_weights else run.model.backbone
        feature = backbone(normalize(torch.from_numpy(clips), backbone.preprocessing))
    assert feature.shape == (1, network.feature_dim)
    assert torch.allclose(feature, outputs.feature)
    assert np.array_equal(pack_codes(outputs.embedding.numpy()), codes)

    # A video of the gallery finds itself; every video gets its two probabilities.
    indexed = sorted((videos / "gallery").rglob("*.mp4"))
    with open_gallery(directory / "gallery", run) as gallery:
        report = index_videos(run, gallery, [videos / "gallery"], config=FP32)
        assert (report.added, report.failed) == (2, [])
        hits = query_video(run, gallery, indexed[0], config=FP32)
    assert {hit.video for hit in hits} == set(map(str, indexed)) and hits[0].distance == 0
    (recognition,) = recognize_videos(run, [video], config=FP32)
    assert {prediction.label for prediction in recognition.top} == set(run.labels)
    scores = outputs.logits.double().softmax(dim=1).max().item()
    assert recognition.top[0].probability == pytest.approx(scores, abs=1e-4)

    # The ONNX file says the same of the same pixels.
    exported = export_onnx(run, directory / "model.onnx")
    session = onnxruntime.InferenceSession(str(exported.path), providers=["CPUExecutionProvider"])
    embedding, class_scores = session.run(["embedding", "class_scores"], {"clips": clips})
    assert np.abs(embedding - outputs.embedding.numpy()).max() < 1e-3
    assert np.abs(class_scores - outputs.logits.numpy()).max() < 1e-3 * max(1, outputs.logits.abs().max().item())


def test_quick_ones_exist():
    assert set(QUICK) <= set(BACKBONES)
