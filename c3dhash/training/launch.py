"""Start and end as one of several processes: PyTorch's launcher, and what a user is told where something goes wrong.

    torchrun --nproc-per-node 2 -m c3dhash train ...

starts this program twice and says so in the environment. What goes wrong in one process ends all of them; the first
that fails tells it, in one line, and the others are silent.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

from c3dhash.config import TrainConfig
from c3dhash.errors import C3DHashError, RankError, UsageError
from c3dhash.models.runs import CONFIG_FILE
from c3dhash.training.ranks import ALONE, LostRankError, Ranks
from c3dhash.training.start import can_resume

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
WAIT = timedelta(minutes=30)  # for another rank; one that dies is noticed at once
ERROR_WAIT = timedelta(seconds=10)  # to learn whether another rank has told its error
ASKING_SECONDS = 2.0  # for all ranks to ask that
ERROR_KEY = "errors"


def launched() -> Ranks:
    """Return what the environment says of ranks; without a launcher, ALONE.

    Raises:
        UsageError: it is no launcher's.
    """
    given = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR"}.issubset(given):
        return ALONE
    try:
        rank, size = int(given["RANK"]), int(given["WORLD_SIZE"])
        ranks = Ranks(rank, size, int(given.get("LOCAL_RANK", rank)), int(given.get("LOCAL_WORLD_SIZE", size)))
    except ValueError:
        ranks = Ranks(rank=-1)
    if not (0 <= ranks.rank < ranks.size and 0 <= ranks.local_rank < ranks.local_size <= ranks.size):
        raise UsageError(
            f"the environment ({', '.join(f'{name}={value}' for name, value in given.items())}) is not what torchrun "
            "makes: start with torchrun, or unset these variables."
        )
    return ranks


def launch_id() -> str | None:
    """Name the launcher of this process, the same when it starts it again; None without one that does."""
    if "TORCHELASTIC_RESTART_COUNT" not in os.environ:
        return None
    process_id, since = os.getppid(), ""
    with suppress(OSError, IndexError):  # not Linux
        since = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[19]  # ticks; numbers come again
    return f"{platform.node()} {process_id} {since}"


def goes_on(run_dir: Path, ranks: Ranks) -> bool:
    """Tell whether a run is to be taken up, since this launcher has begun it and lost a process; the first rank looks.

    Raises:
        UsageError: somebody else has begun it.
    """
    path = run_dir / CONFIG_FILE
    is_there, is_ours = path.is_file(), False
    with suppress(OSError, ValueError, AttributeError):
        begun_by = json.loads(path.read_text(encoding="utf-8")).get("launch")
        is_ours = begun_by is not None and begun_by == launch_id()
    is_there, is_ours, can_go_on = ranks.gather((is_there, is_ours, can_resume(run_dir)))[0]
    if is_there and not is_ours:
        raise UsageError(f"'{run_dir}' holds a run already: go on with --resume {run_dir}, or choose another --out.")
    return is_there and can_go_on


@contextmanager
def joined(config: TrainConfig, *, run_dir: Path) -> Iterator[Ranks]:
    """Within it the processes that a launcher started know each other; their first error is the one that is raised.

    Raises:
        UsageError: they cannot compute on this device.
        RankError: what went wrong, in the one process that tells it; the others exit.
    """
    ranks = launched()
    if ranks.size == 1:
        yield ALONE
        return
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # not in every build of PyTorch
    from torch.distributed.rendezvous import rendezvous

    on_cuda = _take_gpu(config.device, ranks)
    start = f"c3dhash/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)} of {ranks.size}"  # not of the start before
    store = PrefixStore(start, next(rendezvous("env://", timeout=WAIT))[0])
    try:
        with _ends_on_sigterm():
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if on_cuda else "gloo", store=store, rank=ranks.rank, world_size=ranks.size,
                timeout=WAIT,
            )  # fmt: skip
            yield ranks
    except BaseException as error:
        for number in (signal.SIGTERM, signal.SIGINT):  # it ends already
            if threading.current_thread() is threading.main_thread():
                signal.signal(number, signal.SIG_IGN)
        if isinstance(error, KeyboardInterrupt):
            if ranks.is_first:
                raise
            raise SystemExit(130) from error
        if dist.is_initialized() and not on_cuda:  # NCCL may wait for the others here
            dist.destroy_process_group()  # who waits for this process learns that it is gone
        code = 2 if isinstance(error, UsageError) else 1
        if isinstance(error, SystemExit) or not _is_first_error(store, ranks):
            raise SystemExit(code) from error
        raise RankError(_told(error, ranks, run_dir), exit_code=code) from error
    dist.destroy_process_group()


def _take_gpu(device: str, ranks: Ranks) -> bool:
    """Give this process its GPU, where it is to compute on one; tell whether it does."""
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return False
    if device not in ("auto", "cuda"):
        raise UsageError(
            f"device ({device!r}) must be auto, cpu or cuda for several processes: each has a GPU of its own."
        )
    if ranks.local_size > torch.cuda.device_count():
        raise UsageError(
            f"{ranks.local_size} processes on this machine need as many GPUs, and this PyTorch sees "
            f"{torch.cuda.device_count()}: start fewer with --nproc-per-node, or use --device cpu."
        )
    torch.cuda.set_device(ranks.local_rank)
    return True


class _Ended(BaseException):
    """The launcher ends this process."""


@contextmanager
def _ends_on_sigterm() -> Iterator[None]:
    """Let SIGTERM, by which a launcher ends the processes that are left, raise _Ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise _Ended

    previous = signal.signal(signal.SIGTERM, end)
    yield
    signal.signal(signal.SIGTERM, previous)  # after an error `joined` has the last word


def _is_first_error(store: Any, ranks: Ranks) -> bool:
    """Tell whether no other rank has told its error."""
    try:
        store.set_timeout(ERROR_WAIT)
        is_first: bool = store.add(ERROR_KEY, 1) == 1
        end = time.monotonic() + ASKING_SECONDS
        while ranks.is_first and store.add(ERROR_KEY, 0) < ranks.size and time.monotonic() < end:
            time.sleep(0.05)  # the store may go with this process, and the others ask it, too
        return is_first
    except RuntimeError:  # it is gone with the process that held it
        return True


def _told(error: BaseException, ranks: Ranks, run_dir: Path) -> str:
    """Return what a user is told about an error that ends all processes."""
    where = "" if ranks.is_first else f"process {ranks.rank} on {platform.node()}: "
    if isinstance(error, C3DHashError) and not isinstance(error, LostRankError):
        return f"{where}{error}"
    text = str(error) if isinstance(error, LostRankError) else f"{type(error).__name__}: {error}"
    if isinstance(error, _Ended):
        text = "ended by its launcher, as another process of it was lost, or it was told to."
    way_on = f" '{run_dir}' holds the epochs before: go on with --resume {run_dir}." if can_resume(run_dir) else ""
    return f"{where}{text}{way_on}"
