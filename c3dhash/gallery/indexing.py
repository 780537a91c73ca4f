"""Folders of videos -> a gallery that holds exactly them: encode what is new or changed, drop what is gone."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from c3dhash.config import EncodeConfig
from c3dhash.models.encode import VideoResult, encode_videos
from c3dhash.errors import ModelMismatchError, UsageError, VideoError
from c3dhash.gallery.store import Gallery
from c3dhash.models.hashnet import Run
from c3dhash.records import CodeBatch
from c3dhash.video.reader import content_hash, find_videos

logger = logging.getLogger(__name__)

WINDOWS = ("window_seconds", "stride_seconds")  # one for the whole gallery, and for its queries


@dataclass
class IndexReport:
    """What an update of a gallery did, in videos; `clips` counts the codes that were written."""

    added: int = 0
    updated: int = 0
    removed: int = 0
    unchanged: int = 0
    clips: int = 0
    failed: list[dict[str, str]] = field(default_factory=list)


def open_gallery(path: Path, run: Run, *, config: EncodeConfig | None = None) -> Gallery:
    """Open the gallery of a run, and make it where there is none, for the windows of `config`.

    Raises:
        ModelMismatchError: the gallery holds the codes of another model.
    """
    config = config or EncodeConfig()
    try:
        return Gallery.open_or_create(
            path,
            hash_length=run.hash_length,
            model_fingerprint=run.fingerprint,
            model_name=str(run.path.resolve()),
            run={name: getattr(config, name) for name in WINDOWS},
        )
    except ModelMismatchError as error:
        raise ModelMismatchError(
            f"{str(error).partition(':')[0]}: index into another folder (--gallery NAME), or delete '{path}' first."
        ) from error


def with_windows(config: EncodeConfig, gallery: Gallery) -> EncodeConfig:
    """Return a config with the windows that a gallery was indexed with."""
    return dataclasses.replace(config, **{name: gallery.run[name] for name in WINDOWS if name in gallery.run})


def index_videos(
    run: Run,
    gallery: Gallery,
    places: Sequence[Path],
    *,
    config: EncodeConfig | None = None,
    known_codes: Callable[[Path], CodeBatch | None] | None = None,
) -> IndexReport:
    """Bring a gallery up to date with folders of videos.

    A video is one transaction, so that a run that was stopped goes on where it was. A file whose size and time
    did not change is not read; one that did is compared by content before it is encoded again. A file that
    cannot be decoded, or that changes meanwhile, is reported and does not stop the rest; if the gallery holds an
    earlier version, that stays.

    Args:
        run: with a hash head; the gallery must be its own.
        gallery: is written to.
        places: folders, searched with their subfolders, or single video files. Videos of the gallery that lay in
            one of the folders and are no longer there are removed.
        config: batch size, device, and the gallery's windows; None takes these and the defaults.
        known_codes: returns the codes of a video where they are known already, so that it is not decoded, else None.
    Returns:
        An IndexReport.
    Raises:
        UsageError: a place does not exist, other windows than the gallery's, or there is no video and none was
            indexed from there.
        ModelMismatchError: the gallery holds the codes of another model.
    """
    gallery.check_model(run.fingerprint, hash_length=run.hash_length)
    own = with_windows(config or EncodeConfig(), gallery)
    if config is not None and own != config:
        raise UsageError(
            f"gallery '{gallery.path}' has windows of {own.window_seconds} s every {own.stride_seconds} s, "
            f"got {config.window_seconds} s every {config.stride_seconds} s: keep them, or index into another folder."
        )
    update = _Update(run, gallery, places)
    with tqdm(total=len(update.found), desc="Indexing", unit="video") as update.progress:
        update.remove_gone()
        if known_codes is not None:
            update.take_known(known_codes)
        with closing(encode_videos(run, update.to_encode(), config=own)) as results:
            for result in results:
                update.take(result)
        update.touch()
    return update.report


class _Seen(NamedTuple):
    """A file as it was before it was decoded."""

    size_bytes: int
    mtime_ns: int
    content_hash: str


class _Update:
    """One update in progress: what was found, what the gallery knew, what became of it."""

    def __init__(self, run: Run, gallery: Gallery, places: Sequence[Path]) -> None:
        self.run, self.gallery = run, gallery
        self.report = IndexReport()
        self.progress: tqdm | None = None
        self.known = {video.video: video for video in gallery.videos()}
        self._seen: dict[str, _Seen] = {}
        self._touched: list[str] = []
        self._taken: set[str] = set()
        places = [_absolute(place) for place in places]
        unreadable: list[OSError] = []
        self.found = find_in_places(places, on_error=unreadable.append)
        hidden = [Path(error.filename) for error in unreadable]
        self.gone = [
            name
            for name in self.known
            if name not in self.found
            and any(place.is_dir() and Path(name).is_relative_to(place) for place in places)
            and not any(Path(name).is_relative_to(folder) for folder in hidden)
        ]
        if not self.found and not self.gone and not unreadable:
            raise UsageError(f"no videos in {', '.join(repr(str(place)) for place in places)}.")
        for error in unreadable:
            self.report.failed.append({"video": str(error.filename), "reason": f"cannot be read: {error.strerror}."})

    def remove_gone(self) -> None:
        if self.gone:
            self.gallery.remove(self.gone)
        self.report.removed = len(self.gone)

    def to_encode(self) -> Iterator[Path]:
        """Yield what is new or changed; called by a decoder thread, one at a time."""
        for path in self.found:
            if path in self._taken:
                continue
            try:
                stat, known = Path(path).stat(), self.known.get(path)
                if known and (known.size_bytes, known.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
                    self._count_unchanged()
                    continue
                self._seen[path] = _Seen(stat.st_size, stat.st_mtime_ns, content_hash(path))
            except (OSError, VideoError) as error:
                self._fail(path, error)
                continue
            if known and known.content_hash == self._seen[path].content_hash:
                self._touched.append(path)
                self._count_unchanged()
                continue
            yield Path(path)

    def take_known(self, known_codes: Callable[[Path], CodeBatch | None]) -> None:
        """Take in what is new and has codes already; what cannot be read now is left to `to_encode`."""
        for path in self.found:
            if path in self.known:
                continue
            try:
                stat = Path(path).stat()
                codes = known_codes(Path(path))
                if codes is None:
                    continue
                self._seen[path] = _Seen(stat.st_size, stat.st_mtime_ns, content_hash(path))
            except (OSError, VideoError):
                continue
            self._taken.add(path)
            self.take(VideoResult(Path(path), codes, None, None))

    def take(self, result: VideoResult) -> None:
        """Write the codes of a video into the gallery, or note why there are none."""
        name = str(result.video)
        if result.error is not None:
            self._fail(name, result.error)
            return
        seen = self._seen[name]
        try:
            stat = result.video.stat()
        except OSError as error:
            self._fail(name, error)
            return
        if (stat.st_size, stat.st_mtime_ns) != (seen.size_bytes, seen.mtime_ns):
            self._fail(name, VideoError(f"video '{name}' changed while it was indexed; run the command again."))
            return
        label = folder_label(result.video, self.run.labels)
        self.gallery.add(name, result.codes, **seen._asdict(), label=label)
        self.report.clips += len(result.codes.codes)
        if name in self.known:
            self.report.updated += 1
        else:
            self.report.added += 1
        self.progress.update()

    def touch(self) -> None:
        """Note the new times of files whose content is the same."""
        for name in self._touched:
            seen = self._seen[name]
            self.gallery.touch(name, size_bytes=seen.size_bytes, mtime_ns=seen.mtime_ns)

    def _count_unchanged(self) -> None:
        self.report.unchanged += 1
        self.progress.update()

    def _fail(self, name: str, error: Exception) -> None:
        logger.warning("%s", error)
        self.report.failed.append({"video": name, "reason": str(error)})
        self.progress.update()


def folder_label(video: Path, labels: Sequence[str]) -> str | None:
    """Return the name of the folder a video lies in where it is one of the classes, else None.

    A label is what is known of a video, never a guess of the network.
    """
    return video.parent.name if video.parent.name in labels else None


def find_in_places(places: Sequence[Path], *, on_error: Callable[[OSError], object] | None = None) -> list[str]:
    """Return the absolute paths of the videos in folders, and of single files, each once.

    Args:
        places: folders, searched with their subfolders, or files.
        on_error: called with what makes a subfolder unreadable; None logs it.
    Raises:
        UsageError: a place does not exist.
    """
    found: dict[str, None] = {}
    for place in map(_absolute, places):
        if not place.exists():
            raise UsageError(f"'{place}' does not exist; name a folder of videos.")
        videos = find_videos(place, on_error=on_error) if place.is_dir() else [place]
        found.update(dict.fromkeys(map(str, videos)))
    return list(found)


def _absolute(place: Path) -> Path:
    return Path(os.path.abspath(place))  # noqa: PTH100 - links stay as they are
