"""The body of a request -> its fields, and its file in a private folder, as the bytes come; never all in memory.

A file gets a name of our own, random, in a folder that only this user may enter. What the sender calls it is shown to
people and is no part of a path.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from c3dhash.scratch import ScratchFolder
from c3dhash.web.names import file_name
from c3dhash.web.refusals import Refused

BLOCK_BYTES = 1 << 20  # written at a time, by a thread
MAX_FIELD_BYTES, MAX_FIELDS_BYTES, MAX_PARTS = 1 << 12, 1 << 16, 200
MAX_JSON_BYTES = 1 << 16
SILENCE_SECONDS = 30.0  # between two blocks of a body
DRAIN_BYTES, DRAIN_SECONDS = 16 << 20, 3.0  # that are read of a body that is refused

Blocks = AsyncIterator[bytes]
InThread = Callable[..., Any]  # `Workers.run`


class UploadFolder:
    """A folder for files of strangers, of one process; gone after `close`.

    What a process left that was killed goes when the next one begins: the lock in a folder is held while its process
    lives.

    Args:
        max_uploads: files that may be there at a time.
    Attributes:
        path: the folder.
    """

    def __init__(self, *, max_uploads: int) -> None:
        self._folder = ScratchFolder("serve")
        self.path = self._folder.path
        self._most, self._num = max_uploads, 0
        self._lock = threading.Lock()

    @property
    def num_uploads(self) -> int:
        """How many files are received, wait, or are looked at."""
        return self._num

    def take_place(self, *, retry_seconds: int) -> Place:
        """Take a place for a file, before the first byte is received.

        Raises:
            Refused: all are taken.
        """
        with self._lock:
            if self._num >= self._most:
                raise Refused(
                    429, f"{self._num} uploads are under way, which is the most at a time: try again in "
                    f"{retry_seconds} seconds.", retry_seconds=retry_seconds,
                )  # fmt: skip
            self._num += 1
        return Place(self, self.path / secrets.token_hex(16))

    def give_back(self, place: Place) -> None:
        """Remove a file, and let another come in its place."""
        with self._lock:
            self._num -= 1
        with suppress(FileNotFoundError):
            place.path.unlink()

    def close(self) -> None:
        """Remove the folder, with all that is in it."""
        self._folder.close()


class Place:
    """A place for one file in an upload folder; given back once, whoever does so."""

    def __init__(self, folder: UploadFolder, path: Path) -> None:
        self._folder, self.path = folder, path
        self._lock = threading.Lock()
        self._is_there = True

    def give_back(self) -> None:
        """Remove the file, if there is one."""
        with self._lock:
            was_there, self._is_there = self._is_there, False
        if was_there:
            self._folder.give_back(self)


@dataclass(eq=False)
class Form:
    """What a form holds: its fields, and its file, where there is one.

    name: what the sender calls the file. content_hash: of its bytes, as `video.reader.content_hash` has it.
    """

    fields: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    name: str | None = None
    content_hash: str = ""
    num_bytes: int = 0


async def read_json(blocks: Blocks) -> bytes:
    """Return a body that is no file.

    Raises:
        Refused: it is too long.
    """
    body = bytearray()
    async for block in _not_silent(blocks):
        body += block
        if len(body) > MAX_JSON_BYTES:
            raise Refused(413, f"the body has more than {MAX_JSON_BYTES:,} bytes, which is the most without a file.")
    return bytes(body)


async def receive_form(blocks: Blocks, content_type: str, *, path: Path, max_bytes: int, in_thread: InThread) -> Form:
    """Receive a form, as multipart/form-data, and write its file.

    Args:
        blocks: of the body, as they come.
        content_type: with the boundary.
        path: where the file named "file" goes; nothing is there.
        max_bytes: of the file.
        in_thread: calls a function in a thread.
    Raises:
        Refused: too long, silent, cut short, or no such form; what was written stays for the caller to remove.
    """
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header

    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise Refused(400, "the form has no boundary: send it as multipart/form-data.")
    receiver = _Receiver(max_bytes)
    try:
        parser = MultipartParser(boundary, receiver.callbacks())
        with _private_file(path) as file:
            async for block in _not_silent(blocks):
                parser.write(block)
                if len(receiver.waiting) >= BLOCK_BYTES:
                    await in_thread(receiver.write_to, file)
            await in_thread(receiver.write_to, file)
    except FormParserError as error:
        raise Refused(400, f"the form cannot be read ({error}).") from error
    except OSError as error:
        raise Refused(507, f"the upload cannot be stored ({error.strerror}).", retry_seconds=60) from error
    if not receiver.is_ended:
        raise Refused(400, "the form ends in the middle: send it again.")
    receiver.form.content_hash = receiver.digest.hexdigest()
    return receiver.form


async def drain(blocks: Blocks) -> bool:
    """Read what is left of a body, if it is not much; tell whether it is at its end."""

    async def read() -> bool:
        num_bytes = 0
        async for block in blocks:
            num_bytes += len(block)
            if num_bytes > DRAIN_BYTES:
                return False
        return True

    with suppress(asyncio.TimeoutError, TimeoutError, Refused):
        return await asyncio.wait_for(read(), DRAIN_SECONDS)
    return False


def _private_file(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)


async def _not_silent(blocks: Blocks) -> Blocks:
    """Yield the blocks of a body, as long as they come."""
    iterator = blocks.__aiter__()
    while True:
        try:
            block = await asyncio.wait_for(anext(iterator), SILENCE_SECONDS)
        except StopAsyncIteration:
            return
        except (asyncio.TimeoutError, TimeoutError) as error:
            raise Refused(408, f"nothing was received for {SILENCE_SECONDS:g} s: send it again.") from error
        yield block


class _Receiver:
    """What a parser tells of a form, part by part."""

    def __init__(self, max_bytes: int) -> None:
        self.form, self.waiting, self.is_ended = Form(), bytearray(), False
        self.digest = hashlib.blake2b(digest_size=16)
        self._max_bytes = max_bytes
        self._num_parts = self._num_field_bytes = 0
        self._start_part()

    def callbacks(self) -> Any:
        """Return what the parser calls."""
        return {
            "on_part_begin": self._start_part,
            "on_header_field": self._take_header_name,
            "on_header_value": self._take_header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._take_data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def write_to(self, file: IO[bytes]) -> None:
        """Write what waits."""
        if self.waiting:
            block = bytes(self.waiting)
            self.waiting.clear()
            self.digest.update(block)
            while block:
                block = block[file.write(block) :]

    def _start_part(self) -> None:
        self._header = [bytearray(), bytearray()]
        self._disposition, self._name, self._value, self._is_file = b"", "", bytearray(), False
        self._num_parts += 1
        if self._num_parts > MAX_PARTS:
            raise Refused(413, f"the form has more than {MAX_PARTS - 1} parts.")

    def _take_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header[0] += data[start:end]

    def _take_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1] += data[start:end]

    def _end_header(self) -> None:
        if self._header[0].lower() == b"content-disposition":
            self._disposition = bytes(self._header[1])
        self._header = [bytearray(), bytearray()]

    def _end_headers(self) -> None:
        from python_multipart.multipart import parse_options_header

        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._is_file = b"filename" in options
        if not self._is_file:
            return
        if self._name != "file" or self.form.name is not None:
            raise Refused(422, f"the form has a file named {self._name!r}; one file is taken, named 'file'.")
        self.form.name = file_name(options[b"filename"].decode("utf-8", "replace"))

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self.form.num_bytes += end - start
            if self.form.num_bytes > self._max_bytes:
                raise too_large(self._max_bytes)
            self.waiting += data[start:end]
            return
        self._value += data[start:end]
        self._num_field_bytes += end - start
        if len(self._value) > MAX_FIELD_BYTES or self._num_field_bytes > MAX_FIELDS_BYTES:
            raise Refused(413, f"field {self._name[:40]!r} is too long.")

    def _end_part(self) -> None:
        if not self._is_file:
            self.form.fields[self._name].append(self._value.decode("utf-8", "replace"))

    def _end(self) -> None:
        self.is_ended = True


def too_large(max_bytes: int) -> Refused:
    """Return what is said of a file that is too large."""
    return Refused(413, f"the file is larger than {max_bytes / 1e6:,.0f} MB, which is the most that is taken here.")
