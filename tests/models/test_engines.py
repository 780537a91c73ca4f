"""OpenVINO and onnxruntime give PyTorch's features, in batches of any size; who computes, and what else is said."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from small import awake

from c3dhash.config import EncodeConfig
from c3dhash.errors import EngineError, MissingExtraError, UsageError
from c3dhash.gallery.indexing import index_videos, open_gallery
from c3dhash.models import engines
from c3dhash.models.backbones.base import Backbone
from c3dhash.models.backbones.shifts import NUM_SHIFTS
from c3dhash.models.encode import Encoder, encode_videos
from c3dhash.models.engines import make_engine, settle_engine
from c3dhash.models.hashnet import HashNet
from c3dhash.models.onnx_engine import OnnxBackbone
from c3dhash.models.openvino_engine import OpenVinoBackbone

needs_openvino = pytest.mark.skipif(not importlib.util.find_spec("openvino"), reason="needs the extra openvino")
OTHERS = [pytest.param("openvino", marks=needs_openvino), "onnx"]
NETWORKS = ("resnet3d10", "i3d", "tsn_mobilenet_v2", "tsm_efficientnet_lite0")


def pixels(backbone, num_clips: int) -> np.ndarray:
    shape = (num_clips, *backbone.clip_size, backbone.preprocessing.num_channels)
    return np.random.default_rng(3).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("engine", ["torch", *OTHERS])
def test_features_that_say_how_frames_change(engine):
    backbone = awake("tsn_resnet18")
    backbone.add_changes()
    backbone.add_motion()
    model = HashNet(backbone, hash_length=24, num_classes=None)
    clips = pixels(backbone, 2)
    expected = Encoder(model, device="cpu", precision="fp32")(clips).features
    found = Encoder(model, device="cpu", precision="fp32", engine=engine)(clips).features
    assert expected.shape == (2, 1024 + NUM_SHIFTS) and expected[:, 512:].any()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("backbone", [*NETWORKS[:2], pytest.param(NETWORKS[2], marks=pytest.mark.slow), NETWORKS[3]])
@pytest.mark.parametrize("engine", ["torch", *OTHERS])
def test_the_same_features_embeddings_and_scores(engine, backbone):
    if engine == "onnx" and backbone != "resnet3d10":
        pytest.skip("the translation is tested with the export, and takes seconds")
    model = HashNet(awake(backbone), hash_length=24, num_classes=5)
    expected = Encoder(model, device="cpu", precision="fp32")
    encoder = Encoder(model, device="cpu", precision="fp32", engine=engine)
    assert encoder.engine_name.startswith(engine) and encoder.engine_name.endswith(", fp32")
    clips = pixels(model.backbone, 3)
    for batch in (clips, clips[:1], clips[1:]):  # the last batch is smaller
        for one, other in zip(encoder(batch), expected(batch), strict=True):
            assert one.dtype == np.float32 and one.shape == other.shape
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * max(1, np.abs(other).max()))


@needs_openvino
def test_openvino_in_bf16():
    model = HashNet(awake("resnet3d10"), hash_length=256, num_classes=None)
    encoders = [
        Encoder(model, device="cpu", precision=precision, engine=engine)
        for engine, precision in (("torch", "fp32"), ("openvino", "bf16"))
    ]
    clips = pixels(model.backbone, 8)
    expected, found = (encoder(clips).embeddings for encoder in encoders)
    assert np.mean((expected > 0) != (found > 0)) < 0.02  # a random head on random pixels: many embeddings near zero
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_weights_as_they_are_or_as_they_were():
    """Without an engine a network that goes on training is followed; an engine keeps what it was made of."""
    model = HashNet(awake("resnet3d10"), hash_length=8, num_classes=None)
    live = Encoder(model, device="cpu", precision="fp32")
    kept = Encoder(model, device="cpu", precision="fp32", engine="torch")
    clips = pixels(model.backbone, 1)
    before = live(clips).features, kept(clips).features
    with torch.no_grad():
        model.backbone.stem_conv.weight.mul_(-1)
    assert np.abs(live(clips).features - before[0]).max() > 1e-3
    assert np.array_equal(kept(clips).features, before[1])


@pytest.mark.parametrize("engine", OTHERS)
def test_codes_of_videos(untrained_run, motion_dir, engine):
    videos = sorted((motion_dir / "query").glob("*/*.mp4"))
    config = EncodeConfig(precision="fp32", device="cpu", batch_size=4)
    found, names = {}, []
    for name in ("torch", engine):
        with_engine = replace(config, engine=name)
        results = list(encode_videos(untrained_run, videos, config=with_engine, on_engine=names.append))
        found[name] = np.concatenate([result.codes.codes for result in results])
    assert np.array_equal(found["torch"], found[engine])
    assert [name.split()[0] for name in names] == ["torch", {"onnx": "onnxruntime"}.get(engine, engine)]


def test_a_gallery_knows_who_computed_it(untrained_run, motion_dir, tmp_path):
    config = EncodeConfig(precision="fp32", device="cpu", engine="torch")
    with open_gallery(tmp_path / "gallery", untrained_run, config=config) as gallery:
        assert gallery.engines() == {}
        for engine in ("torch", "onnx"):  # the second time nothing is new
            index_videos(untrained_run, gallery, [motion_dir / "query"], config=replace(config, engine=engine))
            assert [name.split()[0] for name in gallery.engines()] == ["torch"]
        assert all(len(day.split("-")) == 3 for day in gallery.engines().values())


@pytest.mark.parametrize(
    ("config", "backbone", "num_clips", "is_installed", "expected"),
    [
        ({}, "i3d", 200, True, "openvino"),
        ({}, "i3d", 199, True, "torch"),  # to translate it takes longer than it saves
        ({}, "c3d", 9999, True, "torch"),  # not measured
        ({}, "i3d", 9999, False, "torch"),
        ({"engine": "onnx"}, "i3d", 1, True, "onnx"),
        ({"engine": "torch"}, "i3d", 9999, True, "torch"),
    ],
)
def test_auto(monkeypatch, caplog, config, backbone, num_clips, is_installed, expected):
    monkeypatch.setattr(engines, "find_spec", lambda name: object() if is_installed else None)
    caplog.set_level(logging.INFO, logger="c3dhash")
    config = EncodeConfig(device="cpu", **config)
    assert settle_engine(config, backbone=backbone, num_clips=num_clips) == expected
    has_choice = is_installed and config.engine == "auto"
    assert caplog.messages == ([f"Engine: {expected}; --engine takes another."] if has_choice else [])


@pytest.mark.parametrize(
    ("engine", "settings", "message"),
    [
        ("onnx", {"precision": "bf16", "device": "cpu"}, r"precision \('bf16'\) is for the engines torch and openvino"),
        ("openvino", {"precision": "fp32", "device": "meta"}, r"device \('meta'\) must be"),
    ],
)
def test_what_an_engine_does_not_have(engine, settings, message):
    with pytest.raises(UsageError, match=message):
        make_engine(engine, awake("resnet3d10"), **settings)


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
def test_an_engine_for_the_cpu_alone(monkeypatch, engine):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError, match=rf"engine \('{engine}'\) computes on the CPU, got device 'cuda'"):
        make_engine(engine, awake("resnet3d10"), device="cuda", precision="fp32")


def test_an_unknown_engine():
    with pytest.raises(UsageError, match=r"engine \('tensorrt'\) must be one of auto, torch, openvino, onnx"):
        EncodeConfig(engine="tensorrt")


@pytest.mark.parametrize(("engine", "module"), [("openvino", "openvino"), ("onnx", "onnxruntime")])
def test_one_that_is_not_installed(monkeypatch, engine, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"not installed: pip install 'c3dhash\[{engine}\]'"):
        make_engine(engine, awake("resnet3d10"), device="cpu", precision="fp32")


class DependsOnPixels(Backbone):
    """Computes another thing for dark clips, which a trace on a black one does not see."""

    name, feature_dim, clip_size = "double", 2, (2, 16, 16)
    preprocessing = awake("resnet3d10").preprocessing

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        mean = clips.mean(dim=(2, 3, 4))[:, :2] - 2
        return mean if clips.max() < -1 else mean * torch.tensor([1.0, -1.0])


class CannotBeTraced(DependsOnPixels):
    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return torch.fft.fftn(clips).abs().mean(dim=(2, 3, 4)) + torch.linalg.svdvals(clips[:, :, 0]).mean()


@needs_openvino
def test_one_that_computes_something_else():
    with pytest.raises(EngineError, match=r"engine \('openvino .*, fp32'\) computes other features of double.*cosine"):
        make_engine("openvino", DependsOnPixels(), device="cpu", precision="fp32")


@pytest.mark.parametrize(("engine", "double"), [pytest.param("openvino", CannotBeTraced, marks=needs_openvino),
                                                ("onnx", DependsOnPixels)])  # fmt: skip
def test_one_that_cannot_express_a_network(engine, double):
    with pytest.raises(EngineError, match=rf"engine \('{engine}'\) cannot compute double: .*use --engine torch"):
        make_engine(engine, double(), device="cpu", precision="fp32")


@needs_openvino
def test_openvino_reports_nothing(tmp_path):
    """Its package for that is not imported, and writes nothing into the home."""
    script = (
        "import sys; from c3dhash.models.openvino_engine import import_openvino; import_openvino();"
        "print([name for name in sys.modules if 'telemetry' in name and sys.modules[name] is not None])"
    )
    env = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert "openvino_telemetry" not in done.stdout
    assert not list(tmp_path.iterdir())


@needs_openvino
def test_openvino_leaves_logging_as_it_is():
    root = logging.getLogger()
    before = root.level, root.filters[:], root.handlers[:]
    make_engine("openvino", awake("resnet3d10"), device="cpu", precision="fp32")
    assert (root.level, root.filters, root.handlers) == before


def test_an_engine_is_a_setting_of_encoding_alone():
    assert "engine" in {item.name for item in dataclasses.fields(EncodeConfig)}
    assert {OnnxBackbone, OpenVinoBackbone} <= set(engines.Engine.__args__)
