"""Folders of videos -> a gallery that knows them: scan, plan, apply.

places ──> scan ──> Plan ──> moves, marks, removals          one transaction
known videos ────────┘  └──> new and changed videos ──>      encoded, one transaction each, in their order
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tqdm import tqdm

from c3dhash.config import EncodeConfig, IndexConfig
from c3dhash.errors import ModelMismatchError, VideoError
from c3dhash.gallery.failures import failures_now
from c3dhash.gallery.plan import Plan, Step, make_plan
from c3dhash.gallery.scan import readable, scan_places
from c3dhash.gallery.store import Gallery
from c3dhash.gallery.windows import check_windows, windows_of, with_windows
from c3dhash.models.encode import VideoResult, encode_videos, window_options
from c3dhash.models.engines import settle_engine
from c3dhash.models.runs import Run
from c3dhash.records import CodeBatch
from c3dhash.urls import is_url
from c3dhash.video.fetching import fetched
from c3dhash.video.reader import content_hash

logger = logging.getLogger(__name__)


@dataclass
class IndexReport:
    """What an update of a gallery did, in videos.

    moved: kept their codes under a new name. missing: known in these places, not there now, kept aside. unchanged:
    also those that were missing and are back. clips: how many codes were written. vanished: places that are gone as a
    whole. flat_windows: of what was encoded, how many have no code, since all of their frames are flat (see
    c3dhash.video.flat); flat_videos: of how many videos. without_codes: the videos that have no code at all.
    """

    added: int = 0
    updated: int = 0
    moved: int = 0
    missing: int = 0
    removed: int = 0
    unchanged: int = 0
    clips: int = 0
    flat_windows: int = 0
    flat_videos: int = 0
    without_codes: list[str] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)


class Seen(NamedTuple):
    """A file as it was before it was decoded."""

    size_bytes: int
    mtime_ns: int
    content_hash: str


class KnownCodes(NamedTuple):
    """Codes of a video that need not be made again; content_hash None where it was not noted with them."""

    codes: CodeBatch
    content_hash: str | None


class EncodeSteps(Protocol):
    """What encodes videos, in any order, and yields each with what its file was before that."""

    def __call__(
        self,
        run: Run,
        steps: Sequence[Step],
        config: EncodeConfig,
        on_engine: Callable[[str], object],
        *,
        with_features: bool = False,
    ) -> Generator[tuple[VideoResult, Seen | None], None, None]: ...


def open_gallery(path: Path, run: Run, *, config: EncodeConfig | None = None) -> Gallery:
    """Open the gallery of a run, and make it where there is none, for the windows of `config`.

    Raises:
        ModelMismatchError: the gallery holds the codes of another model.
        UsageError: several clips a window, of a network that has one.
    """
    config = config or EncodeConfig()
    window_options(run.model, config)
    try:
        return Gallery.create(
            path,
            hash_length=run.hash_length,
            model_fingerprint=run.fingerprint,
            model_name=str(run.path.resolve()),
            run=windows_of(config),
            exist_ok=True,
        )
    except ModelMismatchError as error:
        raise ModelMismatchError(
            f"{str(error).partition(':')[0]}: index into another folder (--gallery NAME), or delete '{path}' first."
        ) from error


def plan_index(
    gallery: Gallery | None, places: Sequence[Path | str], *, index: IndexConfig | None = None, workers: int = 2
) -> Plan:
    """Say what `index_videos` would do, without doing any of it.

    Args:
        gallery: None for one that is not there yet.
        places: as for `index_videos`.
        workers: threads that read files whose size or time changed.
    """
    index = index or IndexConfig()
    known = [*gallery.videos(), *gallery.missing_videos()] if gallery is not None else []
    roots = sorted({video.root for video in known if video.root})
    with tqdm(desc="Looking", unit=" videos", leave=False) as progress:
        scan = scan_places(places, roots=roots, on_file=progress.update)
    with tqdm(total=len(scan.files), desc="Comparing", unit="video", leave=False) as progress:
        return make_plan(
            known, scan, prune=index.prune, prune_vanished=index.prune_vanished, workers=workers,
            on_file=progress.update,
        )  # fmt: skip


def index_videos(
    run: Run,
    gallery: Gallery,
    places: Sequence[Path | str],
    *,
    config: EncodeConfig | None = None,
    index: IndexConfig | None = None,
    known_codes: Callable[[Step], KnownCodes | None] | None = None,
    encode: EncodeSteps | None = None,
) -> IndexReport:
    """Bring a gallery up to date with folders of videos.

    A new or changed video is one transaction, so that a run that was stopped goes on where it was. A file whose size
    and time did not change is not read; one that did is compared by content before it is encoded again. A video under
    another name keeps its codes. One whose file is gone keeps them aside, in no answer, until the file is back. A file
    that cannot be decoded, or that changes meanwhile, is reported and does not stop the rest; if the gallery holds an
    earlier version, that stays. Videos are written in the order of their names: two runs give one gallery.

    Args:
        run: with a hash head; the gallery must be its own.
        gallery: is written to, by nobody else meanwhile.
        places: folders, searched with their subfolders, or single video files; also URLs of them, as text.
        config: batch size, device, and the gallery's windows; None takes these and the defaults.
        index: what becomes of missing videos, how long to wait for another writer, and what searches the codes.
        known_codes: returns the codes of a video where they are known already, so that it is not decoded, else None.
        encode: encodes the rest, in any order, as `encode_here`, which it is by default, does it in theirs.
    Returns:
        An IndexReport.
    Raises:
        UsageError: a place does not exist, other windows than the gallery's, or there is no video and none was
            indexed from there.
        ModelMismatchError: the gallery holds the codes of another model.
        GalleryError: another writer is not done in time.
        StorageError: a server did not say all that it has, and nothing was changed; or it does not answer any more,
            and what was encoded by then is in the gallery.
    """
    gallery.check_model(run.fingerprint, hash_length=run.hash_length)
    index = index or IndexConfig()
    own = with_windows(EncodeConfig(), gallery) if config is None else check_windows(config, gallery)
    with gallery.writing(timeout_seconds=index.wait_seconds):
        plan = plan_index(gallery, places, index=index, workers=own.workers)
        report = _start_report(plan)
        gallery.note_moved_roots()
        _apply_without_encoding(plan, gallery, run.labels, report)
        with tqdm(total=len(plan.to_encode), desc="Indexing", unit="video", disable=not plan.to_encode) as progress:
            encoding = _Encoding(run, gallery, report, progress)
            rest = plan.to_encode
            if known_codes is not None:
                rest = encoding.take_known(rest, known_codes)
            encoding.encode(rest, own, encode or encode_here)
        gallery.note_failures(failures_now(gallery.failures(), report.failed, places=places))
        gallery.settle_search(index.kind)
    return report


def _start_report(plan: Plan) -> IndexReport:
    """Say what is known before anything is encoded."""
    for place, num_videos in plan.vanished.items():
        logger.warning(
            "'%s' holds none of the %d videos that the gallery knows from there: is its disk mounted? They are kept "
            "aside as missing; --prune --prune-vanished would drop them.", readable(place), num_videos,
        )  # fmt: skip
    for failure in plan.failed:
        logger.warning("%s", failure["reason"])
    return IndexReport(
        moved=len(plan.moved),
        missing=len(plan.missing),
        removed=len(plan.removed),
        unchanged=plan.unchanged,
        vanished=[readable(place) for place in plan.vanished],
        failed=list(plan.failed),
    )


def _apply_without_encoding(plan: Plan, gallery: Gallery, labels: Sequence[str], report: IndexReport) -> None:
    """Do all of a plan that needs no network, in one transaction."""
    newly_missing = [video.video for video in plan.missing if video.missing_since is None]
    if not any((plan.moved, plan.copies, plan.touched, plan.back, plan.removed, newly_missing)):
        return
    with gallery.editing() as edits:
        codes = [edits.codes(step.source.video) for step in plan.copies if step.source]  # before anything changes
        for video in plan.removed:
            edits.remove(video.video)
        for name in newly_missing:
            edits.mark_missing(name)
        for step in plan.moved:
            assert step.source is not None
            assert step.root is not None
            edits.move(
                step.source.video, step.video, root=step.root, size_bytes=step.size_bytes, mtime_ns=step.mtime_ns,
                label=folder_label(Path(step.video), labels),
            )  # fmt: skip
            if step.source.missing_since:
                edits.bring_back(step.video)
        for name in plan.back:
            edits.bring_back(name)
        for step in plan.touched:
            edits.touch(step.video, size_bytes=step.size_bytes, mtime_ns=step.mtime_ns)
        for step, batch in zip(plan.copies, codes, strict=True):
            assert step.content_hash is not None
            edits.add(
                step.video, batch, content_hash=step.content_hash, size_bytes=step.size_bytes, mtime_ns=step.mtime_ns,
                label=folder_label(Path(step.video), labels), root=step.root,
            )  # fmt: skip
    for step, batch in zip(plan.copies, codes, strict=True):
        _count(report, step, batch)


@contextmanager
def at_hand(step: Step) -> Iterator[tuple[Path, Seen]]:
    """Hand out the file of a step and what it is, before it is decoded; one on a server is fetched for as long.

    Where that takes long, it calls `loader.stop_point`.

    Raises:
        VideoError: it cannot be read.
        StorageError: its server does not answer.
    """
    if not is_url(step.video):
        facts = _facts(step.video)
        if facts is None:
            raise VideoError(f"video '{step.video}' cannot be read; check the path.")
        yield Path(step.video), _seen(step, facts, Path(step.video))
        return
    with fetched(step.video) as (path, file):
        try:
            yield path, _seen(step, file[1:], path)
        except VideoError as error:
            raise VideoError(str(error).replace(str(path), step.video)) from error


def _seen(step: Step, facts: tuple[int, int], path: Path) -> Seen:
    digest = step.content_hash if facts == (step.size_bytes, step.mtime_ns) else None
    return Seen(*facts, digest or content_hash(path))


def encode_here(
    run: Run,
    steps: Sequence[Step],
    config: EncodeConfig,
    on_engine: Callable[[str], object],
    *,
    with_features: bool = False,
) -> Generator[tuple[VideoResult, Seen | None], None, None]:
    """Encode videos on this machine, and yield each with what its file was before that, in their order.

    Args:
        on_engine, with_features: as for `encode_videos`.
    """
    known, seen = {Path(step.video): step for step in steps}, dict[Path, Seen]()

    @contextmanager
    def prepare(video: Path) -> Iterator[Path]:
        with at_hand(known[video]) as (path, seen[video]):
            yield path

    engine = settle_engine(config, backbone=run.model.backbone.name, num_clips=len(steps))
    config = dataclasses.replace(config, engine=engine)
    videos = (Path(step.video) for step in steps)
    encoded = encode_videos(
        run, videos, config=config, prepare=prepare, on_engine=on_engine, with_features=with_features
    )
    with closing(encoded) as results:
        for result in results:
            yield result, seen.pop(result.video, None)


class _Encoding:
    """New and changed videos on their way into a gallery."""

    def __init__(self, run: Run, gallery: Gallery, report: IndexReport, progress: tqdm[Any]) -> None:
        self._run, self._gallery, self._report, self._progress = run, gallery, report, progress

    def take_known(self, steps: Sequence[Step], known_codes: Callable[[Step], KnownCodes | None]) -> list[Step]:
        """Take in what has codes already; return the rest, also what cannot be read now."""
        taken = set()
        for step in steps:
            known = known_codes(step)
            if known is None:
                continue
            with suppress(VideoError):  # it is told of what is left
                digest = known.content_hash or content_hash(step.video)
                seen = Seen(step.size_bytes, step.mtime_ns, digest)
                if is_unchanged(step, seen):
                    self._add(step, known.codes, seen)
                    taken.add(step.video)
        if taken and "engine" in self._run.config:
            self._gallery.note_engine(str(self._run.config["engine"]))
        return [step for step in steps if step.video not in taken]

    def encode(self, steps: Sequence[Step], config: EncodeConfig, encode: EncodeSteps) -> None:
        """Encode videos, and write them as they come."""
        if not steps:
            return
        known = {Path(step.video): step for step in steps}
        with closing(encode(self._run, steps, config, self._gallery.note_engine)) as results:
            for result, seen in results:
                self._take(known[result.video], result, seen)

    def _take(self, step: Step, result: VideoResult, seen: Seen | None) -> None:
        """Write the codes of a video into the gallery, or note why there are none."""
        name = step.video
        if result.codes is None or seen is None:
            self._fail(name, str(result.error).replace(str(Path(name)), name))
            return
        if not is_unchanged(step, seen):
            self._fail(name, f"video '{name}' changed while it was indexed; run the command again.")
            return
        self._add(step, result.codes, seen)

    def _add(self, step: Step, codes: CodeBatch, seen: Seen) -> None:
        label = folder_label(Path(step.video), self._run.labels)
        self._gallery.add(step.video, codes, **seen._asdict(), label=label, root=step.root)
        _count(self._report, step, codes)
        self._progress.update()

    def _fail(self, name: str, reason: str) -> None:
        logger.warning("%s", reason)
        self._report.failed.append({"video": name, "reason": reason})
        self._progress.update()


def _facts(path: Path | str) -> tuple[int, int] | None:
    """Return the size and time of a file as they are now; None without it."""
    try:
        facts = Path(path).stat()
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns


def is_unchanged(step: Step, seen: Seen) -> bool:
    """Tell whether a file is still what it was; one on a server was looked at again once it was fetched."""
    return is_url(step.video) or _facts(step.video) == (seen.size_bytes, seen.mtime_ns)


def _count(report: IndexReport, step: Step, codes: CodeBatch) -> None:
    report.clips += len(codes.codes)
    report.flat_windows += codes.num_flat
    report.flat_videos += codes.num_flat > 0
    if not len(codes.codes):
        report.without_codes.append(step.video)
    if step.is_known:
        report.updated += 1
    else:
        report.added += 1


def folder_label(video: Path, labels: Sequence[str]) -> str | None:
    """Return the name of the folder a video lies in where it is one of the classes, else None.

    A label is what is known of a video, never a guess of the network.
    """
    return video.parent.name if video.parent.name in labels else None
