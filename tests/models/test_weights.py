"""Weights: golden values of published layouts, recognition, reports, and every file that is refused."""

import logging
import os
import pickle
import re
from pathlib import Path

import pytest
import safetensors.torch
import torch
from paths import ROOT
from pixels import pixels_of
from upstream import (
    fill,
    golden_arrays,
    golden_clips,
    golden_tensors,
    hollow,
    hollow_tensors,
    recognised,
    relative_error,
    resnet3d_shapes,
)

from c3dhash.config import ModelConfig
from c3dhash.errors import CheckpointError, UsageError
from c3dhash.models.backbones import build_backbone
from c3dhash.models.backbones.layouts import unwrap
from c3dhash.models.backbones.resnet3d import ResNet3D18
from c3dhash.models.hashnet import build_model
from c3dhash.models.weights import (
    KNOWN_WEIGHTS,
    choose_weights,
    identify_weights,
    load_backbone,
    load_checkpoint,
    load_into,
    weights_metadata,
)
from c3dhash.records import Preprocessing

C3D, RESNET_A, RESNET_B = "c3d_sports1m", "resnet3d18_shortcutA_kinetics", "r3d18_shortcutB_K700"
KINETICS_2018 = Preprocessing(scale=1.0, mean=(114.7748, 107.7354, 99.4750), std=(1, 1, 1))
KINETICS_2020 = Preprocessing(scale=1 / 255, mean=(0.4345, 0.4051, 0.3775), std=(0.2768, 0.2713, 0.2737))
SPORTS_1M = Preprocessing(channels="BGR", scale=1.0, mean=(90, 98, 102), std=(1, 1, 1))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The three golden checkpoints as upstream writes them, under names that say nothing."""
    folder = tmp_path_factory.mktemp("upstream")
    optimizer = {"state": {}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]}
    torch.save(
        {"arch": "resnet-18", "epoch": 7, "state_dict": golden_tensors(RESNET_A), "optimizer": optimizer},
        folder / "a.bin",
    )
    torch.save({"epoch": 7, "state_dict": golden_tensors(RESNET_B)}, folder / "b.bin")
    torch.save(golden_tensors(C3D), folder / "c.bin")
    return {RESNET_A: folder / "a.bin", RESNET_B: folder / "b.bin", C3D: folder / "c.bin"}


@pytest.fixture(scope="module")
def c3d(files):
    return load_backbone(files[C3D])


@pytest.fixture(scope="module")
def resnet():
    """A resnet3d18 with shortcut B that tests load into and never look at before."""
    return build_backbone("resnet3d18")


# Golden values


def test_resnet3d18_shortcut_a_gives_the_golden_values(files):
    network, arrays = load_backbone(files[RESNET_A]), golden_arrays(RESNET_A)
    assert (network.name, network.shortcut, network.training) == ("resnet3d18", "A", False)
    assert pixels_of(network.preprocessing) == KINETICS_2018
    with torch.inference_mode():
        features = network(golden_clips(16))
        assert relative_error(features, arrays["features_T16"]) < 1e-3
        assert relative_error(network(golden_clips(32)), arrays["features_T32"]) < 1e-3
    head = "hash_layer.hashcoder.0"
    embeddings = torch.tanh(features @ fill(f"{head}.weight", (48, 512)).T + fill(f"{head}.bias", (48,)))
    assert relative_error(embeddings, arrays["hash48_T16"]) < 1e-3


def test_resnet3d18_shortcut_b_gives_the_golden_values(files):
    network, arrays = load_backbone(files[RESNET_B], backbone="resnet3d18"), golden_arrays(RESNET_B)
    assert (network.shortcut, network.training) == ("B", False)
    assert pixels_of(network.preprocessing) == KINETICS_2020
    with torch.inference_mode():
        features = network(golden_clips(16))
    assert relative_error(features, arrays["features_T16"]) < 1e-3
    logits = features @ fill("fc.weight", (700, 512)).T + fill("fc.bias", (700,))
    assert relative_error(logits, arrays["logits_T16"]) < 1e-3


def test_c3d_gives_the_golden_values(c3d):
    arrays, fc6 = golden_arrays(C3D), []
    hook = c3d.fc6.register_forward_hook(lambda layer, inputs, output: fc6.append(output.relu()))
    with torch.inference_mode():
        fc7 = c3d(golden_clips(16, scale=40))
    hook.remove()
    assert pixels_of(c3d.preprocessing) == SPORTS_1M and not c3d.training
    assert relative_error(fc6[0], arrays["fc6"]) < 1e-3
    assert relative_error(fc7, arrays["fc7"]) < 1e-3
    logits = fc7 @ fill("fc8.weight", (101, 4096)).T + fill("fc8.bias", (101,))
    assert relative_error(logits, arrays["logits"]) < 1e-3


def test_c3d_weights_load_for_another_clip_size(files, c3d):
    network = build_backbone("c3d", num_frames=8, size=56)
    report = load_into(network, files[C3D])
    assert report.is_complete and report.not_used == ("fc8.weight", "fc8.bias")
    assert network.clip_size == (8, 56, 56) and pixels_of(network.preprocessing) == SPORTS_1M
    loaded = c3d.state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in network.state_dict().items())


# Recognition


def test_each_upstream_layout_is_recognised_once():
    assert recognised(hollow_tensors(RESNET_A)) == ["3d-resnets-2018"]
    assert recognised(hollow_tensors(RESNET_B)) == ["3d-resnets-2020"]
    assert recognised(hollow_tensors(C3D)) == ["c3d-flat"]


@pytest.mark.parametrize(
    ("golden", "prefix", "num_classes", "layout"),
    [
        (RESNET_A, "module.", 400, "3d-resnets-2018"),
        (RESNET_A, "", 400, "3d-resnets-2018"),  # somebody took the prefix off
        (RESNET_B, "", 400, "3d-resnets-2018"),
        (RESNET_B, "module.", 700, "3d-resnets-2020"),  # trained on with DataParallel
        (RESNET_B, "", 1039, "3d-resnets-2020"),
        (RESNET_B, "", 101, "3d-resnets-2020"),
        (RESNET_B, "module.", 101, "3d-resnets-2018"),
        (RESNET_A, "", 101, "3d-resnets-2018"),  # there is no shortcut A in 2020
        (RESNET_B, "module.", None, "3d-resnets-2018"),
        (RESNET_B, "", None, "3d-resnets-2020"),
    ],
)
def test_2018_or_2020(golden, prefix, num_classes, layout):
    tensors = {prefix + key: tensor for key, tensor in unwrap(hollow_tensors(golden)).tensors.items()}
    del tensors[f"{prefix}fc.weight"], tensors[f"{prefix}fc.bias"]
    if num_classes:
        tensors[f"{prefix}fc.weight"] = torch.zeros(num_classes, 512)
    assert recognised(tensors) == [layout]


def test_identify_weights(save):
    assert identify_weights(save(hollow_tensors(RESNET_A))) == (("resnet3d18",), "A")
    assert identify_weights(save(hollow_tensors(RESNET_B))) == (("resnet3d18",), "B")
    assert identify_weights(save(hollow_tensors(C3D))) == (("c3d",), None)


def test_the_caller_may_name_the_layout(save, resnet):
    path = save(hollow_tensors(RESNET_B))
    assert pixels_of(load_into(resnet, path).preprocessing) == pixels_of(resnet.preprocessing) == KINETICS_2020
    assert pixels_of(load_into(resnet, path, layout="3d-resnets-2018").preprocessing) == KINETICS_2018
    assert pixels_of(resnet.preprocessing) == KINETICS_2018
    assert pixels_of(load_backbone(path, layout="3d-resnets-2018").preprocessing) == KINETICS_2018


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrappers", ["", "state_dict", "model", "model_state", "state_dict model"])
def test_wrappers_are_taken_off(save, wrappers, prefix):
    content = {prefix + key: tensor for key, tensor in hollow_tensors(RESNET_B).items()}
    for wrapper in wrappers.split():
        content = {"epoch": 3, wrapper: content}
    tensors = load_checkpoint(save(content))
    assert recognised(tensors) == ["3d-resnets-2020"]
    assert unwrap(tensors).tensors.keys() == hollow_tensors(RESNET_B).keys()


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_file_forms(tmp_path, form):
    tensors = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.count": torch.tensor(3)}
    path = tmp_path / "weights"  # without a suffix
    if form == "safetensors":
        safetensors.torch.save_file(tensors, path)
    else:
        torch.save({"model": tensors}, path, _use_new_zipfile_serialization=form == "zip")
    loaded = load_checkpoint(path)
    assert list(loaded) == list(tensors) or form == "safetensors"
    assert all(torch.equal(loaded[key], tensors[key]) for key in tensors)


def test_checkpoint_without_batch_counters_is_complete(save, resnet):
    tensors = {key: tensor for key, tensor in hollow_tensors(RESNET_B).items() if "num_batches" not in key}
    assert load_into(resnet, save(tensors)).is_complete


# Our own files


def test_state_dict_of_ours_round_trips(tmp_path):
    network = build_backbone("resnet3d18", shortcut="A")
    torch.save(network.state_dict(), tmp_path / "mine.pt")
    loaded = load_backbone(tmp_path / "mine.pt")
    assert (loaded.shortcut, loaded.preprocessing) == ("A", ResNet3D18.preprocessing)
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in network.state_dict().items())


def test_c3d_state_dict_is_ours(c3d):
    assert recognised(c3d.state_dict()) == ["c3dhash-c3d"]
    assert recognised({f"module.{key}": value for key, value in c3d.state_dict().items()}) == ["c3dhash-c3d"]


def test_run_directory_brings_clip_size_and_preprocessing(tmp_path):
    network = build_backbone("resnet3d18", num_frames=8, size=32)
    network.preprocessing = SPORTS_1M
    tensors = {f"backbone.{key}": value.contiguous() for key, value in network.state_dict().items()}
    tensors |= {"hash_head.weight": torch.zeros(48, 512), "class_head.bias": torch.zeros(5)}
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors", metadata=weights_metadata(network))
    loaded = load_backbone(tmp_path)
    assert loaded.clip_size == (8, 32, 32) and loaded.preprocessing == SPORTS_1M
    assert torch.equal(loaded.stem_conv.weight, network.stem_conv.weight)
    report = load_into(loaded, tmp_path / "model.safetensors")
    assert report.is_complete and set(report.not_used) == {"hash_head.weight", "class_head.bias"}


# Reports


def test_report_lists_what_did_not_match(save, resnet, caplog):
    tensors = hollow_tensors(RESNET_B)
    del tensors["layer4.1.bn2.bias"]
    tensors["layer1.0.bn1.weight"] = torch.ones(32)
    tensors["layer1.0.bn1.bias"] = torch.zeros(64, dtype=torch.int8)
    tensors["extra.weight"] = torch.zeros(3)
    with caplog.at_level(logging.INFO, logger="c3dhash.models.weights"):
        report = load_into(resnet, save(tensors))
    assert not report.is_complete and len(report.matched) == 97
    assert report.missing == ("stage4.1.bn2.bias",)
    assert report.misshaped == (
        "stage1.0.bn1.weight float32 [32], expected [64]",
        "stage1.0.bn1.bias int8 [64], expected [64]",
    )
    assert report.unexpected == ("extra.weight",)
    assert report.not_used == ("fc.weight", "fc.bias")
    text = str(report)
    assert "file.pth (3d-resnets-2020) -> resnet3d18: 97 of 100 entries matched" in text
    assert "  missing (1): stage4.1.bn2.bias\n" in text and "not used (2): fc.weight, fc.bias" in text
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_complete_report_is_no_warning(save, resnet, caplog):
    with caplog.at_level(logging.INFO, logger="c3dhash.models.weights"):
        report = load_into(resnet, save(hollow_tensors(RESNET_B)))
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert report.is_complete and len(report.matched) == 100 and "missing" not in str(report)
    assert resnet.stage4[1].conv2.weight.unique().tolist() == [0.5]


# What is refused


class Bomb:
    """Unpickles by writing a file."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.mark.parametrize("form", ["zip", "legacy", *range(pickle.HIGHEST_PROTOCOL + 1)])
