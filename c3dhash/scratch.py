"""Folders for what goes when it was used, also where its process was killed: the next one of its kind removes it.

The lock in a folder is held while its process lives, and so tells a leftover from what is in use.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType

try:
    import fcntl
except ImportError:  # Windows: what a kill leaves stays
    fcntl = None  # type: ignore[assignment]

LOCK_NAME = "in-use"


class ScratchFolder:
    """A folder in the system's temporary one, that only this user may enter; gone after `close`.

    Args:
        kind: of folders: those that dead processes left are removed.
    Attributes:
        path: the folder.
    """

    def __init__(self, kind: str) -> None:
        prefix = f"c3dhash-{kind}-"
        _remove_leftovers(Path(tempfile.gettempdir()), prefix)
        made = Path(tempfile.mkdtemp(prefix="c3dhash-starting-"))
        self._lock_file = (made / LOCK_NAME).open("w")
        if fcntl is not None:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.path = made.rename(
                made.with_name(prefix + made.name.removeprefix("c3dhash-starting-"))
            )  # locked by then
        else:
            self.path = made

    def close(self) -> None:
        """Remove the folder, with all that is in it."""
        self._lock_file.close()  # where a file that is open cannot be removed
        shutil.rmtree(self.path, ignore_errors=True)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _remove_leftovers(folder: Path, prefix: str) -> None:
    """Remove the folders of processes that are gone."""
    if fcntl is None:
        return
    for path in folder.glob(f"{prefix}*"):
        with suppress(OSError):
            if path.lstat().st_uid != os.getuid():
                continue
            with (path / LOCK_NAME).open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its process lives
                shutil.rmtree(path)  # which refuses links
