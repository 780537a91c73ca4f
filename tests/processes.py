"""Several real processes, as a launcher starts them, each a fork of one that has imported PyTorch already."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from tiny import NormedBackbone, TinyBackbone

from c3dhash.cli import main
from c3dhash.models.backbones import BACKBONES

SECONDS = 120
NOTHING: Mapping[str, str] = {}

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["c3dhash.training.train", "processes"])


class Processes:
    """`size` processes that call function(*arguments), each with what it prints in a file.

    Args:
        folder: of these files, and where the processes run.
        extra: environment variables.
    """

    def __init__(
        self,
        size: int,
        function: Callable[..., Any],
        *arguments: Any,
        folder: Path,
        extra: Mapping[str, str] = NOTHING,
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.outputs = [folder / f"process {rank} of {size}.txt" for rank in range(size)]
        self.processes = []
        for rank, output in enumerate(self.outputs):
            env = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size,
                   "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "C3DHASH_OFFLINE": 1, **extra}  # fmt: skip
            process = _context.Process(target=_call, args=(env, output, function, arguments))
            process.start()
            self.processes.append(process)

    def results(self) -> list[Any]:
        """Wait, and return what the functions did; all of them have."""
        codes = self.exit_codes()
        assert codes == [0] * len(codes), "\n".join(path.read_text() for path in self.outputs)
        return [pickle.loads(path.with_suffix(".result").read_bytes()) for path in self.outputs]

    def exit_codes(self) -> list[int]:
        try:
            for process in self.processes:
                process.join(SECONDS)
            return [process.exitcode for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()

    def lines(self) -> list[str]:
        """Return the lines of errors that the processes have printed."""
        return [line for path in self.outputs for line in path.read_text().splitlines() if line.startswith("c3dhash: ")]


def _call(env: dict[str, Any], output: Path, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.environ.update({name: str(value) for name, value in env.items()})
    os.chdir(output.parent)
    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which who runs the tests in the background ignores
    BACKBONES["tiny"], BACKBONES["normed"] = TinyBackbone, NormedBackbone
    try:
        output.with_suffix(".result").write_bytes(pickle.dumps(function(*arguments)))
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def command(arguments: list[str]) -> None:
    """Run the command line."""
    main(arguments)
