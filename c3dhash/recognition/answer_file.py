"""A CSV file with the answer about each video, that a second start goes on with.

    video,prediction,score,prediction2,score2,...,failed,made_by

A line is written when its video is through. Videos whose line was cut by a kill, and those that could not be read, are
taken up again; the others are left alone. `made_by` stands for the run and the settings, which must be the same. Where
the system has locks, one process writes.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from c3dhash.errors import UsageError
from c3dhash.files import replacing, require_free
from c3dhash.models.scores import ranked_columns

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from c3dhash.models.runs import Run
    from c3dhash.recognition.results import Recognition


class AnswerFile:
    """Such a file, open to be gone on with.

    Args:
        path: new, empty, or of this run and these settings.
        made_by: of `made_by`.
        top: classes a line.
    Raises:
        UsageError: it is or holds something else, another process writes it, or its folder is not there.
    """

    def __init__(self, path: Path, *, made_by: str, top: int) -> None:
        self._header = ["video", *ranked_columns(top), "failed", "made_by"]
        self._made_by = made_by
        path = Path(os.path.realpath(path))  # a link stays one
        if path.exists() and not path.is_file():
            raise UsageError(f"'{path}' is no file; name another.")
        if not path.exists():
            require_free(path)
        self._held = path.open("ab")  # keeps the lock also where the file is replaced
        self._lock(self._held, path)
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        kept = self._standing(text, path)
        self._done = {Path(row[0]).absolute() for row in kept}
        content = _as_csv([self._header, *kept])
        if content == text.encode("utf-8", "surrogateescape"):
            self._file = self._held
            return
        with replacing(path) as partial:
            partial.write_bytes(content)
        self._file = path.open("ab")
        self._lock(self._file, path)

    def _lock(self, file: BinaryIO, path: Path) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise UsageError(f"'{path}' is being written by another process; wait for it, or name another.") from None
        except OSError:  # a file system without locks
            return

    def _standing(self, text: str, path: Path) -> list[list[str]]:
        """Return the rows of an earlier start that stand: not one that was cut, nor those of videos that failed."""
        if not text:
            return []
        strange = UsageError(f"'{path}' holds no answers of this kind and stays as it is; name another file.")
        if not text.startswith(",".join(self._header) + "\n"):
            self.close()
            raise strange
        try:
            rows = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1], newline="")))[1:]
        except csv.Error:
            self.close()
            raise strange from None
        rows = [row for row in rows if len(row) == len(self._header)]
        if any(row[-1] != self._made_by for row in rows):
            self.close()
            raise UsageError(f"'{path}' holds answers of another run, or of other settings; name another file.")
        return [row for row in rows if not row[-2]]

    def close(self) -> None:
        """Let go of the file."""
        for file in (self._held, getattr(self, "_file", None)):
            if file is not None:
                file.close()

    def __enter__(self) -> AnswerFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __contains__(self, video: object) -> bool:
        """Tell whether the file has the answer about a video."""
        return isinstance(video, Path) and video.absolute() in self._done

    def __len__(self) -> int:
        return len(self._done)

    def add(self, recognition: Recognition) -> None:
        """Write a line."""
        cells = [value for one in recognition.top for value in (one.label, f"{one.probability:.6f}")]
        cells += [""] * (len(self._header) - 3 - len(cells))
        failed = " ".join(str(recognition.error).split()) if recognition.error is not None else ""
        self._file.write(_as_csv([[str(recognition.video), *cells, failed, self._made_by]]))
        self._file.flush()


def made_by(runs: Sequence[Run], settings: Mapping[str, Any]) -> str:
    """Return 12 hexadecimal digits for the runs that answer, their class heads, and what else decides the answers."""
    digest = hashlib.blake2b(digest_size=6)
    for run in runs:
        about = [run.fingerprint, run.labels, run.is_multi_label, dict(settings)]
        digest.update(json.dumps(about, default=str).encode())
        for name, tensor in sorted(run.model.state_dict().items()):
            if name.startswith("class_"):
                digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


def _as_csv(rows: list[list[str]]) -> bytes:
    """Write rows; names keep the bytes that they have on the disk."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode("utf-8", "surrogateescape")
