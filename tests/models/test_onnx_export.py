"""ONNX files compute what PyTorch computes, describe themselves, and do not appear when they are wrong."""

from __future__ import annotations

import dataclasses
import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F

from c3dhash.config import ModelConfig
from c3dhash.errors import ExportError, MissingExtraError, UsageError
from c3dhash.models.backbones.shifts import NUM_SHIFTS
from c3dhash.models.hashnet import build_model
from c3dhash.models.onnx_export import _max_pool_rounding_down, _means_of_slices, export_onnx
from c3dhash.models.runs import load_run, save_run
from c3dhash.records import Preprocessing
from c3dhash.video.normalization import normalize


def open_session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def pixels(run, num_clips):
    shape = (num_clips, *run.model.clip_size, run.model.preprocessing.num_channels)
    return np.random.default_rng(5).integers(0, 256, shape, np.uint8)


def make_run(
    path, *, num_classes=2, has_hash_head=True, preprocessing=None, has_changes=False, has_motion=False, **settings
):
    config = ModelConfig(**{"backbone": "resnet3d10", "hash_length": 8, **settings})
    model = build_model(
        config, num_classes=num_classes, has_hash_head=has_hash_head, has_changes=has_changes, has_motion=has_motion
    )
    if preprocessing:
        model.backbone.preprocessing = preprocessing
    save_run(path, model, config={**dataclasses.asdict(config), "finished": True}, labels=("a", "b ü"))
    return load_run(path)


@pytest.fixture(scope="module")
def exported(untrained_run, tmp_path_factory):
    return export_onnx(untrained_run, tmp_path_factory.mktemp("onnx") / "deep" / "model.onnx")


def test_both_heads_of_any_batch(untrained_run, exported):
    report = exported
    assert [path.name for path in report.path.parent.iterdir()] == ["model.onnx"]
    assert report.num_bytes == report.path.stat().st_size
    assert report.input_shape == ("N", 4, 16, 16, 3)
    assert set(report.differences) == {"embedding", "class_scores"}
    assert all(0 <= difference < 1e-4 for difference in report.differences.values())
    onnx.checker.check_model(str(report.path), full_check=True)
    session = open_session(report.path)
    (clips,) = session.get_inputs()
    assert (clips.name, clips.type, clips.shape) == ("clips", "tensor(uint8)", ["N", 4, 16, 16, 3])
    assert [(out.name, out.type, out.shape) for out in session.get_outputs()] == [
        ("embedding", "tensor(float)", ["N", 16]),
        ("class_scores", "tensor(float)", ["N", 3]),
    ]
    for num_clips in (1, 2, 5):
        batch = pixels(untrained_run, num_clips)
        with torch.no_grad():
            outputs = untrained_run.model(normalize(torch.from_numpy(batch), untrained_run.model.preprocessing))
        embedding, scores = session.run(None, {"clips": batch})
        assert np.abs(embedding - outputs.embedding.numpy()).max() < 1e-4
        assert np.abs(scores - outputs.logits.numpy()).max() < 1e-4


def test_the_file_describes_itself(untrained_run, exported):
    facts = open_session(exported.path).get_modelmeta().custom_metadata_map
    assert json.loads(facts["labels"]) == list(untrained_run.labels)
    assert json.loads(facts["clip_size"]) == [4, 16, 16]
    assert json.loads(facts["preprocessing"])["mean"] == [0.4345, 0.4051, 0.3775]
    assert (facts["hash_length"], facts["backbone"], facts["is_multi_label"]) == ("16", "resnet3d10", "false")
    assert facts["fingerprint"] == untrained_run.fingerprint
    assert "uint8 pixels 0-255 [N, 4, 16, 16, 3], RGB" in facts["input"]
    assert facts["input"].endswith("the frames of a clip spread evenly over a window")
    assert facts["sampling"] == "spread over the window"
    assert exported.opset == onnx.load(exported.path).opset_import[0].version


def test_one_head_and_a_fixed_batch(tmp_path):
    run = make_run(tmp_path / "hash", num_classes=None, num_frames=2, size=16, shortcut="A")
    report = export_onnx(run, tmp_path / "hash.onnx", batch_size=1)
    session = open_session(report.path)
    assert session.get_inputs()[0].shape == [1, 2, 16, 16, 3]
    assert [out.name for out in session.get_outputs()] == ["embedding"]
    assert "labels" not in session.get_modelmeta().custom_metadata_map
    run = make_run(tmp_path / "classes", has_hash_head=False, num_frames=2, size=16)
    run.model.train()
    report = export_onnx(run, tmp_path / "classes.onnx")
    assert run.model.training  # it is left as it was
    assert list(report.differences) == ["class_scores"]
    facts = open_session(report.path).get_modelmeta().custom_metadata_map
    assert json.loads(facts["labels"]) == ["a", "b ü"] and "hash_length" not in facts


