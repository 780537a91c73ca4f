"""A small client of `c3dhash serve`, with Python's own library alone.

from c3dhash.client import Client

client = Client("http://127.0.0.1:8000")
for hit in client.query("some_video.mp4")["hits"]:
    print(hit["rank"], hit["distance"], hit["video"], hit["start_seconds"], hit["end_seconds"])
"""

from __future__ import annotations

import http.client
import json
import secrets
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from c3dhash.errors import C3DHashError, UsageError

BLOCK_BYTES, LARGE_BYTES = 1 << 16, 1 << 20
WAIT_SECONDS, ASK_AGAIN_SECONDS = 20.0, 0.5  # that the server waits with an answer; from one question to the next
TIMEOUT_SECONDS = 60.0  # of one request, without a byte
MAX_TRIES = 5  # where the server has no place
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
Answer = dict[str, Any]


class ServerError(C3DHashError):
    """A server refused a request, or cannot be reached; status is 0 then."""

    def __init__(self, text: str, *, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Makes an error of a redirect."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Client:
    """A server of a gallery.

    Args:
        url: where it is, as http://127.0.0.1:8000.
        token: that it was started with; None without one.
        timeout_seconds: after which a request without an answer fails.
    Raises:
        UsageError: the address is none.
    """

    def __init__(self, url: str, *, token: str | None = None, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        url = url if "://" in url else f"http://{url}"
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise UsageError(f"server ({url!r}) must be an address, as http://127.0.0.1:8000.")
        self.url, self._token, self._timeout_seconds = url.rstrip("/"), token, timeout_seconds
        # No redirect is followed, which would carry the token to another host; and no proxy stands before this machine.
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
        if parts.hostname in LOCAL_NAMES:
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def query(
        self,
        video: Path | str | int | None = None,
        *,
        query_id: str | None = None,
        on_progress: Callable[[Answer], object] = lambda _: None,
        **asked: Any,
    ) -> Answer:
        """Find the videos that show the same as a video.

        Args:
            video: the path of a file, which is sent, or the number of a video of the gallery.
            query_id: in its place, the number of a video that was sent before.
            on_progress: called now and then while a file is encoded, with what /api/queries/{query_id} tells.
            asked: label (one, or a list), folder, top, added_since, radius, not_itself, mirror, any_speed,
                start_seconds, end_seconds, clips.
        Returns:
            `query`: what was searched with, and `hits`.
        Raises:
            ServerError: the server refuses, or cannot be reached.
            UsageError: the file cannot be read.
        """
        asked = {name: value for name, value in asked.items() if value is not None}
        if isinstance(asked.get("label"), str):
            asked["label"] = [asked["label"]]
        if isinstance(video, Path | str):
            answer = self._send_file("/api/query", Path(video), {**asked, "wait_seconds": WAIT_SECONDS})
            if answer.get("status") == "done":
                return answer
            query_id = self._wait(answer, on_progress)["query_id"]
            video = None
        named = {"video_id": video, "query_id": query_id}
        return self._post(
            "/api/query", {**asked, **{name: value for name, value in named.items() if value is not None}}
        )

    def classify(
        self, video: Path | str | int, *, top: int = 5, on_progress: Callable[[Answer], object] = lambda _: None
    ) -> Answer:
        """Say what is seen in a video: `video`, and `top`, the most probable classes.

        Args:
            video, on_progress: as of `query`.
            top: how many classes, at most 100.
        Raises:
            ServerError, UsageError: as `query`.
        """
        asked = {"top": top, "wait_seconds": WAIT_SECONDS}
        if isinstance(video, Path | str):
            answer = self._send_file("/api/classify", Path(video), asked)
        else:
            answer = self._post("/api/classify", {**asked, "video_id": video})
        if answer.get("status") == "done":
            return answer
        told = self._wait(answer, on_progress)
        return {"status": "done", "video": told["name"], "top": told["top"][:top]}

    def videos(self, *, page: int = 1000, **asked: Any) -> Iterator[Answer]:
        """Yield the videos of the gallery.

        Args:
            page: so many are asked for at a time.
            asked: label, folder, text, missing.
        Raises:
            ServerError: as `query`.
        """
        offset = 0
        while True:
            answer = self.get("/api/videos", offset=offset, limit=page, **asked)
            yield from answer["videos"]
            offset += page
            if offset >= answer["total"]:
                return

    def video(self, video_id: int) -> Answer:
        """Tell about a video of the gallery and its clips."""
        return self.get(f"/api/videos/{int(video_id)}")

    def duplicates(
        self,
        *,
        radius: int | None = None,
        mirror: bool = False,
        on_progress: Callable[[Answer], object] = lambda _: None,
    ) -> Iterator[Answer]:
        """Yield the groups of videos that show the same; waits until they are computed.

        Raises:
            ServerError: as `query`.
        """
        offset, page = 0, 200
        while True:
            answer = self.get("/api/duplicates", radius=radius, mirror=mirror, offset=offset, limit=page)
            if answer["status"] != "done":
                on_progress(answer)
                time.sleep(ASK_AGAIN_SECONDS)
                continue
            yield from answer["groups"]
            offset += page
            if offset >= answer["total"]:
                return

    def note_not_match(self, video_id: int, other_id: int, *, is_match: bool = False) -> Answer:
        """Remember that two videos of the gallery are no match; or, with is_match, forget it."""
        return self._post("/api/duplicates", {"video_id": video_id, "other_id": other_id, "is_match": is_match})

    def health(self) -> Answer:
        """Tell how the gallery and the server are."""
        return self.get("/api/health")

    def get(self, path: str, **asked: Any) -> Answer:
        """Return what a route answers.

        Args:
            path: as /openapi.json has it.
            asked: its parameters; None is left out.
        Raises:
            ServerError: as `query`.
        """
        given = {name: _as_text(value) for name, value in asked.items() if value is not None}
        query = urllib.parse.urlencode(given, doseq=True)
        return self._open(path + (f"?{query}" if query else ""), None, {})

    def _post(self, path: str, content: Mapping[str, Any]) -> Answer:
        return self._open(path, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _wait(self, told: Answer, on_progress: Callable[[Answer], object]) -> Answer:
        """Ask what became of a video until it is known."""
        while told["status"] not in ("done", "failed"):
            on_progress(told)
            time.sleep(ASK_AGAIN_SECONDS)
            told = self.get(f"/api/queries/{told['query_id']}")
        if told["status"] == "failed":
            raise ServerError(told["error"], status=422)
        return told

    def _send_file(self, path: str, video: Path, asked: Mapping[str, Any]) -> Answer:
        """Send a file in a form, as it is read."""
        if video.is_file() and video.stat().st_size > LARGE_BYTES:
            self.health()  # who is refused hears why, which may be lost where a long body is sent
        boundary = secrets.token_hex(16)
        fields = [(name, each) for name, value in asked.items()
                  for each in (value if isinstance(value, list | tuple) else [value])]  # fmt: skip
        head = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{_as_text(value)}\r\n'
            for name, value in fields
        )
        name = video.name.replace("\\", "_").replace('"', "%22").replace("\r", "").replace("\n", "")
        head += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        start, end = head.encode("utf-8", "replace"), f"\r\n--{boundary}--\r\n".encode()
        try:
            num_bytes = video.stat().st_size
        except OSError as error:
            raise UsageError(f"video '{video}' cannot be read ({error.strerror}); check the path.") from error

        def blocks() -> Iterator[bytes]:
            yield start
            with video.open("rb") as file:
                while block := file.read(BLOCK_BYTES):
                    yield block
            yield end

        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(start) + num_bytes + len(end)),
        }
        return self._open(path, blocks, headers)

    def _open(
        self, path: str, body: bytes | Callable[[], Iterator[bytes]] | None, headers: Mapping[str, str]
    ) -> Answer:
        if self._token is not None:
            headers = {**headers, "Authorization": f"Bearer {self._token}"}
        for is_last in [False] * (MAX_TRIES - 1) + [True]:
            data = body() if callable(body) else body
            request = urllib.request.Request(self.url + path, data=data, headers=dict(headers))
            try:
                with self._opener.open(request, timeout=self._timeout_seconds) as answer:
                    return _object_of(answer.read(), self.url)
            except urllib.error.HTTPError as error:
                with error:
                    if error.code != 429 or is_last:
                        text = _object_of(error.read(), self.url).get("error")
                        raise ServerError(str(text or error), status=error.code) from error
                    time.sleep(_seconds(error.headers.get("Retry-After")))
            except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
                reason = getattr(error, "reason", None) or error
                if callable(body) and isinstance(reason, (BrokenPipeError, ConnectionResetError)) and not is_last:
                    self.health()  # a refusal that was not heard, since the file was still being sent: it says why
                    time.sleep(_seconds(None))
                    continue
                raise ServerError(f"server {self.url} cannot be reached ({reason}): is it running?") from error
        raise AssertionError("the last try returns or raises")


def _as_text(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _seconds(text: str | None) -> float:
    return min(float(text), 60.0) if text is not None and text.isdecimal() else 1.0


def _object_of(body: bytes, url: str) -> Answer:
    try:
        content = json.loads(body or b"{}")
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ServerError(f"server {url} answers no JSON: is it `c3dhash serve`?")
    return content
