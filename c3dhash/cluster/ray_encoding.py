"""Videos -> codes on a Ray cluster: clips are made wherever there is room, and a network sees them where it is.

    steps ──> decoders: tasks, a core each ──> clips ──> networks: actors ──> features ──> here: codes, video by video

Ray Data streams from one to the next and holds back who is too fast. Features come in any order, and are put together
here, where the heads read them as they do without Ray: the codes are the same. What a lost worker or machine was about
is done again by another; nothing is written there.

Note [What workers get]
    The network and the settings, by Ray, which pickles them: whoever may join the cluster may run programs on it, and
    on this machine. Videos they read themselves, by the names that these have here: from a file system that all share,
    or from a server that lets each of them in. No password is passed on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from c3dhash.config import EncodeConfig
from c3dhash.errors import ClusterError, MissingExtraError, UsageError, VideoError
from c3dhash.gallery.indexing import EncodeSteps, Seen, at_hand
from c3dhash.gallery.plan import Step
from c3dhash.models.clip_stream import ClipStream, Message
from c3dhash.models.encode import Collected, Encoder, VideoResult, video_result, window_options
from c3dhash.models.runs import Run

try:
    import pyarrow as pa
    import ray
    import ray.data
except ImportError as error:
    raise MissingExtraError("--engine ray needs the extra ray: pip install 'c3dhash[ray]'") from error

KNOCK_SECONDS = 10.0
DECODER_BYTES = 512 << 20  # told to Ray, which also keeps decoders and networks apart by that
END = pa.schema([("error", pa.string()), ("size_bytes", pa.int64()), ("mtime_ns", pa.int64()), ("hash", pa.string())])
PLACE = pa.schema([("video", pa.int64()), ("place", pa.int64()), ("is_end", pa.bool_())])  # a message of a video
SPAN = pa.schema([("start_seconds", pa.float64()), ("end_seconds", pa.float64())])
CLIPS = pa.schema([*PLACE, *SPAN, *END, ("clip", pa.large_binary())])
FEATURES = pa.schema([*PLACE, *SPAN, *END, ("feature", pa.large_binary()), ("engine", pa.string())])


@contextlib.contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Join a Ray cluster, or start one of this machine alone, for as long as the context lasts.

    Args:
        address: "auto", HOST:PORT, or ray://HOST:PORT; None starts one.
    Raises:
        ClusterError: there is none.
    """
    if ray.is_initialized():  # the caller's own
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if address is None:
        os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "120")  # not 30: its programs may be on a cold disk
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        _knock(address)
        ray.init(address=address or "local", include_dashboard=False if address is None else None, **quiet)
    except Exception as error:
        what = "no Ray could be started on this machine" if address is None else f"no Ray cluster at '{address}'"
        raise ClusterError(f"{what} ({_first_line(error)}): `ray status` says what runs.") from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str | None) -> None:
    """Raise an OSError where nobody listens at an address; Ray itself would wait for minutes."""
    host, _, port = (address or "").rpartition("//")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS).close()


@contextlib.contextmanager
def on_ray(address: str | None) -> Iterator[EncodeSteps]:
    """Hand out what does on a cluster what `gallery.indexing.encode_here` does, in any order.

    Args:
        address: as of `cluster`; it is joined at once, and one of this machine alone started when there is something
            to encode.
    Raises:
        ClusterError: there is none.
    """
    if address is not None:
        with cluster(address):
            yield _encode
        return

    def start_and_encode(
        run: Run,
        steps: Sequence[Step],
        config: EncodeConfig,
        on_engine: Callable[[str], object],
        *,
        with_features: bool = False,
    ) -> Generator[tuple[VideoResult, Seen | None], None, None]:
        with cluster(None):
            yield from _encode(run, steps, config, on_engine, with_features=with_features)

    yield start_and_encode