def test_pickle_bomb_does_not_run(tmp_path, form):
    marker, path = tmp_path / "boom", tmp_path / "bomb.pth"
    content = {"state_dict": {**hollow_tensors(C3D), "payload": Bomb(marker)}}
    if isinstance(form, int):
        path.write_bytes(pickle.dumps({"state_dict": Bomb(marker)}, protocol=form))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    expected = r"bomb\.pth' is a pickle of Python objects.*could run any code.*safetensors\.torch\.save_file"
    if form == 0:  # text, which nothing tells from any other text
        expected = r"bomb\.pth' \(\d+ bytes\) is not a checkpoint"
    with pytest.raises(CheckpointError, match=expected) as caught:
        load_backbone(path)
    assert "\n" not in str(caught.value)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Bomb(marker)))
    assert marker.exists()  # it would have run


def test_pickled_network_is_refused_by_name(save):
    path = save(torch.nn.Linear(2, 2))
    with pytest.raises(CheckpointError, match=r"objects \(torch\.nn\.modules\.linear\.Linear\)"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"'.*file\.pth' \(0 bytes\) is not a checkpoint, or is truncated or damaged \(EOFError\)"),
        (b"hello world, I am text", r"\(22 bytes\) is not a checkpoint"),
        (b"PK\x03\x04 not really", r"\(15 bytes\) is not a checkpoint"),
        (b"\x08\0\0\0\0\0\0\0{oh no!}", r"\(16 bytes\) is not a safetensors file"),
        (b"\x80", r"\(1 bytes\) is not a checkpoint"),
    ],
)
def test_not_a_checkpoint(tmp_path, content, message):
    (tmp_path / "file.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "file.pth")


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_truncated_checkpoint(tmp_path, form):
    path, tensors = tmp_path / "cut", {"a": torch.zeros(1000)}
    if form == "safetensors":
        safetensors.torch.save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=form == "zip")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match=r"cut' \(2000 bytes\) is not a .* truncated or damaged .*:"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3, "optimizer": {}}, r"holds the keys \['epoch', 'optimizer'\], not named tensors"),
        ([torch.zeros(2)], "holds a list, not named tensors"),
        (torch.zeros(2), "holds a Tensor, not named tensors"),
        ({0: torch.zeros(2)}, r"holds the keys \[0\], not named tensors"),
        ({"state_dict": {}}, "holds a dict, not named tensors"),
    ],
)
def test_no_named_tensors(save, content, message):
    path = save(content)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path)


