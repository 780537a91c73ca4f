"""Finding weights in pretrain/ and in torchvision's cache, and downloading what torchvision publishes."""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from torchvision.models import get_weight
from upstream import hollow_tensors

from c3dhash.errors import CheckpointError, UsageError
from c3dhash.models import weight_files
from c3dhash.models.known_weights import (
    DEFAULT_BACKBONE,
    DEFAULT_WEIGHTS,
    RECOMMENDED,
    KnownWeights,
    torchvision_cache,
)
from c3dhash.models.weight_files import fetch_weights, fetchable_weights, find_weights, weights_of
from c3dhash.models.weights import KNOWN_WEIGHTS, load_backbone

MEMBER = "R3D_18_Weights.KINETICS400_V1"
KNOWN = KnownWeights("kinetics400-tv", "r3d_18-b3b3357e.pth", "resnet3d18", "torchvision", torchvision=MEMBER)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in, with an empty pretrain/ and an empty torchvision cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    (tmp_path / "pretrain").mkdir()
    torchvision_cache().mkdir(parents=True)
    return tmp_path


@pytest.fixture
def known(monkeypatch):
    """One more known file, which torchvision publishes."""
    monkeypatch.setattr(weight_files, "KNOWN_WEIGHTS", (*KNOWN_WEIGHTS, KNOWN))
    return KNOWN