def _encode(
    run: Run,
    steps: Sequence[Step],
    config: EncodeConfig,
    on_engine: Callable[[str], object],
    *,
    with_features: bool = False,
) -> Generator[tuple[VideoResult, Seen | None], None, None]:
    """Encode videos on the cluster that was joined.

    Raises:
        ClusterError: it could not.
    """
    if config.engine not in ("auto", "torch"):
        raise UsageError(f"engine ({config.engine!r}) is not for Ray, where PyTorch computes.")
    config = dataclasses.replace(config, engine="torch")
    arriving, heads, engines = _Arriving(steps), Encoder(run.model, device="cpu", precision="fp32"), set[str]()
    try:
        for table in _features(run, steps, config):
            for name in set(table["engine"].to_pylist()) - engines - {None}:
                engines.add(name)
                on_engine(name)
            for step, collected, error, seen in arriving.take(table):
                yield video_result(Path(step.video), error, collected, heads, with_features=with_features), seen
    except ray.exceptions.RayError as error:
        raise ClusterError(f"Ray could not go on ({_first_line(error)}); the same command goes on.") from error
    if arriving.num_left:
        raise ClusterError(f"Ray lost {arriving.num_left} of {len(steps)} videos; the same command goes on with them.")


def _features(run: Run, steps: Sequence[Step], config: EncodeConfig) -> Iterator[pa.Table]:
    """Yield what the network says about clips, as it is there: tables of FEATURES."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    share, networks = _shares(config.device)
    model = ray.put(run)
    decoder = {
        "steps": ray.put(list(steps)), "size": run.model.clip_size[1], "config": config,
        "options": {**window_options(run.model, config), "crop_bars": config.crops_bars, "skip_flat": True},
    }  # fmt: skip
    numbers = ray.data.from_arrow([pa.table({"video": [number]}) for number in range(len(steps))])
    clips = numbers.map_batches(
        _decode, batch_size=1, batch_format="pyarrow", fn_kwargs=decoder, num_cpus=share, memory=DECODER_BYTES
    )
    features = clips.map_batches(
        _Network, batch_size=config.batch_size, batch_format="pyarrow",
        fn_constructor_kwargs={"run": model, "config": config}, **networks,
    )  # fmt: skip
    yield from features.iter_batches(batch_size=None, batch_format="pyarrow")


def _shares(device: str) -> tuple[float, dict[str, Any]]:
    """Return how many cores a decoder takes, and how many networks there may be with what each.

    A network takes a GPU where there are any; else a core each, of all but one in eight, which decode.
    """
    there = ray.cluster_resources()
    num_gpus, num_cpus = int(there.get("GPU", 0)), int(there.get("CPU", 1))
    if num_gpus and device != "cpu":
        return 1, {"num_gpus": 1, "num_cpus": 0, "compute": ray.data.ActorPoolStrategy(min_size=1, max_size=num_gpus)}
    most = max(1, num_cpus - max(1, num_cpus // 8))
    share = 1 if num_cpus > 1 else 0.5
    return share, {"num_cpus": share, "compute": ray.data.ActorPoolStrategy(min_size=1, max_size=most)}


def _decode(
    videos: pa.Table, *, steps: Any, size: int, config: EncodeConfig, options: dict[str, Any]
) -> Iterator[pa.Table]:
    """Yield the clips of videos, and their ends: tables of CLIPS. What a file is is noted before it is decoded.

    Args:
        steps: a reference to all of them.
        size, config, options: as of `ClipStream`.
    """
    all_steps = ray.get(steps)
    for number in videos["video"].to_pylist():
        step, seen = all_steps[number], list[Seen]()

        @contextlib.contextmanager
        def prepare(_: Path, step: Step = step, seen: list[Seen] = seen) -> Iterator[Path]:
            with at_hand(step) as (path, now):
                seen.append(now)
                yield path

        stream = ClipStream(
            [Path(step.video)], size=size, config=dataclasses.replace(config, workers=1), options=options,
            prepare=prepare,
        )  # fmt: skip
        place = 0
        with contextlib.closing(stream):
            for chunk in stream.chunks():
                rows = [_row(number, place + ahead, message, seen) for ahead, message in enumerate(chunk)]
                place += len(rows)
                if rows:
                    yield pa.Table.from_pylist(rows, schema=CLIPS)


def _row(number: int, place: int, message: Message, seen: list[Seen]) -> dict[str, Any]:
    row: dict[str, Any] = {"video": number, "place": place, "is_end": message.is_end}
    if message.span is not None:
        row |= {"start_seconds": message.span[0], "end_seconds": message.span[1]}
    if message.clip is not None:
        row["clip"] = message.clip.tobytes()
    if message.is_end:
        row["error"] = None if message.error is None else str(message.error)
        row |= dict(zip(("size_bytes", "mtime_ns", "hash"), seen[0], strict=True)) if seen else {}
    return row


class _Network:
    """A backbone in a process of Ray's: tables of CLIPS -> tables of FEATURES."""

    def __init__(self, *, run: Any, config: EncodeConfig) -> None:
        model = ray.get(run).model
        self._shape = (model.clip_size[0], model.clip_size[1], model.clip_size[1], -1)
        self._encoder = Encoder(model, device=config.device, precision=config.precision, engine="torch")

    def __call__(self, table: pa.Table) -> pa.Table:
        clips = [np.frombuffer(clip.as_buffer(), np.uint8) for clip in table["clip"] if clip.is_valid]
        features: Iterator[np.ndarray] = iter(())
        if clips:
            features = iter(self._encoder.features(np.stack([clip.reshape(self._shape) for clip in clips])))
        told = [next(features).tobytes() if clip.is_valid else None for clip in table["clip"]]
        columns = [table[name] for name in CLIPS.names if name != "clip"]
        engine = [self._encoder.engine_name] * len(table)
        return pa.Table.from_arrays([*columns, pa.array(told, pa.large_binary()), engine], schema=FEATURES)


