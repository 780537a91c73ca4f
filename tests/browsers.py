"""A real browser on a real server: Debian's chromium, driven by playwright. Tests that lack one are skipped, saying so.

scripts/browser.sh gets what is missing.
"""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from servers import ATTACK, WINDOWS, listening
from videos import numbered_frame, write_frames

from c3dhash.config import ServeConfig
from c3dhash.gallery.indexing import index_videos, open_gallery
from c3dhash.gallery.served import Folder
from c3dhash.models.runs import Run
from c3dhash.web.app import create_app
from c3dhash.web.service import Service

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
AXE_VARIABLE = "C3DHASH_AXE"
PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1280, "height": 900}


class Site(NamedTuple):
    """A server of pages: where, and what is behind it."""

    url: str
    service: Service


@contextmanager
def running(gallery: Path, run: Run | None, **config: Any) -> Iterator[Site]:
    """Serve a gallery with its pages on a socket of this machine."""
    with (
        closing(Service(Folder(gallery), run, config=ServeConfig(port=0, **config), encode=WINDOWS)) as service,
        listening(service, create_app(service)) as server,
    ):
        yield Site(server.url, service)


@contextmanager
def chromium() -> Iterator[Any]:
    """Start the browser; skip the test where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'c3dhash[test]'")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("needs chromium: apt-get install chromium")
    with api.sync_playwright() as playwright:
        # Debian's cannot make its sandbox as root, nor in most containers; all that it opens is our own.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


def axe_script() -> str:
    """Return axe-core, which says what of a page is not accessible; skip the test where it is not there."""
    named = os.environ.get(AXE_VARIABLE)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = Path(named) if named else cache / "c3dhash" / "axe-core" / "package" / "axe.min.js"
    if not path.is_file():
        pytest.skip(f"needs axe-core: {AXE_VARIABLE} names its axe.min.js, or scripts/browser.sh fetches it")
    return path.read_text()


class Visit:
    """A page that is open, and what went wrong on it."""

    def __init__(self, page: Any, site: Site) -> None:
        self.page, self.site = page, site
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        self.dialogs: list[str] = []
        page.on("console", self._note_console)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        page.on("dialog", self._note_dialog)
        page.set_default_timeout(30_000)  # a machine may be busy

    def _note_console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _note_dialog(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def open(self, path: str) -> Any:
        """Go to a page of the site, and wait until it is there; its scripts have run."""
        self.page.goto(self.site.url + path)
        return self.page

    def expect_complaint(self, text: str) -> None:
        """Forget what the browser itself says of a status that is part of the test; it must have said so."""
        found = [each for each in self.complaints if text in each]
        assert found, self.complaints
        self.complaints = [each for each in self.complaints if text not in each]

    def check(self) -> None:
        """Check that nothing went wrong, and nobody else was asked."""
        assert not self.complaints, self.complaints
        assert not self.dialogs, self.dialogs
        assert self.hosts <= {urlsplit(self.site.url).netloc, ""}, self.hosts


def drop(page: Any, path: Path, *, name: str | None = None) -> None:
    """Drop a file on the page, as a mouse does."""
    script = """([content, name]) => {
        const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
        const transfer = new DataTransfer();
        transfer.items.add(new File([bytes], name, { type: "video/mp4" }));
        for (const kind of ["dragover", "drop"]) {
            const options = { dataTransfer: transfer, bubbles: true, cancelable: true };
            document.querySelector("main").dispatchEvent(new DragEvent(kind, options));
        }
    }"""
    page.evaluate(script, [base64.b64encode(path.read_bytes()).decode(), name or path.name])


def texts(page: Any, selector: str) -> list[str]:
    """Return the text of all elements that fit."""
    return [text.strip() for text in page.locator(selector).all_text_contents()]


def until(page: Any, script: str, *, seconds: float = 10.0) -> None:
    """Wait until a function of the page returns true; asked from here, since pages forbid eval."""
    for _ in range(round(seconds / 0.05)):
        try:
            if page.evaluate(script):
                return
        except Exception as error:
            if "context was destroyed" not in str(error):  # another page comes
                raise
        page.wait_for_timeout(50)
    raise AssertionError(f"not within {seconds:g} s: {script}")


def follow(link: Any) -> None:
    """Click on what leads to another page, and wait until that is there."""
    with link.page.expect_navigation():
        link.click()


def names(page: Any) -> list[str]:
    """The names of the videos that are shown."""
    return texts(page, ".cards h3 a, .cards h4 a")


def has_pictures(page: Any, selector: str) -> None:
    """Wait until all pictures that fit are there, with pixels in them; there is one at least."""
    script = """() => {
        const all = [...document.querySelectorAll("SELECTOR")];
        for (const each of all) each.loading = "eager";
        return all.length > 0 && all.every((each) => each.complete && each.naturalWidth > 0);
    }"""
    until(page, script.replace("SELECTOR", selector))


@pytest.fixture(scope="module")
def pages_gallery(tmp_path_factory: pytest.TempPathFactory, untrained_run: Run, motion_dir: Path) -> Path:
    """Nine short videos of three motions, a longer one, the same under a hostile name, a part of it, a broken one."""
    folder = tmp_path_factory.mktemp("pages")
    shutil.copytree(motion_dir / "gallery", folder / "db")
    frames = [numbered_frame(number) for number in range(100)]
    write_frames(folder / "db" / "long.mp4", frames)
    shutil.copy(folder / "db" / "long.mp4", folder / "db" / ATTACK)
    write_frames(folder / "db" / "part.mp4", frames[25:100])
    (folder / "db" / "broken.mp4").write_bytes(b"no video at all")
    write_frames(folder / "db" / "gone.mp4", frames[:30])
    with open_gallery(folder / "gallery", untrained_run, config=WINDOWS) as gallery:
        index_videos(untrained_run, gallery, [folder / "db"], config=WINDOWS)
        (folder / "db" / "gone.mp4").unlink()
        index_videos(untrained_run, gallery, [folder / "db"], config=WINDOWS)
    return folder / "gallery"


@pytest.fixture(scope="module")
def site(pages_gallery: Path, untrained_run: Run) -> Iterator[Site]:
    with running(pages_gallery, untrained_run) as site:
        yield site


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Any, site: Site) -> Iterator[Callable[..., Visit]]:
    """Open a window: visit(color_scheme="dark", ...); all are checked for complaints, and closed."""
    visits: list[Visit] = []

    def make(place: Site = site, **options: Any) -> Visit:
        context = browser.new_context(**{"viewport": DESKTOP, "reduced_motion": "no-preference", **options})
        visits.append(Visit(context.new_page(), place))
        return visits[-1]

    yield make
    try:
        for each in visits:
            each.check()
    finally:
        for each in visits:
            each.page.context.close()


@pytest.fixture(scope="module")
def numbers(site: Site) -> dict[str, int]:
    """The numbers of the videos, by the last part of their names."""
    _, videos = site.service.gallery.page(limit=100)
    return {Path(video.video).name: video.id for video in videos}
