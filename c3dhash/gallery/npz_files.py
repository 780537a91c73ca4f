"""Entries <-> an .npz file of NumPy arrays, without pickles: those of videos [V], those of clips [N], and the header.

Written in pieces: codes and times wait in unnamed files until it is known how many there are.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from c3dhash.bits import num_code_bytes
from c3dhash.errors import CodesError
from c3dhash.gallery.entries import VIDEO_FIELDS, Entry, Header
from c3dhash.gallery.rows import check_times

CLIP_ARRAYS = ("codes", "start_seconds", "end_seconds")
REQUIRED = ("video", *CLIP_ARRAYS)
TEXT_FIELDS = tuple(name for name in VIDEO_FIELDS if name not in ("size_bytes", "mtime_ns"))
HEADER_ARRAYS = ("format_version", "hash_length", "model_fingerprint", "model_name", "run", "engines", "not_matches")


def write(path: Path, header: Header, entries: Iterable[Entry]) -> None:
    """Write a file; names and what else is known of videos are in memory, codes and times are not."""
    assert header.hash_length is not None
    facts: dict[str, list[Any]] = {name: [] for name in ("num_clips", *VIDEO_FIELDS)}
    with contextlib.ExitStack() as stack:
        spools: dict[str, IO[bytes]] = {
            name: stack.enter_context(tempfile.TemporaryFile(dir=path.parent)) for name in CLIP_ARRAYS
        }
        for entry in entries:
            facts["num_clips"].append(len(entry.codes))
            for name in VIDEO_FIELDS:
                facts[name].append(getattr(entry, name))
            for name, spool in spools.items():
                spool.write(getattr(entry, name).tobytes())
        num_clips = sum(facts["num_clips"])
        archive = stack.enter_context(zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1))
        for name, values in header.to_dict().items():
            _write_array(archive, name, np.array(values if isinstance(values, (int, str)) else json.dumps(values)))
        for name, values in facts.items():
            is_text = name in TEXT_FIELDS
            array = np.array([value or "" for value in values], np.str_) if is_text else np.array(values, np.int64)
            _write_array(archive, name, array)
        shapes = {"codes": (num_clips, num_code_bytes(header.hash_length))}
        for name, spool in spools.items():
            _copy_array(archive, name, spool, "|u1" if name == "codes" else "<f8", shapes.get(name, (num_clips,)))


def _write_array(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array(file, array, allow_pickle=False)


def _copy_array(archive: zipfile.ZipFile, name: str, spool: IO[bytes], kind: str, shape: tuple[int, ...]) -> None:
    spool.seek(0)
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
        shutil.copyfileobj(spool, file, 1 << 20)


def read_header(path: Path) -> Header | None:
    """Return the header of a file; None where it has none, as files of other programs."""
    with _open(path) as file:
        if "format_version" not in file:
            if "hash_length" in file:
                return Header(hash_length=_one(file, "hash_length", path))
            return None
        values = {name: _one(file, name, path) for name in HEADER_ARRAYS if name in file}
    for name in ("run", "engines", "not_matches"):
        try:
            values[name] = json.loads(values[name]) if isinstance(values.get(name), str) else None
        except ValueError as error:
            raise CodesError(f"'{path}' has {name} that is no JSON ({error}): export it again.") from error
    return Header.from_dict(values, path=path)


def read_entries(path: Path) -> Iterator[Entry]:
    """Yield the videos of a file, in its order; all of it is in memory.

    Without `num_clips`, the arrays of videos have an element a clip, [N].

    Raises:
        CodesError: it is malformed.
    """
    with _open(path) as file:
        if missing := [name for name in REQUIRED if name not in file]:
            raise CodesError(f"'{path}' has no array {missing[0]!r}; it must have {', '.join(REQUIRED)}.")
        known = {*REQUIRED, *VIDEO_FIELDS, "num_clips", *HEADER_ARRAYS}
        if strange := [name for name in file if name not in known]:
            raise CodesError(f"'{path}' has an array {strange[0]!r}; what it may have is {', '.join(sorted(known))}.")
        arrays = {name: _array(file, name, path) for name in file if name not in HEADER_ARRAYS}
    _check(arrays, path)
    names = arrays["video"]
    if "num_clips" in arrays:
        ends = np.cumsum(arrays["num_clips"])
        firsts = np.arange(len(names))
    else:  # a name a clip
        firsts = np.flatnonzero(np.append(True, names[1:] != names[:-1])) if len(names) else np.empty(0, np.int64)
        ends = np.append(firsts[1:], len(names)) if len(names) else firsts
    seen: set[str] = set()
    start = 0
    for first, end in zip(firsts.tolist(), ends.tolist(), strict=True):
        facts = {name: arrays[name][first].item() for name in VIDEO_FIELDS if name in arrays}
        if facts["video"] in seen:
            raise CodesError(
                f"'{path}' has video {facts['video']!r} twice, at {first}: its clips must follow each other."
            )
        seen.add(facts["video"])
        clips: dict[str, Any] = {name: arrays[name][start:end] for name in CLIP_ARRAYS}
        for name in ("label", "root", "missing_since"):
            facts[name] = facts.get(name) or None
        yield Entry(**facts, **clips)
        start = end


def _check(arrays: dict[str, np.ndarray], path: Path) -> None:
    """Raise unless arrays have the kinds and shapes that they must have, and what is in them has sense."""
    num_clips = len(arrays["codes"]) if arrays["codes"].ndim else 0
    num_videos = len(arrays["num_clips"]) if "num_clips" in arrays and arrays["num_clips"].ndim else num_clips
    for name, array in arrays.items():
        if name == "codes":
            kinds, what, is_right = "u", "uint8 [N, width]", array.ndim == 2 and array.dtype == np.uint8
        elif name in CLIP_ARRAYS:
            kinds, what, is_right = "fiu", f"numbers [{num_clips}]", array.shape == (num_clips,)
        else:
            kinds = "U" if name in TEXT_FIELDS else "iu"
            what, is_right = (
                ("texts" if kinds == "U" else "whole numbers") + f" [{num_videos}]",
                array.shape == (num_videos,),
            )
        if array.dtype.kind not in kinds or not is_right:
            raise CodesError(f"'{path}' has {name} {array.dtype} {list(array.shape)}; they must be {what}.")
    counts = arrays.get("num_clips")
    if counts is not None and ((counts < 0).any() or int(counts.sum()) != num_clips):
        raise CodesError(f"'{path}' has num_clips that add up to {int(counts.sum())}, and {num_clips} codes.")
    if len(empty := np.flatnonzero(arrays["video"] == "")):
        raise CodesError(f"'{path}' has no name of a video at {empty[0]}: give one.")
    for name in ("start_seconds", "end_seconds"):
        arrays[name] = arrays[name].astype(np.float64)
    starts, ends = arrays["start_seconds"], arrays["end_seconds"]
    wrong = np.flatnonzero(~((starts <= ends) & np.isfinite(starts) & np.isfinite(ends)))
    if len(wrong):
        check_times(starts[wrong[0]].item(), ends[wrong[0]].item(), path=path, where=f"place {wrong[0]}")


def _array(file: Any, name: str, path: Path) -> np.ndarray:
    array = file[name]
    if not isinstance(array, np.ndarray):
        raise CodesError(f"'{path}' is no .npz file that can be read: {name!r} in it is no array.")
    return array


def _one(file: Any, name: str, path: Path) -> Any:
    array = _array(file, name, path)
    if array.ndim:
        raise CodesError(f"'{path}' has {name} {array.dtype} {list(array.shape)}; it must be one value.")
    return array.item()


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Open a file; what NumPy says of one that is none becomes a CodesError."""
    try:
        with path.open("rb") as opened:
            loaded = np.load(opened, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise CodesError(f"'{path}' is one array, no .npz file of several: use numpy.savez.")
            with loaded as file:
                yield file
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise CodesError(f"'{path}' is no .npz file that can be read: {error}.") from error