@dataclass(eq=False)
class _Parts:
    """What is there of a video: its messages by their places; the last of them, once it is there."""

    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    end: dict[str, Any] | None = None


class _Arriving:
    """Features of clips, in any order -> videos, each once all of it is there."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._parts: dict[int, _Parts] = {}
        self.num_left = len(steps)

    def take(self, table: pa.Table) -> Iterator[tuple[Step, Collected, VideoError | None, Seen | None]]:
        """Take features in, and yield the videos that are complete."""
        for row in table.to_pylist():
            parts = self._parts.setdefault(row["video"], _Parts())
            if row["is_end"]:
                parts.end = row
            else:
                parts.rows[row["place"]] = row
            if parts.end is not None and len(parts.rows) == parts.end["place"]:
                del self._parts[row["video"]]
                self.num_left -= 1
                yield self._steps[row["video"]], *_put_together(parts.rows, parts.end)


def _put_together(
    rows: dict[int, dict[str, Any]], end: dict[str, Any]
) -> tuple[Collected, VideoError | None, Seen | None]:
    collected = Collected()
    for _, row in sorted(rows.items()):
        span = (row["start_seconds"], row["end_seconds"])
        if row["feature"] is None:
            collected.flat_spans.append(span)
        else:
            collected.append(span, np.frombuffer(row["feature"], np.float32))
    error = None if end["error"] is None else VideoError(end["error"])
    seen = None if end["hash"] is None else Seen(end["size_bytes"], end["mtime_ns"], end["hash"])
    return collected, error, seen


def _first_line(error: BaseException) -> str:
    """Return what an error says, in a line: of one that was raised in a worker, what was raised there."""
    lines = [line.strip() for line in re.sub(r"\x1b\[\d+m", "", str(error)).splitlines() if line.strip()]
    raised = [match[1] for line in lines if (match := re.match(r"[\w.]+(?:Error|Exception|Exit): (.+)", line))]
    return (raised[-1] if raised else lines[0] if lines else type(error).__name__).rstrip(".")