@pytest.mark.slow
def test_c3d_reads_bgr_and_its_poolings_are_plain(tmp_path):
    # 40 px: 40 20 10 5 3 2, where rounding up counts, and 2 cells are repeated to 4
    preprocessing = Preprocessing(channels="BGR", scale=1.0, mean=(90, 98, 102), std=(1, 1, 1), interval_seconds=1 / 30)
    run = make_run(tmp_path / "run", backbone="c3d", num_frames=3, size=40, preprocessing=preprocessing)
    report = export_onnx(run, tmp_path / "c3d.onnx")
    graph = onnx.load(report.path, load_external_data=False).graph
    pools = [node for node in graph.node if node.op_type == "MaxPool"]
    attributes = {attribute.name: attribute.i for pool in pools for attribute in pool.attribute}
    assert len(pools) == 5 and attributes.get("ceil_mode", 0) == 0
    clips = pixels(run, 2)
    embedding, _ = open_session(report.path).run(None, {"clips": clips})
    with torch.no_grad():
        x = torch.from_numpy(clips[..., ::-1].astype(np.float32) - np.array([90, 98, 102], np.float32))
        expected = run.model(x.permute(0, 4, 1, 2, 3)).embedding.numpy()
    assert np.abs(embedding - expected).max() < 1e-4


@pytest.mark.parametrize("num_frames", [1, 3])
def test_features_that_say_how_frames_change(tmp_path, num_frames):
    changes = {"has_changes": True, "has_motion": True}
    run = make_run(tmp_path / "run", backbone="tsn_resnet18", num_frames=num_frames, size=32, **changes)
    report = export_onnx(run, tmp_path / "model.onnx")  # which compares with what PyTorch computes
    assert max(report.differences.values()) < 1e-4
    assert run.model.hash_head.in_features == 1024 + NUM_SHIFTS


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(2, 2, 0), (2, 2, 1), (3, 2, 0), (3, 2, 1), (3, 3, 1), (2, 3, 1), (4, 3, 2)]
)
def test_max_pool_without_ceil_mode(kernel, stride, padding, dilation):
    sizes = ([kernel] * 3, [stride] * 3, [padding, 0, padding], [dilation] * 3)
    for length in range(dilation * (kernel - 1) + 1, 13):
        x = torch.randn(2, 3, length, length + 1, length + 2)
        expected = F.max_pool3d(x, *sizes, ceil_mode=True)
        assert torch.equal(_max_pool_rounding_down(x, *sizes, True)[0], expected)


def test_max_pool_that_rounds_down_stays_as_it_is():
    x = torch.randn(1, 1, 4, 4, 4)
    assert _max_pool_rounding_down(x, [2, 2, 2], [2, 2, 2]) is NotImplemented
    assert torch.equal(
        _max_pool_rounding_down(x, [3, 3, 3], [], [0, 0, 0], [1, 1, 1], True)[0], F.max_pool3d(x, 3, ceil_mode=True)
    )


@pytest.mark.parametrize("cells", [(1, 4, 4), (1, 1, 1), (2, 7, 3), (5, 6, 7)])
def test_adaptive_pooling_as_means_of_slices(cells):
    x = torch.randn(2, 3, 5, 6, 7)
    torch.testing.assert_close(_means_of_slices(x, cells), F.adaptive_avg_pool3d(x, cells))


class Changes(torch.nn.Module):
    """A backbone that computes something else while it is traced."""

    name, feature_dim, clip_size, preprocessing = "changes", 4, (2, 4, 4), Preprocessing()

    def __init__(self, in_export):
        super().__init__()
        self.in_export = in_export

    def forward(self, clips):
        feature = clips.mean(dim=(3, 4)).flatten(1)[:, :4]
        return self.in_export(feature) if torch.compiler.is_exporting() else feature


def broken_run(run, in_export):
    from c3dhash.models.hashnet import HashNet

    model = HashNet(Changes(in_export), hash_length=8, num_classes=3)
    return dataclasses.replace(run, model=model.eval())


def test_a_file_that_computes_something_else_is_not_written(untrained_run, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"the old one")
    run = broken_run(untrained_run, lambda feature: feature + 1)
    with pytest.raises(
        ExportError, match=r"\(changes\) computes another embedding than PyTorch: largest diff"
    ) as caught:
        export_onnx(run, tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_bytes() == b"the old one"
    export_onnx(broken_run(untrained_run, lambda feature: feature), tmp_path / "model.onnx")
    onnx.checker.check_model(str(tmp_path / "model.onnx"))


def test_nan_is_a_difference(untrained_run, tmp_path):
    run = broken_run(untrained_run, lambda feature: feature * float("nan"))
    with pytest.raises(ExportError, match=r"another embedding than PyTorch: largest difference nan"):
        export_onnx(run, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_cannot_be_translated(untrained_run, tmp_path):
    run = broken_run(untrained_run, lambda feature: feature if feature.sum() > 0 else -feature)
    with pytest.raises(ExportError, match=r"\(changes\) cannot be translated to ONNX, \w+: .*; try a fixed") as caught:
        export_onnx(run, tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)
    with pytest.raises(ExportError, match=r"cannot be translated to ONNX, \w+: .*; report it"):
        export_onnx(run, tmp_path / "model.onnx", batch_size=2)
    assert list(tmp_path.iterdir()) == []


def test_what_is_refused(untrained_run, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"batch_size \(0\) must be 1 or more"):
        export_onnx(untrained_run, tmp_path / "model.onnx", batch_size=0)
    run = broken_run(untrained_run, lambda feature: feature)
    run.model.hash_head = run.model.class_head = None
    with pytest.raises(ExportError, match="neither a hash head nor a class head"):
        export_onnx(run, tmp_path / "model.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        MissingExtraError, match=r"needs onnxruntime, which is not installed: pip install 'c3dhash\[onnx\]'"
    ):
        export_onnx(untrained_run, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
