"""What the gallery knows + what is there now -> what has to be done, before any of it is.

    known       there now                                       becomes
    -------     -------------------------------------------     ---------
    no          content of no video of the gallery              new         encoded
    no          content of one whose file is gone               moved       gets the new name, keeps its codes
    no          content of one whose file is there              copies      gets its codes
    yes         other content                                   changed     encoded, or gets the codes of its content
    yes         the same                                        unchanged   its time is noted; back, if it was missing
    yes         no                                              missing     kept aside; dropped only when asked to

Files are compared by size and time first; content is read only where these cannot tell. On a server, where that means
to fetch them, it is read only of a file of the same size at another time, and of a new one where one of its size is
gone: a copy is encoded like any other.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from c3dhash.errors import VideoError
from c3dhash.gallery.catalog import GalleryVideo
from c3dhash.gallery.contents import hash_files
from c3dhash.gallery.roots import real_name
from c3dhash.gallery.scan import File, RealNames, Scan, missing_place
from c3dhash.urls import is_url, lies_in


@dataclass(frozen=True)
class Step:
    """What is done for one file.

    video: its name in the gallery. root: of that name; None for the name of another program.
    source: the video of the gallery whose codes or place it takes, where it does.
    content_hash: where it was computed.
    """

    video: str
    root: str | None
    size_bytes: int
    mtime_ns: int
    content_hash: str | None = None
    source: GalleryVideo | None = None
    is_known: bool = False


@dataclass
class Plan:
    """What an update of a gallery will do, in the order of the files.

    to_encode: new and changed. moved, copies: take the place or the codes of `source`. touched: the same content at
    another time. back: were missing. unchanged: their number, with touched and back.
    missing: are not there, and stay aside. removed: the same, but dropped.
    vanished: how many of the missing were lost with their whole place, by place.
    """

    to_encode: list[Step] = field(default_factory=list)
    moved: list[Step] = field(default_factory=list)
    copies: list[Step] = field(default_factory=list)
    touched: list[Step] = field(default_factory=list)
    back: list[str] = field(default_factory=list)
    unchanged: int = 0
    missing: list[GalleryVideo] = field(default_factory=list)
    removed: list[GalleryVideo] = field(default_factory=list)
    vanished: dict[str, int] = field(default_factory=dict)
    failed: list[dict[str, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "new": [step.video for step in self.to_encode if not step.is_known],
            "changed": [step.video for step in self.to_encode if step.is_known],
            "moved": [{"from": step.source.video, "to": step.video} for step in self.moved if step.source],
            "copies": [{"video": step.video, "of": step.source.video} for step in self.copies if step.source],
            "back": self.back,
            "missing": [video.video for video in self.missing],
            "removed": [video.video for video in self.removed],
            "vanished": list(self.vanished),
            "unchanged": self.unchanged,
            "failed": self.failed,
        }


def make_plan(
    known: Sequence[GalleryVideo],
    scan: Scan,
    *,
    prune: bool = False,
    prune_vanished: bool = False,
    workers: int = 2,
    on_file: Callable[[], object] = lambda: None,
) -> Plan:
    """Compare what a gallery knows with what is there.

    Args:
        known: all videos of the gallery, the missing ones too.
        prune: drop what is missing in the places of the scan.
        prune_vanished: with prune, also where a whole place is gone.
        workers: threads that read files.
        on_file: called for each file that was compared.
    Raises:
        UsageError: a place does not exist, or there is nothing in any, and the gallery knows nothing from there.
    """
    return _Comparison(known, scan).plan(
        prune=prune, prune_vanished=prune and prune_vanished, workers=workers, on_file=on_file
    )


class _Comparison:
    """The known videos, by what they are looked up by."""

    def __init__(self, known: Sequence[GalleryVideo], scan: Scan) -> None:
        self.scan, self.result = scan, Plan(failed=list(scan.failed))
        real_names = RealNames()
        self.real = {
            video.video: real_names(video.video) for video in known if os.path.isabs(video.video) or is_url(video.video)
        }
        self.by_real: defaultdict[str, list[GalleryVideo]] = defaultdict(list)
        self.by_size: defaultdict[int, list[GalleryVideo]] = defaultdict(list)
        for video in known:
            if video.video in self.real:
                self.by_real[self.real[video.video]].append(video)
            self.by_size[video.size_bytes].append(video)
        found = {file.real for file in scan.files}
        # What `index` was not told about is looked at only where a new file has its content.
        self.in_scope = [video for video in known if video.root and self._in_places(self.real[video.video])]
        self.gone = {
            video.video: video
            for video in self.in_scope
            if self.real[video.video] not in found
            and not any(lies_in(self.real[video.video], hidden) for hidden in scan.hidden)
        }
        self.elsewhere = {video.video for video in known} - {video.video for video in self.in_scope}

    def _in_places(self, real: str) -> bool:
        return any(place.holds(real) for place in self.scan.places)

    def plan(self, *, prune: bool, prune_vanished: bool, workers: int, on_file: Callable[[], object]) -> Plan:
        self._refuse_empty_places()
        to_hash = [file for file in self.scan.files if self._needs_hash(file)]
        digests = hash_files((file.name for file in to_hash), workers=workers)
        hashes = {file.real: digest for file, digest in zip(to_hash, digests, strict=True)}
        for file in self.scan.files:
            digest = hashes.get(file.real)
            if isinstance(digest, VideoError):
                self.result.failed.append({"video": file.name, "reason": str(digest)})
            else:
                for video in self.by_real.get(file.real, ()):
                    self._compare(file, video, digest)
                if file.real not in self.by_real:
                    self._place(file, digest)
            on_file()
        vanished = _vanished_places(self)
        for video in self.gone.values():
            is_dropped = prune_vanished if video.video in vanished else prune
            (self.result.removed if is_dropped else self.result.missing).append(video)
        self.result.vanished = dict(Counter(vanished[video.video] for video in self.result.missing
                                            if video.video in vanished))  # fmt: skip
        return self.result

    def _refuse_empty_places(self) -> None:
        for place in self.scan.places:
            if not place.is_there and not any(place.holds(self.real[name]) for name in self.gone):
                raise missing_place(place.name)
        if not self.gone:
            self.scan.refuse_missing_places()

    def _needs_hash(self, file: File) -> bool:
        same_size = self.by_size.get(file.size_bytes, ())
        if file.real in self.by_real:
            changed = [video for video in self.by_real[file.real] if not _is_untouched(file, video)]
            return any(video in same_size for video in changed) if is_url(file.name) else bool(changed)
        if is_url(file.name):
            return any(self._is_gone(video) for video in same_size)
        return bool(same_size)

    def _compare(self, file: File, video: GalleryVideo, digest: str | None) -> None:
        """Decide on a file that the gallery knows as `video`."""
        step = Step(video.video, video.root, file.size_bytes, file.mtime_ns, digest, is_known=True)
        if not _is_untouched(file, video) and digest != video.content_hash:
            self._take_codes(step)
            return
        self.result.unchanged += 1
        if not _is_untouched(file, video):
            self.result.touched.append(step)
        if video.missing_since:
            self.result.back.append(video.video)

    def _place(self, file: File, digest: str | None) -> None:
        """Decide on a file that the gallery does not know by its name."""
        step = Step(file.name, file.root, file.size_bytes, file.mtime_ns, digest)
        base = os.path.basename(file.name)
        candidates = [video for video in self._of_content(step) if self._is_gone(video)]
        if not candidates:
            self._take_codes(step)
            return
        source = min(candidates, key=lambda video: os.path.basename(video.video) != base)  # the first of the best
        self.gone.pop(source.video, None)
        self.elsewhere.discard(source.video)
        self.result.moved.append(dataclasses.replace(step, source=source))

    def _take_codes(self, step: Step) -> None:
        """Let a step take the codes of a video with its content, or encode it where there is none."""
        source = next(iter(self._of_content(step)), None)
        if source is None:
            self.result.to_encode.append(step)
        else:
            self.result.copies.append(dataclasses.replace(step, source=source))

    def _of_content(self, step: Step) -> list[GalleryVideo]:
        same_size = self.by_size.get(step.size_bytes, ())
        return [video for video in same_size if video.content_hash == step.content_hash and video.video != step.video]

    def _is_gone(self, video: GalleryVideo) -> bool:
        """Tell whether the file of a video is gone, and nothing has taken its place yet; no server is asked."""
        if video.video in self.gone:
            return True
        if is_url(video.video):
            return False
        return bool(video.root and video.video in self.elsewhere and not os.path.lexists(video.video))


def _is_untouched(file: File, video: GalleryVideo) -> bool:
    return (file.size_bytes, file.mtime_ns) == (video.size_bytes, video.mtime_ns)


def _vanished_places(comparison: _Comparison) -> dict[str, str]:
    """Return which of the gone videos were lost with their whole place, and what that is.

    Note [Vanished]
    A disk that is not mounted looks like one whose videos were all deleted. So a place, or a root in it, without a
    single video is taken for one that will be back. Within a place, a disk may belong into a folder that is empty
    and has been since before its videos were added; one that was emptied has changed since.
    """
    suspects: dict[str, str] = {}  # real folder -> its name
    for root in {video.root for video in comparison.gone.values() if video.root}:
        real = real_name(root)
        is_inside = any(place.holds(real) for place in comparison.scan.places)
        if is_inside and not any(lies_in(file.real, real) for file in comparison.scan.files):
            suspects[real] = root
    suspects |= {place.real: place.name for place in comparison.scan.places if not place.num_found}
    found: dict[str, str] = {}
    unchanged_since: dict[str, tuple[str, str] | None] = {}
    for name, video in comparison.gone.items():
        folder = os.path.dirname(comparison.real[name])
        holders = [real for real in suspects if lies_in(folder, real)]
        if holders:
            found[name] = suspects[min(holders, key=len)]
            continue
        if folder not in unchanged_since:
            unchanged_since[folder] = _empty_folder(folder)
        empty = unchanged_since[folder]
        if empty is not None and empty[1] < video.added_at:
            found[name] = empty[0]
    return found


def _empty_folder(folder: str) -> tuple[str, str] | None:
    """Return the nearest folder above a gone file and when it last changed, if there is nothing at all in it; on a
    server there are no empty ones."""
    if is_url(folder):
        return None
    while not os.path.isdir(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    with os.scandir(folder) as entries:
        if next(entries, None) is not None:
            return None
    changed = datetime.fromtimestamp(os.stat(folder).st_mtime, timezone.utc)
    return folder, changed.isoformat(timespec="seconds")
