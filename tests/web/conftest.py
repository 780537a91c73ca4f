"""A gallery of nine short videos and a longer one, served: the application itself, and on a socket of this machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from browsers import browser, numbers, pages_gallery, site, visit  # noqa: F401 - fixtures, of pages
from servers import ATTACK, WINDOWS, OnSocket, Served, asker, listening
from videos import numbered_frame, write_frames

from c3dhash.config import ServeConfig
from c3dhash.gallery.indexing import index_videos, open_gallery
from c3dhash.gallery.served import Folder
from c3dhash.models.runs import Run
from c3dhash.web.app import create_app
from c3dhash.web.service import Service


@pytest.fixture(scope="session")
def indexed(tmp_path_factory: pytest.TempPathFactory, untrained_run: Run, motion_dir: Path) -> Path:
    """A folder with db/, its videos, and gallery/, which is of them."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(motion_dir / "gallery", folder / "db")
    write_frames(folder / "db" / "long.mp4", [numbered_frame(number) for number in range(100)])
    shutil.copy(folder / "db" / "long.mp4", folder / "db" / ATTACK)
    (folder / "db" / "broken.mp4").write_bytes(b"no video at all")
    with open_gallery(folder / "gallery", untrained_run, config=WINDOWS) as gallery:
        index_videos(untrained_run, gallery, [folder / "db"], config=WINDOWS)
    return folder


@pytest.fixture
def folder(indexed: Path, tmp_path: Path) -> Path:
    """A copy of that, to change."""
    shutil.copytree(indexed, tmp_path / "served")
    return tmp_path / "served"


@pytest.fixture
def serve(untrained_run: Run, folder: Path) -> Iterator[Callable[..., Served]]:
    """Make a service: serve(token=..., ...); all are closed in the end."""
    services: list[Service] = []

    def make(run: Run | None = untrained_run, **config: Any) -> Served:
        service = Service(Folder(folder / "gallery"), run, config=ServeConfig(**config), encode=WINDOWS)
        services.append(service)
        app = create_app(service)
        return Served(service, app, asker(app))

    yield make
    for service in services:
        service.close()


@pytest.fixture
def served(serve: Callable[..., Served]) -> Served:
    """The gallery, served as by default."""
    return serve()


@pytest.fixture
def on_socket(serve: Callable[..., Served]) -> Iterator[Callable[..., OnSocket]]:
    """Serve on a socket of this machine, in a thread: on_socket(token=..., ...)."""
    with ExitStack() as stack:

        def make(**config: Any) -> OnSocket:
            service, app, _ = serve(port=0, **config)
            return stack.enter_context(listening(service, app))

        yield make


@pytest.fixture
def upload(motion_dir: Path) -> dict[str, Any]:
    """A video as a form."""
    path = motion_dir / "query" / "move_up" / "move_up_000.mp4"
    return {"files": {"file": (path.name, path.read_bytes(), "video/mp4")}}
