"""Content hashes of many files, by threads, in order; Ctrl-C is answered in the middle of a file of any size.

One on a server is fetched for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from c3dhash.errors import VideoError
from c3dhash.urls import is_url
from c3dhash.video.fetching import fetched
from c3dhash.video.loader import prefetch
from c3dhash.video.reader import content_hash


def hash_files(names: Iterable[str], *, workers: int) -> Iterator[str | VideoError]:
    """Yield the content hash of each file, or the error that kept it from being read."""
    return prefetch(_hash_file, names, workers=workers)


def _hash_file(name: str) -> str | VideoError:
    try:
        if is_url(name):
            with fetched(name) as (path, _):
                return content_hash(path)
        return content_hash(name)
    except VideoError as error:
        return error
