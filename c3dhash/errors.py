"""Every error that c3dhash raises on purpose.

    C3DHashError
    ├── UsageError              an argument or option has a value that is not allowed
    │   └── MissingExtraError   an optional dependency is not installed
    ├── VideoError              a file cannot be decoded to the clip that was asked for
    ├── DatasetError            a data set or one of its lists is wrong
    ├── CheckpointError         a checkpoint or a run directory cannot be used
    ├── TrainingError           training cannot go on
    ├── RankError               one of several processes cannot go on, and tells it for all
    ├── ExportError             a run cannot be written in another format
    ├── ClusterError            other machines cannot be used, or were lost
    ├── StorageError            files on a server cannot be listed or fetched
    ├── CodesError              codes, labels or a codes file are malformed
    └── GalleryError            a gallery cannot be opened or written
        ├── LimitError          a gallery is too large for what is asked of it where it lies
        └── ModelMismatchError  a gallery holds the codes of another model

A message says what is wrong with its value, what is allowed, and what to do. The command line prints
it on one line and exits with 2 for a UsageError, with 1 for the rest.
"""


class C3DHashError(Exception):
    """Any failure that c3dhash foresaw; its text is meant for the user."""


class UsageError(C3DHashError):
    """An argument or option has a value that is not allowed."""


class MissingExtraError(UsageError):
    """An optional dependency is not installed; the text names the extra to install."""


class VideoError(C3DHashError):
    """A file cannot be decoded to the clip that was asked for."""


class DatasetError(C3DHashError):
    """A data set or one of its lists is wrong."""


class CheckpointError(C3DHashError):
    """A checkpoint or a run directory cannot be used."""


class TrainingError(C3DHashError):
    """Training cannot go on."""


class RankError(C3DHashError):
    """One of several processes that train together cannot go on; it tells it for all, and the others are silent."""

    def __init__(self, text: str, *, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class ExportError(C3DHashError):
    """A run cannot be written in another format."""


class EngineError(C3DHashError):
    """A library other than PyTorch cannot compute a network, or computes something else."""


class ClusterError(C3DHashError):
    """Other machines, or an engine that distributes work, cannot be used, or were lost."""


class StorageError(C3DHashError):
    """Files on a server cannot be listed or fetched now: nothing is known about any of them."""


class CodesError(C3DHashError):
    """Codes, labels or a codes file are malformed."""


class GalleryError(C3DHashError):
    """A gallery cannot be opened or written."""


class LimitError(GalleryError):
    """A gallery is too large for what is asked of it where it lies."""


class ModelMismatchError(GalleryError):
    """A gallery holds the codes of another model."""