def test_missing_file_and_directory_without_weights(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.pth' is no file"):
        load_backbone(tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match=r"model\.safetensors' is no file: give a checkpoint"):
        load_backbone(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite(save, resnet, value):
    tensors = hollow_tensors(RESNET_B)
    tensors["layer3.0.bn1.running_var"] = torch.ones(256)
    tensors["layer3.0.bn1.running_var"][100] = value
    path, before = save(tensors), resnet.stem_conv.weight.clone()
    with pytest.raises(CheckpointError, match=r"NaN or infinite values in 'layer3\.0\.bn1\.running_var'"):
        load_into(resnet, path)
    assert torch.equal(resnet.stem_conv.weight, before)


def test_unknown_layout(save):
    path = save({"trunk.0.weight": torch.zeros(64, 3, 3, 7, 7), "layer1.0.conv1.0.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"no known layout: 2 entries, trunk\.0\.weight, .*c3d-flat"):
        load_backbone(path)
    with pytest.raises(UsageError, match=r"layout \('3d-resnets'\) must be one of .*3d-resnets-2018, "):
        load_backbone(path, layout="3d-resnets")
    with pytest.raises(UsageError, match=r"backbone \('resnet19'\) must be one of"):
        load_backbone(path, backbone="resnet19")


def test_other_architecture(save, resnet):
    path = save(hollow_tensors(C3D))
    with pytest.raises(CheckpointError, match=r"holds weights of c3d \(c3d-flat\), not of resnet3d18:"):
        load_backbone(path, backbone="resnet3d18")
    with pytest.raises(CheckpointError, match=r"weights of c3d .*not of resnet3d18 with shortcut B: build"):
        load_into(resnet, path)
    path = save(hollow_tensors(RESNET_A))
    with pytest.raises(CheckpointError, match=r"of resnet3d18 with shortcut A .*not of .* with shortcut B"):
        load_into(resnet, path)


def test_other_depth(save, resnet):
    deeper = hollow(resnet3d_shapes((3, 4, 23, 3), is_deep=False, shortcut="B", num_classes=700))
    path = save(deeper)
    with pytest.raises(CheckpointError, match=r"layout 3d-resnets-2020, but the blocks of no known backbone"):
        load_backbone(path)
    with pytest.raises(CheckpointError, match=r"100 of 100 entries matched, .* 250 unexpected \[layer1\.2\."):
        load_into(resnet, path)


@pytest.mark.parametrize(("num_left_out", "is_refused"), [(10, False), (11, True)])
def test_below_90_percent_is_refused(save, resnet, num_left_out, is_refused):
    tensors = {key: tensor for key, tensor in hollow_tensors(RESNET_B).items() if "num_batches" not in key}
    for key in [key for key in tensors if ".bn" in key][:num_left_out]:
        del tensors[key]
    path = save(tensors)
    if not is_refused:
        assert len(load_into(resnet, path).matched) == 90
        return
    resnet.preprocessing = before = Preprocessing()
    message = r"89 of 100 .*, 11 missing \[stage1\.0\.bn1\.weight, .*, \.\.\.\], 0 mis-shaped .* 90% must"
    with pytest.raises(CheckpointError, match=message):
        load_into(resnet, path)
    assert resnet.preprocessing == before


def test_misshaped_checkpoint_is_refused(save):
    tensors = {key: tensor[:8] for key, tensor in hollow_tensors(C3D).items()}
    tensors["features.0.weight"] = torch.zeros(64, 3, 3, 3, 3)
    del tensors["features.0.bias"]
    path = save(tensors)
    with pytest.raises(CheckpointError, match=r"1 of 20 .*, 1 missing \[conv1a\.bias\], 18 mis-shaped"):
        load_backbone(path)


@pytest.mark.parametrize("facts", ["{", "[]", "{}", '{"clip_size": 3, "preprocessing": {"channels": "GRB"}}'])
def test_damaged_metadata(tmp_path, facts):
    tensors = {"stem_conv.weight": torch.zeros(1, 1, 1, 1, 1)}
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors", metadata={"c3dhash": facts})
    with pytest.raises(CheckpointError, match=r"model\.safetensors' has damaged metadata, .*: save it again"):
        load_backbone(tmp_path / "model.safetensors")


# What training starts from


@pytest.fixture
def pretrain(tmp_path, monkeypatch):
    """An empty pretrain/ in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    (tmp_path / "pretrain").mkdir()
    return tmp_path / "pretrain"


def test_nothing_named_and_nothing_there_means_random_weights(pretrain, caplog):
    torch.save(hollow_tensors(C3D), pretrain / "mine.pth")  # not a known file
    with caplog.at_level(logging.INFO, logger="c3dhash"):
        assert choose_weights(None, backbone="c3d") is None
    (message,) = caplog.messages
    assert re.search(r"random, as 'pretrain/' holds no known file that suits c3d; --weights takes sports1m,", message)


def test_nothing_named_takes_the_first_known_file_and_says_so(pretrain, caplog):
    for name in ("r3d18_K_200ep.pth", "resnet-18-kinetics.pth", "c3d-pretrained.pth"):
        (pretrain / name).touch()
    with caplog.at_level(logging.INFO, logger="c3dhash"):
        assert choose_weights(None, backbone="resnet3d18") == Path("pretrain/resnet-18-kinetics.pth")
    assert len(caplog.messages) == 1
    assert "'pretrain/resnet-18-kinetics.pth', as it is there; --weights none" in caplog.text


def test_a_file_with_another_shortcut_is_left_alone(pretrain, caplog):
    torch.save(hollow_tensors(RESNET_A), pretrain / "resnet-18-kinetics.pth")
    torch.save(hollow_tensors(RESNET_B), pretrain / "r3d18_K_200ep.pth")
    with caplog.at_level(logging.INFO, logger="c3dhash"):
        path = choose_weights(None, backbone="resnet3d18", shortcut="B")
    assert path == Path("pretrain/r3d18_K_200ep.pth")
    assert "resnet-18-kinetics.pth' has shortcut A, not B, and is left alone" in caplog.text
    assert choose_weights(None, backbone="resnet3d18", shortcut="A") == Path("pretrain/resnet-18-kinetics.pth")


def test_none_means_random_weights(pretrain, caplog):
    (pretrain / "c3d-pretrained.pth").touch()
    with caplog.at_level(logging.INFO, logger="c3dhash"):
        assert choose_weights("none", backbone="c3d") is None
    assert caplog.messages == ["weights: random, as asked for"]


def test_named_weights_are_found_or_an_error(pretrain):
    (pretrain / "c3d-pretrained.pth").touch()
    assert choose_weights("sports1m", backbone="c3d") == Path("pretrain/c3d-pretrained.pth")
    with pytest.raises(CheckpointError, match=r"'sports2m' for c3d must be a name \(sports1m, .*\), a file or"):
        choose_weights("sports2m", backbone="c3d")
    for name in ("none", None):
        with pytest.raises(UsageError, match=r"backbone \('c4d'\)"):
            choose_weights(name, backbone="c4d")


def test_a_head_for_other_classes_is_not_used_and_that_is_logged(save, caplog):
    model = build_model(ModelConfig(num_frames=2, size=16, shortcut="B"), num_classes=3)
    before = model.class_head.weight.clone()
    with caplog.at_level(logging.INFO, logger="c3dhash"):
        load_into(model.backbone, save(hollow_tensors(RESNET_B)))  # of 700 classes
    assert "heads for other classes or codes, not used (2): fc.weight, fc.bias" in caplog.text
    assert torch.equal(model.class_head.weight, before)


def test_pretrain_readme_lists_the_known_files():
    text = (ROOT / "pretrain" / "README.md").read_text()
    for weights in KNOWN_WEIGHTS:
        assert re.search(rf"`{re.escape(weights.file_name)}`.*`{weights.name}`.*`{weights.backbone}`", text)
        assert weights.source in text
