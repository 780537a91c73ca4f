"""Folders of videos -> a gallery that holds exactly them: encode what is new or changed, drop what is gone."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from c3dhash.config import EncodeConfig
from c3dhash.encode import encode_videos
from c3dhash.errors import UsageError, VideoError
from c3dhash.gallery import Gallery
from c3dhash.model import Run
from c3dhash.video import content_hash, find_videos

logger = logging.getLogger(__name__)


@dataclass
class IndexReport:
    """What an update of a gallery did, in videos; `clips` counts the codes that were written."""

    added: int = 0
    updated: int = 0
    removed: int = 0
    unchanged: int = 0
    clips: int = 0
    failed: list[dict[str, str]] = field(default_factory=list)


def open_gallery(path: Path, run: Run) -> Gallery:
    """Open the gallery of a run, and make it where there is none."""
    return Gallery.open_or_create(
        path, hash_length=run.hash_length, model_fingerprint=run.fingerprint, model_name=str(run.path)
    )


def index_videos(
    run: Run, gallery: Gallery, places: Sequence[Path], *, config: EncodeConfig | None = None
) -> IndexReport:
    """Bring a gallery up to date with folders of videos.

    A video is one transaction, so that a run that was stopped goes on where it was. A file whose size and time
    did not change is not read; one that did is compared by content before it is encoded again. A file that
    cannot be decoded is reported and does not stop the rest; if the gallery holds an earlier version, that stays.

    Args:
        run: with a hash head; the gallery must be its own.
        gallery: is written to.
        places: folders, searched with their subfolders, or single video files. Videos of the gallery that lay in
            one of the folders and are no longer there are removed.
        config: windows, batch size, device; EncodeConfig() by default.
    Returns:
        An IndexReport.
    Raises:
        UsageError: a place does not exist, or there is no video and none was indexed from there.
        ModelMismatchError: the gallery holds the codes of another model.
    """
    gallery.check_model(run.fingerprint, hash_length=run.hash_length)
    found = _find(places)
    known = {video.video: video for video in gallery.videos()}
    gone = [name for name in known if name not in found and any(_lies_in(name, place) for place in places)]
    if not found and not gone:
        raise UsageError(f"no videos in {', '.join(repr(str(place)) for place in places)}.")
    report = IndexReport()
    hashes: dict[str, str] = {}

    def to_encode() -> Iterator[Path]:
        for name, path in found.items():
            try:
                stat = path.stat()
                if name in known and (known[name].size_bytes, known[name].mtime_ns) == (stat.st_size, stat.st_mtime_ns):
                    report.unchanged += 1
                    progress.update()
                    continue
                hashes[name] = content_hash(path)
            except (OSError, VideoError) as error:
                fail(path, error)
                continue
            if name in known and known[name].content_hash == hashes[name]:
                unchanged_content.append((name, stat.st_size, stat.st_mtime_ns))
                report.unchanged += 1
                progress.update()
                continue
            yield path

    def fail(path: Path, error: Exception) -> None:
        logger.warning("%s", error)
        report.failed.append({"video": str(path), "reason": str(error)})
        progress.update()

    unchanged_content: list[tuple[str, int, int]] = []
    if gone:
        gallery.remove(gone)
        report.removed = len(gone)
    with tqdm(total=len(found), desc="Indexing", unit="video") as progress:
        for result in encode_videos(run, to_encode(), config=config):
            name = str(result.video)
            if result.error is not None:
                fail(result.video, result.error)
                continue
            stat = result.video.stat()
            gallery.add(
                name, result.codes, content_hash=hashes[name], size_bytes=stat.st_size, mtime_ns=stat.st_mtime_ns,
                label=folder_label(result.video, run.labels),
            )  # fmt: skip
            report.clips += len(result.codes.codes)
            if name in known:
                report.updated += 1
            else:
                report.added += 1
            progress.update()
    for name, size_bytes, mtime_ns in unchanged_content:
        gallery.touch(name, size_bytes=size_bytes, mtime_ns=mtime_ns)
    return report


def folder_label(video: Path, labels: Sequence[str]) -> str | None:
    """Return the name of the folder a video lies in where it is one of the classes, else None.

    A label is what is known of a video, never a guess of the network.
    """
    return video.parent.name if video.parent.name in labels else None


def _find(places: Sequence[Path]) -> dict[str, Path]:
    """Return the videos by their name in the gallery: the absolute path."""
    found: dict[str, Path] = {}
    for place in places:
        if not place.exists():
            raise UsageError(f"'{place}' does not exist; name a folder of videos.")
        for video in find_videos(place) if place.is_dir() else [place]:
            found[str(video.absolute())] = video.absolute()
    return found


def _lies_in(name: str, place: Path) -> bool:
    return place.is_dir() and Path(name).is_relative_to(place.absolute())
