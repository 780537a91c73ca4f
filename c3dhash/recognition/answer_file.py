"""A CSV file with the answer about each video, that a second start goes on with.

    video,prediction,score,prediction2,score2,...,failed,made_by

A line is written when its video is through. Videos whose line was cut by a kill, and those that could not be read, are
taken up again; the others are left alone. `made_by` stands for the run and the settings, which must be the same.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from c3dhash.errors import UsageError
from c3dhash.files import replacing

if TYPE_CHECKING:
    from c3dhash.models.runs import Run
    from c3dhash.recognition.recognize import Recognition


class AnswerFile:
    """Such a file, open to be gone on with.

    Args:
        path: new, empty, or of this run and these settings.
        made_by: of `made_by`.
        top: classes a line.
    Raises:
        UsageError: it holds something else, or its folder is not there.
    """

    def __init__(self, path: Path, *, made_by: str, top: int) -> None:
        self._header = ["video", *_columns(top), "failed", "made_by"]
        self._made_by = made_by
        if not path.parent.is_dir():
            raise UsageError(f"'{path}' cannot be written: there is no folder '{path.parent}'.")
        kept = self._read(path)
        self._done = {Path(row[0]).absolute() for row in kept}
        with replacing(path) as partial:
            partial.write_bytes(_as_csv([self._header, *kept]))
        self._file = path.open("ab", buffering=0)

    def _read(self, path: Path) -> list[list[str]]:
        """Return the rows of an earlier start that stand."""
        if not os.path.lexists(path):
            return []
        try:
            text = path.read_bytes().decode("utf-8", "surrogateescape")
        except OSError as error:
            raise UsageError(f"'{path}' cannot be read ({error.strerror}); name another file.") from error
        if not text:
            return []
        whole = text[: text.rfind("\n") + 1]  # not a line that was cut
        rows = list(csv.reader(io.StringIO(whole, newline="")))
        if not rows or rows[0] != self._header:
            raise UsageError(f"'{path}' holds no answers of this kind and stays as it is; name another file.")
        rows = [row for row in rows[1:] if len(row) == len(self._header)]
        if any(row[-1] != self._made_by for row in rows):
            raise UsageError(f"'{path}' holds answers of another run, or of other settings; name another file.")
        return [row for row in rows if not row[-2]]

    def __enter__(self) -> AnswerFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

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


def made_by(run: Run, settings: Mapping[str, Any]) -> str:
    """Return 12 hexadecimal digits for a run, its class head, and what else decides its answers."""
    digest = hashlib.blake2b(digest_size=6)
    digest.update(json.dumps([run.fingerprint, run.labels, run.is_multi_label, dict(settings)], default=str).encode())
    for name, tensor in sorted(run.model.state_dict().items()):
        if name.startswith("class_"):
            digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


def _columns(top: int) -> list[str]:
    return [f"{name}{rank if rank > 1 else ''}" for rank in range(1, top + 1) for name in ("prediction", "score")]


def _as_csv(rows: list[list[str]]) -> bytes:
    """Write rows; names keep the bytes that they have on the disk."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode("utf-8", "surrogateescape")
