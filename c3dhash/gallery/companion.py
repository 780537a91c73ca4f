"""The approximate index of a gallery: chosen, built, kept in a file beside the codes, and taken up from there.

Note [Which kind]
    What a gallery is asked to search with is in its catalog: "exact", a kind of KINDS, or "auto". auto is exact as long
    as an exact search of one code, measured on the gallery itself, takes no longer than INTERACTIVE_SECONDS; beyond, it
    is AUTO_KIND, unless that turns out to be no faster where it finds enough. Then it is noted for how many codes that
    was, and tried again once there are GROWN times as many.
    `settle` decides and builds, and is for whoever writes the gallery. Whoever searches takes the file as it is, and
    where there is none of use searches exactly: to build one takes longer than that.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from c3dhash.errors import GalleryError
from c3dhash.files import clear_leftovers, replacing
from c3dhash.gallery.approximate import ApproximateIndex
from c3dhash.gallery.approximate_file import StoredIndex, is_ours, read_index, write_index
from c3dhash.gallery.catalog import Catalog, Revision
from c3dhash.gallery.index import HammingIndex, padded_num_bytes
from c3dhash.gallery.kinds import KINDS, build, search
from c3dhash.gallery.recall import NUM_QUERIES, TARGET, Facts, K, Search, choose_effort, draw_sample, exact_seconds
from c3dhash.gallery.search import compile_passes

logger = logging.getLogger(__name__)

# An answer within a tenth of a second feels immediate. Source: Miller 1968, Response time in man-computer
# conversational transactions; Nielsen 1993, Usability Engineering, chapter 5.
INTERACTIVE_SECONDS = 0.1
AUTO_KIND = "ivf"  # of the three the fastest to build and the smallest: docs/guide.md has figures
GROWN = 1.5
REBUILD_SHARE = 0.05  # of the codes came or went: with fewer, the tail costs little and recall is what it was


class Setting(NamedTuple):
    """What a gallery is asked to search with. num_refused: of how many codes "auto" found AUTO_KIND of no use."""

    kind: str = "auto"
    num_refused: int = 0


class Companion:
    """The approximate index beside the codes of a gallery.

    Args:
        catalog: of the gallery.
        path: the file of the index, where there is one or not.
    """

    def __init__(self, catalog: Catalog, path: Path) -> None:
        self.path = path
        self._catalog = catalog
        self._signature: tuple[int, int, int] | None = None
        self._loaded: ApproximateIndex | None = None

    def current(self, index: HammingIndex) -> ApproximateIndex | None:
        """Return the index to search with in the place of an exact one; None where that is to be searched."""
        kind = self.setting().kind
        if kind not in ("auto", *KINDS):
            self._signature = self._loaded = None
            return None
        self._load()
        loaded = self._loaded
        if loaded is None or kind not in ("auto", loaded.stored.facts.kind):
            return None
        if not self._catalog.is_state(Revision(*loaded.stored.stamp)) or loaded.moves(index) is None:
            return None
        return loaded

    def setting(self) -> Setting:
        """Return what the gallery is asked to search with."""
        return setting_of(self._catalog.search_setting())

    def settle(self, index: HammingIndex, revision: Revision, *, kind: str | None = None) -> None:
        """Bring the file to what the gallery is asked to search with, for the one who writes the gallery.

        Args:
            index: as the catalog is at `revision`.
            kind: what to ask for from now on, "exact", "auto" or a name of KINDS; None leaves it.
        """
        setting = self.setting()
        if kind is not None and kind != setting.kind:
            setting = Setting(kind)
            self._catalog.note_search_setting(setting._asdict())
        level = logging.DEBUG if kind is None else logging.INFO
        wanted = self._chosen(index, setting, level=level)
        if wanted == "exact" or index.num_videos < 2:
            if wanted != "exact":
                logger.log(level, "Search: exact, since %s needs two videos to be measured.", wanted)
            self._delete()
            return
        current = self.current(index)
        if current is not None and current.stored.facts.kind == wanted:
            changed = current.share_changed(index)
            if changed < REBUILD_SHARE:
                logger.log(level, "Search: %s; %.1f %% of the codes came or went since.",
                           current.stored.facts, 100 * changed)  # fmt: skip
                return
        if not is_ours(self.path):
            logger.warning("'%s' is no file of c3dhash and stays: move it away, until then search is exact.", self.path)
            return
        stored = self._build(index, revision, wanted)
        if setting.kind == "auto" and not (stored.facts.is_reached and stored.facts.is_faster):
            logger.info("Search: exact, since %s is of no use here: %s.", wanted, stored.facts)
            self._catalog.note_search_setting(setting._replace(num_refused=len(index))._asdict())
            self._delete()
            return
        logger.info("Search: %s; built in %.1f s.", stored.facts, stored.facts.build_seconds)
        self._save(stored, index)

    def problem(self, index: HammingIndex) -> str | None:
        """Say what is wrong with the file; None where nothing is, or there is none, or another program's."""
        if not self.path.exists() or not is_ours(self.path):
            return None
        try:
            stored = read_index(self.path, hash_length=index.hash_length, num_bytes=index.num_bytes)
        except GalleryError as error:
            return str(error)
        is_known = self._catalog.is_state(Revision(*stored.stamp))
        if not is_known or (len(index) and ApproximateIndex(stored).share_changed(index) == 1.0):
            return f"'{self.path}' is of no state of the catalog."
        return None

    def _chosen(self, index: HammingIndex, setting: Setting, *, level: int) -> str:
        """Return a name of KINDS, or "exact": Note [Which kind]."""
        if setting.kind in KINDS:
            return setting.kind
        if setting.kind != "auto" or not len(index):
            return "exact"
        seconds = exact_seconds(index)
        if seconds > INTERACTIVE_SECONDS:
            compile_passes(index.num_bytes)
            seconds = exact_seconds(index)
        if seconds <= INTERACTIVE_SECONDS:
            logger.log(level, "Search: exact, which takes %.3g ms a query (auto takes %s from %.3g ms on).",
                       1e3 * seconds, AUTO_KIND, 1e3 * INTERACTIVE_SECONDS)  # fmt: skip
            return "exact"
        if len(index) < GROWN * setting.num_refused:
            logger.log(level, "Search: exact, %.3g ms a query; %s was of no use when there were %d codes.",
                       1e3 * seconds, AUTO_KIND, setting.num_refused)  # fmt: skip
            return "exact"
        logger.info("Search: an exact one takes %.3g ms a query, more than %.3g ms: auto takes %s.",
                    1e3 * seconds, 1e3 * INTERACTIVE_SECONDS, AUTO_KIND)  # fmt: skip
        return AUTO_KIND

    def _build(self, index: HammingIndex, revision: Revision, kind: str) -> StoredIndex:
        """Build an index of a kind, and measure it."""
        logger.info("Search: %s is built of %d codes, and measured.", kind, len(index))
        compile_passes(index.num_bytes)
        began = time.perf_counter()
        built = build(kind, index.padded_codes, hash_length=index.hash_length)
        build_seconds = time.perf_counter() - began
        sample, exact = draw_sample(index), exact_seconds(index)

        def search_with(effort: int) -> Search:
            KINDS[kind].set_effort(built, effort)
            return lambda codes, num: search(built, codes, num)

        effort, recall, seconds = choose_effort(search_with, KINDS[kind].efforts(built), sample, exact=exact)
        num_queries = min(NUM_QUERIES, len(sample.codes))
        facts = Facts(
            kind, KINDS[kind].effort, effort, recall, K, num_queries, TARGET, seconds, exact, build_seconds
        )  # fmt: skip
        stamp = revision.number, revision.token
        return StoredIndex(built, facts, index.starts, index.first_ids, len(index), stamp)

    def _save(self, stored: StoredIndex, index: HammingIndex) -> None:
        """Write the file under a temporary name and rename it; where that fails, search is exact."""
        clear_leftovers(self.path.parent)
        try:
            with replacing(self.path, is_durable=False) as partial:
                write_index(partial, stored, hash_length=index.hash_length, num_bytes=index.num_bytes)
            self._signature, self._loaded = _signature(self.path), ApproximateIndex(stored)
        except OSError as error:
            logger.warning("'%s' was not saved (%s): search is exact.", self.path, error)

    def _load(self) -> None:
        """Take up the file, where it is another one than before."""
        signature = _signature(self.path)
        if signature == self._signature:
            return
        self._signature, self._loaded = signature, None
        if signature is None:
            return
        hash_length = self._catalog.hash_length
        try:
            stored = read_index(self.path, hash_length=hash_length, num_bytes=padded_num_bytes(hash_length))
            self._loaded = ApproximateIndex(stored)
        except GalleryError as error:
            logger.info("%s Search is exact until `c3dhash index` has built it again.", error)

    def _delete(self) -> None:
        """Delete the file, if it is ours."""
        self._signature = self._loaded = None
        if self.path.exists() and is_ours(self.path):
            self.path.unlink(missing_ok=True)


def setting_of(noted: Mapping[str, Any]) -> Setting:
    """Read what a catalog has noted; what a later version may have added is passed over."""
    return Setting(**{name: noted[name] for name in Setting._fields if name in noted})


def _signature(path: Path) -> tuple[int, int, int] | None:
    """Return what tells a file from the one that takes its place; None without it."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns
