"""Names of videos and folders as strangers see them: relative to the roots of the gallery; and texts without paths.

With one root, a name is the path in it. With several, or with names that other programs gave beside them, the last part
of the root's own path stands before it:

    /srv/films/a/b.mp4      root /srv/films alone               a/b.mp4
                            roots /srv/films and /srv/clips     films/a/b.mp4
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from c3dhash.gallery.roots import holds, split

QUOTED_PATH = re.compile(r"(?P<quote>['\"`])(?P<path>/[^'\"`]*)(?P=quote)")
BARE_PATH = re.compile(r"(?<![\w/.:<])(?:/[^\s'\"`/,;()]+)+/?")


class Names:
    """What a gallery's videos are called by strangers.

    Args:
        gallery: what it is called itself.
        roots: as of `Gallery.root_folders`.
        own: paths of the gallery and of the run, or where else they are -> what they are called.
    """

    def __init__(self, gallery: str, roots: Sequence[str], *, own: Mapping[str, str]) -> None:
        self.gallery, self._own = gallery, dict(own)
        self._folders: dict[str, str] = {}  # a root -> what stands before the paths in it
        for root in roots:
            if root:
                self._folders[root] = "" if len(roots) == 1 else self._free_prefix(PurePath(root).name or "root")

    def _free_prefix(self, name: str) -> str:
        taken, number, prefix = set(self._folders.values()), 1, name
        while prefix in taken:
            number += 1
            prefix = f"{name} ({number})"
        return prefix

    def shown(self, video: str) -> str:
        """Return what a video of the gallery is called, by its name in there."""
        around = [root for root in self._folders if holds(root, video)]
        if around:
            root = max(around, key=len)
            return self._joined(root, split(video, root))
        return PurePath(video).name if video.startswith("/") else video

    def shown_folder(self, video: str) -> str:
        """Return the folder of a video as strangers see it; "" at the top."""
        return self.shown(video).rpartition("/")[0]

    def place(self, folder: str) -> tuple[str, str]:
        """Return the root and the folder in it that are meant by a folder as strangers see it: `VideoFilter.place`."""
        folder = folder.strip("/")
        for root, prefix in sorted(self._folders.items(), key=lambda item: -len(item[1])):
            if not prefix:
                return root, folder
            if folder == prefix or folder.startswith(f"{prefix}/"):
                return root, folder[len(prefix) + 1 :]
        return "", folder

    def without_paths(self, text: str, *, files: Mapping[str, str] | None = None) -> str:
        """Return a text in which paths of this machine are names.

        Args:
            text: of an error.
            files: paths of other files -> what they are called.
        """
        known = {**self._own, **(files or {})}
        for path in sorted(known, key=len, reverse=True):
            if path not in (".", ""):
                text = text.replace(path, known[path])
        for root in sorted(self._folders, key=len, reverse=True):
            prefix = self._folders[root]
            for form in dict.fromkeys((root, str(PurePath(root)))):  # a URL, and what is left of it as a path
                text = text.replace(f"{form.rstrip('/')}/", f"{prefix}/" if prefix else "")
                if len(form) > 1:
                    text = text.replace(form, prefix or PurePath(root).name)
        text = QUOTED_PATH.sub(lambda found: f"{found['quote']}{_last(found['path'])}{found['quote']}", text)
        return BARE_PATH.sub(lambda found: _last(found[0]), text)

    def _joined(self, root: str, path: str) -> str:
        prefix = self._folders[root]
        return f"{prefix}/{path}" if prefix else path


def _last(path: str) -> str:
    return PurePath(path).name or "a folder"


def printable(text: str) -> str:
    """Return a text on one line that JSON can carry: what is not valid UTF-8 as escapes."""
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split())


def file_name(name: str, *, most: int = 200) -> str:
    """Return the last part of a name that a stranger gave a file, without what ends a line; "upload" for none."""
    last = re.split(r"[/\\]", name)[-1]
    return "".join(each for each in printable(last) if each.isprintable()).strip(". ")[:most] or "upload"
