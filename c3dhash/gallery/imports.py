"""A file of codes -> a gallery: one that `export` wrote, or a table of another method's codes.

The whole file is checked before anything is written, so that a malformed one leaves the gallery as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from c3dhash.bits import check_codes, num_code_bytes
from c3dhash.errors import CodesError, ModelMismatchError, UsageError
from c3dhash.gallery import lock
from c3dhash.gallery.entries import Header, check_facts
from c3dhash.gallery.exports import format_of
from c3dhash.gallery.intake import Intake, take_in
from c3dhash.gallery.store import Gallery, is_gallery
from c3dhash.gallery.windows import check_same_windows

Step = Callable[[str], object]


def import_file(
    gallery: Path,
    path: Path,
    *,
    model_fingerprint: str | None = None,
    hash_length: int | None = None,
    replace: bool = False,
    on_step: Step = lambda stage: None,
) -> Intake:
    """Add the videos of a file to a gallery, which is made where there is none.

    Args:
        gallery: its folder; one that is there has the fingerprint and the length of the file.
        path: ends in .csv, .npz or .parquet.
        model_fingerprint: of the codes, any name, where the file has none.
        hash_length: of the codes, bits, where the file does not say; by default that of the gallery, else all bits.
        replace: take the file's codes of a video that the gallery has with others.
        on_step: called for each video with what is done with it.
    Raises:
        UsageError: there is no such file, or what it does not say was not given, or is given otherwise.
        CodesError: the file is malformed; the gallery is as it was.
        ModelMismatchError: the gallery holds codes of another model, or of other windows.
        GalleryError: it cannot be written.
    """
    if not path.is_file():
        raise UsageError(f"'{path}' does not exist, or is no file: name what `c3dhash gallery export` wrote.")
    form = format_of(path)
    header = _complete(form.read_header(path) or Header(), gallery, path, model_fingerprint, hash_length)
    length = header.hash_length or _first_length(form, path)
    _check(form, path, length, on_step)
    intake = Intake()
    with lock.writing(gallery), _open(gallery, header, length, path) as opened:
        if header.run:
            check_same_windows(opened, header.run, name=path)
        take_in(opened, form.read_entries(path), intake=intake, replace=replace, on_video=lambda: on_step("Importing"))
        opened.note_engines(header.engines)
        if header.not_matches:
            opened.note_not_matches(header.not_matches)
        opened.settle_search()
    return intake


def _open(gallery: Path, header: Header, hash_length: int, path: Path) -> Gallery:
    """Open the gallery for the codes of a file; make it where there is none."""
    try:
        return Gallery.create(
            gallery, hash_length=hash_length, model_fingerprint=header.model_fingerprint, model_name=header.model_name,
            run=header.run, exist_ok=True,
        )  # fmt: skip
    except ModelMismatchError as error:
        raise ModelMismatchError(
            f"{str(error).partition(', got')[0]}, and '{path}' {hash_length}-bit codes of model "
            f"{header.model_fingerprint[:8]}…: import it into another folder (--gallery NAME)."
        ) from error


def _complete(
    header: Header, gallery: Path, path: Path, model_fingerprint: str | None, hash_length: int | None
) -> Header:
    """Fill in what a file does not say."""
    given: dict[str, Any] = {"model_fingerprint": model_fingerprint, "hash_length": hash_length}
    for name, value in given.items():
        stated, flag = getattr(header, name), f"--{name.replace('_', '-')}"
        if value is not None and stated and stated != value:
            raise UsageError(f"'{path}' says {name} {stated!r}, and {flag} {value!r}: leave {flag} out.")
    if not (header.model_fingerprint or model_fingerprint):
        raise UsageError(f"'{path}' does not say which model made its codes: name that, --model-fingerprint NAME.")
    if hash_length is not None:
        num_code_bytes(hash_length)
    length = header.hash_length or hash_length
    if length is None and is_gallery(gallery):
        with Gallery.open(gallery) as opened:
            length = opened.hash_length
    return Header(
        length, header.model_fingerprint or str(model_fingerprint), header.model_name, header.run, header.engines,
        header.not_matches,
    )  # fmt: skip


def _first_length(form: ModuleType, path: Path) -> int:
    """Return how many bits the codes of a file have at the most."""
    first = next((entry for entry in form.read_entries(path) if len(entry.codes)), None)
    if first is None:
        raise CodesError(f"'{path}' holds no code, and does not say how long codes are: give --hash-length N.")
    return 8 * int(first.codes.shape[1])


def _check(form: ModuleType, path: Path, hash_length: int, on_step: Step) -> None:
    """Read a file to its end, and raise where anything in it cannot go into a gallery."""
    num_bytes = num_code_bytes(hash_length)
    for entry in form.read_entries(path):
        check_facts(entry, where=path)
        if len(entry.codes):
            if entry.codes.shape[1] != num_bytes:
                raise CodesError(
                    f"'{path}' has codes of {entry.codes.shape[1]} bytes; {hash_length} bits, as the gallery or the "
                    f"file says, are {num_bytes}: import it into another folder (--gallery NAME)."
                )
            check_codes(entry.codes, hash_length=hash_length, name=f"codes of '{entry.video}' in '{path}'")
        on_step("Checking")
