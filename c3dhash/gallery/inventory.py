"""A gallery -> what is in it, in figures; nothing is changed, and memory does not grow with the number of clips."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from c3dhash.bits import num_code_bytes
from c3dhash.errors import GalleryError
from c3dhash.gallery.approximate_file import read_index
from c3dhash.gallery.companion import setting_of
from c3dhash.gallery.index import padded_num_bytes
from c3dhash.gallery.kinds import KINDS
from c3dhash.gallery.reader import Reader, VideoRow, open_reader
from c3dhash.gallery.recall import Facts
from c3dhash.gallery.store import APPROXIMATE_NAME

CODES_PER_CHUNK = 20_000


@dataclass(frozen=True)
class Folder:
    """A root of a gallery, or, with folder "", the names that other programs gave: how many videos are stored in it."""

    folder: str
    is_there: bool
    num_videos: int
    num_missing: int


@dataclass(frozen=True)
class SearchFacts:
    """What searches a gallery.

    setting: what was asked for, one of `config.INDEX_KINDS`. kind: what it is now. measured: of an approximate index,
    what was measured when it was built, as `recall.Facts`; None of exact search. problem: why the file of one is not in
    use, "" where nothing is wrong.
    """

    setting: str
    kind: str
    measured: Facts | None = None
    problem: str = ""


@dataclass(frozen=True)
class Inventory:
    """What is in a gallery. Clips and codes are those that can be found; those of missing videos are counted apart.

    labels: how many videos have each, missing ones too. folders: the largest first. windows: how videos are cut, as
    `index` noted it. engines: what computed the codes, and the day it last did. num_not_matches: pairs said to be none.
    ones: of each bit, the share of codes in which it is on; [] without codes. dead_bits: those that are on in none, or
    in all. search: what searches them. sizes_bytes: of each file and folder in the gallery.
    """

    gallery: str
    schema: int
    hash_length: int
    model_name: str
    model_fingerprint: str
    num_videos: int
    num_clips: int
    num_missing_videos: int
    num_missing_clips: int
    labels: dict[str, int]
    folders: list[Folder]
    windows: dict[str, Any]
    engines: dict[str, str]
    num_not_matches: int
    distinct_codes: int
    ones: list[float]
    dead_bits: list[int]
    search: SearchFacts
    sizes_bytes: dict[str, int]


def take_inventory(gallery: Path, *, on_clips: Callable[[int], object] = lambda _: None) -> Inventory:
    """Count what is in a gallery.

    Args:
        gallery: its folder.
        on_clips: called with how many clips were looked at since the last call.
    Raises:
        GalleryError: there is no gallery, or its catalog is damaged.
    """
    sizes = _sizes(gallery) if gallery.is_dir() else {}  # before there is a log of our own
    with open_reader(gallery) as reader:
        videos = list(reader.videos().values())
        there = [row for row in videos if row.missing_since is None]
        num_codes, ones = _count_ones(reader, on_clips)
        shares, dead_bits = balance_of(ones, num_codes=num_codes)
        ((distinct,),) = reader.rows("SELECT count(DISTINCT code) FROM clip")
        inventory = Inventory(
            gallery=str(gallery),
            schema=reader.schema,
            hash_length=reader.hash_length,
            model_name=reader.meta.get("model_name", ""),
            model_fingerprint=reader.meta.get("model_fingerprint", ""),
            num_videos=len(there),
            num_clips=num_codes,
            num_missing_videos=len(videos) - len(there),
            num_missing_clips=sum(row.num_clips for row in videos if row.missing_since is not None),
            labels=dict(sorted(Counter(row.label for row in videos if row.label is not None).items())),
            folders=_folders(videos),
            windows=reader.run,
            engines=reader.engines,
            num_not_matches=len(reader.not_matches()),
            distinct_codes=distinct,
            ones=shares,
            dead_bits=dead_bits,
            search=_search_facts(reader),
            sizes_bytes=sizes,
        )
        if reader.damage:
            raise GalleryError(
                f"catalog of gallery '{gallery}' is damaged ({reader.damage[0]}): `c3dhash gallery verify` says more."
            )
    return inventory


def balance_of(ones: np.ndarray, *, num_codes: int) -> tuple[list[float], list[int]]:
    """Return of each bit the share of codes in which it is on, and the bits that say nothing; none without codes.

    Args:
        ones: in how many codes each bit is on, int64 [hash_length].
    """
    if not num_codes:
        return [], []
    shares = [round(share, 6) for share in (ones / num_codes).tolist()]
    return shares, np.flatnonzero((ones == 0) | (ones == num_codes)).tolist()


def _count_ones(reader: Reader, on_clips: Callable[[int], object]) -> tuple[int, np.ndarray]:
    """Count the codes that can be found, and in how many of them each bit is on, int64 [hash_length]."""
    hash_length = reader.hash_length
    width = num_code_bytes(hash_length)
    num_codes, ones = 0, np.zeros(hash_length, np.int64)
    codes = (code for (code,) in reader.rows("SELECT code FROM clip"))
    while chunk := list(itertools.islice(codes, CODES_PER_CHUNK)):
        if any(len(code) != width for code in chunk):
            raise GalleryError(
                f"catalog of gallery '{reader.directory}' is damaged (not all codes have {width} bytes): `c3dhash "
                "gallery verify` says more."
            )
        bits = np.unpackbits(np.frombuffer(b"".join(chunk), np.uint8).reshape(-1, width), axis=1, count=hash_length)
        num_codes, ones = num_codes + len(chunk), ones + bits.sum(axis=0, dtype=np.int64)
        on_clips(len(chunk))
    return num_codes, ones


def _search_facts(reader: Reader) -> SearchFacts:
    """Look at the file of an approximate index as a search would."""
    setting = setting_of(reader.search_setting).kind
    path, hash_length = reader.directory / APPROXIMATE_NAME, reader.hash_length
    if setting == "exact" or not (path.exists() or setting in KINDS):
        return SearchFacts(setting, "exact")
    try:
        stored = read_index(path, hash_length=hash_length, num_bytes=padded_num_bytes(hash_length))
    except GalleryError as error:
        return SearchFacts(setting, "exact", problem=str(error))
    ((is_known,),) = reader.rows("SELECT count(*) FROM change WHERE revision = ? AND token = ?", *stored.stamp)
    if not is_known or setting not in ("auto", stored.facts.kind):
        return SearchFacts(setting, "exact", problem=f"'{path}' is of another state of the gallery")
    return SearchFacts(setting, stored.facts.kind, stored.facts)


def _folders(videos: list[VideoRow]) -> list[Folder]:
    all_of = Counter(row.root or "" for row in videos)
    missing = Counter(row.root or "" for row in videos if row.missing_since is not None)
    return [
        Folder(folder, bool(folder) and Path(folder).is_dir(), num, missing[folder])
        for folder, num in all_of.most_common()
    ]


def _sizes(gallery: Path) -> dict[str, int]:
    """Return the size of each file and folder in a gallery, the largest first."""
    sizes = {}
    for entry in sorted(os.scandir(gallery), key=lambda entry: entry.name):
        files = Path(entry.path).rglob("*") if entry.is_dir(follow_symlinks=False) else [Path(entry.path)]
        name = f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name
        sizes[name] = sum(path.lstat().st_size for path in files if path.is_file())
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))
