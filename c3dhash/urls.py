"""Names of files on servers: s3://bucket/folder/name.mp4, or whatever else fsspec opens. Nobody is asked here.

Such a name is text: as a `Path` it would lose one of its slashes. A password has no place in it, since names are
stored in galleries and printed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from c3dhash.errors import UsageError

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+)://(?P<rest>.*)", re.DOTALL)  # "C://" is none
_LOCAL = ("file", "local")
_WITH_QUERIES = ("http", "https")  # elsewhere a question mark is a letter like others


def is_url(name: str | os.PathLike[str]) -> bool:
    """Tell whether a name is one of a file or a folder on a server."""
    return isinstance(name, str) and _URL.match(name) is not None


def checked_url(url: str) -> str:
    """Return the URL of a place as galleries have it.

    Raises:
        UsageError: it names nothing, or holds what is secret; the text does not repeat it.
    """
    found = _URL.fullmatch(url)
    assert found is not None  # `is_url` was asked
    scheme, rest = found["scheme"].lower(), found["rest"].rstrip("/")
    user, at, _ = rest.partition("/")[0].rpartition("@")
    if (at and ":" in user) or (scheme in _WITH_QUERIES and "?" in rest):
        raise UsageError(
            f"a {scheme}:// URL holds a password or a signature, which would be stored with the names of its videos: "
            "give it to fsspec by its settings or the environment (docs/guide.md says how)."
        )
    if scheme in _LOCAL:
        raise UsageError(f"'{url}' is on this machine: name it by its path.")
    if not rest or "::" in rest:
        raise UsageError(f"'{url}' is no folder on a server; s3://bucket/folder is one.")
    return f"{scheme}://{rest}"


def top_of(url: str) -> str:
    """Return what a URL begins with, up to the name of the server or bucket."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


def inside(folder: str) -> str:
    """Return what the names of all begin with that lie in a folder, be it here or on a server."""
    return f"{folder}/" if is_url(folder) else os.path.join(folder, "")  # noqa: PTH118 - names are text


def lies_in(name: str, folder: str) -> bool:
    """Tell whether a name is that of a folder, or of what is in it, here or on a server."""
    return name == folder or name.startswith(inside(folder))


def absolute(name: str | os.PathLike[str]) -> str:
    """Return a path as seen from everywhere; a URL is that."""
    return name if isinstance(name, str) and is_url(name) else str(Path(name).absolute())