@pytest.fixture
def published(folder, monkeypatch):
    """Serve a folder on this machine, and move torchvision's weights there: published(file name) -> address."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    (folder / "www").mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder / "www")))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def move(file_name: str) -> str:
        url = f"http://127.0.0.1:{server.server_port}/{file_name}"
        monkeypatch.setattr(get_weight(MEMBER).value, "url", url)
        return url

    yield move
    server.shutdown()
    thread.join()
    server.server_close()


def publish(folder: Path) -> str:
    """Put a checkpoint of a resnet3d18 on the server, named as torchvision names its files."""
    torch.save(hollow_tensors("r3d18_shortcutB_K700"), folder / "www" / "file")
    digest = hashlib.sha256((folder / "www" / "file").read_bytes()).hexdigest()
    (folder / "www" / "file").rename(folder / "www" / f"r3d_18-{digest[:8]}.pth")
    return f"r3d_18-{digest[:8]}.pth"


def test_find_weights(folder):
    expected = Path("pretrain/resnet-18-kinetics.pth")
    expected.touch()
    (folder / "model.safetensors").touch()
    options = {"backbone": "resnet3d18"}
    assert find_weights(folder / expected, **options) == folder / expected
    assert find_weights("resnet-18-kinetics.pth", **options) == expected
    assert find_weights("kinetics400", **options) == expected
    assert find_weights(folder, **options) == folder  # a run directory
    assert find_weights(".", **options) == Path()
    with pytest.raises(UsageError, match=r"backbone \('c4d'\)"):
        find_weights("kinetics400", backbone="c4d")


def test_torchvisions_cache_is_looked_at_after_pretrain(folder, known):
    cached, own = torchvision_cache() / known.file_name, Path("pretrain") / known.file_name
    cached.touch()
    assert torchvision_cache() == folder / "torch" / "hub" / "checkpoints"
    assert find_weights(known.name, backbone="resnet3d18") == cached
    assert find_weights(known.file_name, backbone="resnet3d18") == cached
    own.touch()
    assert find_weights(known.name, backbone="resnet3d18") == own


def test_a_known_file_that_is_nowhere(folder):
    message = (
        r"weights 'kinetics700' for resnet3d18 are the file r3d18_K_200ep\.pth, which is neither in 'pretrain/' nor in "
        r"'.*checkpoints/': download it from github\.com/kenshohara/.* and put it into 'pretrain/'"
    )
    with pytest.raises(CheckpointError, match=message) as caught:
        find_weights("kinetics700", backbone="resnet3d18")
    assert "\n" not in str(caught.value)


def test_an_unknown_name_lists_the_known_ones(folder, monkeypatch):
    message = (
        r"weights 'kinetics' for resnet3d18 must be a name \(kinetics400, kinetics700, kinetics700-mit.*\), a file"
    )
    with pytest.raises(CheckpointError, match=message):
        find_weights("kinetics", backbone="resnet3d18")
    with pytest.raises(CheckpointError, match=r"'sports1m' for resnet3d18 must be"):  # a name of another backbone
        find_weights("sports1m", backbone="resnet3d18")
    monkeypatch.setattr(weight_files, "KNOWN_WEIGHTS", ())
    with pytest.raises(CheckpointError, match=r"'my\.pth' for c3d must be a name \(none is known\), a file"):
        find_weights("my.pth", backbone="c3d")


def test_torchvisions_weights_are_downloaded_once(folder, known, published, capfd, caplog):
    file_name = publish(folder)
    published(file_name)
    with caplog.at_level(logging.INFO, logger="c3dhash"):
        path = find_weights(known.name, backbone="resnet3d18")
    assert path == torchvision_cache() / known.file_name
    assert load_backbone(path, backbone="resnet3d18").name == "resnet3d18"
    assert f"downloading {known.file_name} (kinetics400-tv of resnet3d18) into" in caplog.text
    captured = capfd.readouterr()
    assert captured.out == "" and "100%" in captured.err
    (folder / "www" / file_name).unlink()
    assert find_weights(known.name, backbone="resnet3d18") == path


def test_what_is_recommended_can_be_fetched():
    for _, backbone, name in (*RECOMMENDED, ("default", DEFAULT_BACKBONE, DEFAULT_WEIGHTS)):
        assert fetchable_weights(backbone, name).package is not None, "without a server of one company"


def test_what_can_be_fetched(folder, known, monkeypatch):
    assert fetchable_weights("resnet3d18", None) == fetchable_weights("resnet3d18", known.name) == known
    with pytest.raises(CheckpointError, match=r"no weights 'kinetics700' of resnet3d18 can be fetched; those that can: "
                                              r"kinetics400-tv\. `c3dhash models show"):  # fmt: skip
        fetchable_weights("resnet3d18", "kinetics700")
    with pytest.raises(CheckpointError, match=r"no weights of slowonly can be fetched.*can: none"):
        fetchable_weights("slowonly", None)
    cached = torchvision_cache() / known.file_name
    cached.touch()
    assert fetch_weights(known) == cached
    cached.unlink()
    monkeypatch.setenv("C3DHASH_OFFLINE", "1")
    with pytest.raises(CheckpointError, match=r"were not downloaded \(--offline or C3DHASH_OFFLINE forbids it\): get"):
        find_weights(known.name, backbone="resnet3d18")


def test_a_download_that_is_not_the_published_file_leaves_nothing(folder, known, published):
    publish(folder)
    (folder / "www" / "r3d_18-00000000.pth").write_bytes(b"something else")
    published("r3d_18-00000000.pth")
    with pytest.raises(CheckpointError, match=r"could not be downloaded \(invalid hash value"):
        find_weights(known.name, backbone="resnet3d18")
    assert list(torchvision_cache().iterdir()) == []


def test_without_the_file_or_a_network(folder, known, published, monkeypatch):
    url = published("gone-00000000.pth")
    message = (
        r"weights 'kinetics400-tv' for resnet3d18 could not be downloaded \(HTTP Error 404.*\): get "
        rf"r3d_18-b3b3357e\.pth from {re.escape(url)} \(torchvision's {MEMBER}\) and put it into 'pretrain/'\."
    )
    with pytest.raises(CheckpointError, match=message):
        find_weights(known.name, backbone="resnet3d18")
    monkeypatch.setattr(get_weight(MEMBER).value, "url", "http://127.0.0.1:1/r3d_18-00000000.pth")  # nobody listens
    with pytest.raises(CheckpointError, match=r"downloaded \(<urlopen error .*refused>\): get r3d_18-") as caught:
        find_weights(known.name, backbone="resnet3d18")
    assert "\n" not in str(caught.value)
    assert list(torchvision_cache().iterdir()) == []


def test_names_are_unique_within_a_backbone():
    for backbone in {known.backbone for known in KNOWN_WEIGHTS}:
        names = [known.name for known in weights_of(backbone)]
        assert len(set(names)) == len(names)
        assert "none" not in names  # stands for random weights


@pytest.mark.parametrize(
    "weights",
    [*(each for each in KNOWN_WEIGHTS if each.torchvision), KNOWN],
    ids=lambda each: f"{each.name}-{each.backbone}",
)
def test_torchvisions_files_have_torchvisions_names(weights):
    assert get_weight(weights.torchvision).url.rsplit("/", 1)[1] == weights.file_name
    assert re.search(r"-[0-9a-f]{8}\.pth$", weights.file_name)  # so that the hash of a download is checked
