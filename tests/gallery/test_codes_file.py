"""A file of codes comes back as it was, and says when it is not whole."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from c3dhash.errors import GalleryError
from c3dhash.gallery import checked_file, codes_file
from c3dhash.gallery.codes_file import StoredCodes, map_codes, write_codes

NUMBERS = np.arange(100, dtype=np.int64)
STORED = StoredCodes(
    np.random.default_rng(0).integers(0, 256, (100, 8), dtype=np.uint8), NUMBERS[::7], NUMBERS[::7] + 5, (7, -(2**63))
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "codes.bin"
    write_codes(path, STORED, hash_length=48)
    return path


def test_what_was_written_comes_back(path: Path) -> None:
    mapped = map_codes(path, hash_length=48, num_bytes=8)
    for ours, theirs in zip(STORED[:3], mapped[:3], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert mapped.stamp == STORED.stamp
    assert not mapped.codes.flags.writeable
    assert path.stat().st_size == 512 + 100 * 8 + 2 * 15 * 8 + 4
    path.unlink()
    np.testing.assert_array_equal(mapped.codes, STORED.codes)  # who has it goes on with it


def test_large_files_are_written_in_pieces(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = path.read_bytes()
    monkeypatch.setattr(checked_file, "BYTES_AT_A_TIME", 13)
    write_codes(path, STORED, hash_length=48)
    assert path.read_bytes() == whole


def test_codes_are_mapped_and_not_read(tmp_path: Path) -> None:
    """256 MB of codes in a process that may have 128 MB of its own."""
    path = tmp_path / "large"
    write_codes(path, STORED._replace(codes=np.zeros((2**25, 8), np.uint8)), hash_length=48)
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from c3dhash.gallery.codes_file import map_codes\n"
        "before = int(open('/proc/self/statm').read().split()[5]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (before + 2**27, before + 2**27))\n"
        "print(map_codes(Path(sys.argv[1]), hash_length=48, num_bytes=8).codes.sum())"
    )
    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc here: nobody says what a process has")
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_every_flipped_byte_and_every_cut_is_noticed(path: Path) -> None:
    whole = path.read_bytes()
    for place in itertools.chain(range(60), range(60, len(whole), 37), range(len(whole) - 40, len(whole))):
        path.unlink()  # not in place: the last one is still mapped
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(GalleryError, match=r"codes\.bin' cannot be read: its checksum does not match"):
            map_codes(path, hash_length=48, num_bytes=8)
        path.unlink()
        path.write_bytes(whole[:place])
        with pytest.raises(GalleryError, match=r"checksum|empty"):
            map_codes(path, hash_length=48, num_bytes=8)


def test_unusable_files_are_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match=r"codes\.bin' cannot be read: it holds 48-bit codes in 8 bytes, not 64-bit"):
        map_codes(path, hash_length=64, num_bytes=8)
    with pytest.raises(GalleryError, match=r"missing' cannot be read: No such file"):
        map_codes(tmp_path / "missing", hash_length=48, num_bytes=8)
    with pytest.raises(GalleryError, match=r"cannot be read: Is a directory"):
        map_codes(tmp_path, hash_length=48, num_bytes=8)

    def refused(content: bytes, match: str) -> None:
        path.unlink()
        path.write_bytes(content + codes_file.CHECKSUM.pack(codes_file.zlib.crc32(content)))
        with pytest.raises(GalleryError, match=match):
            map_codes(path, hash_length=48, num_bytes=8)

    refused(bytes(512), r"it begins with .* instead of b'c3dhash3'")
    header = codes_file.HEADER.pack(codes_file.MAGIC, 48, 8, 3, 1, 0, 0).ljust(512, b"\0")
    refused(header + bytes(3 * 8 + 8), r"3 codes and 1 videos do not make 548 bytes")


def test_full_disk_is_an_os_error() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    for codes in (STORED.codes, np.zeros((10**6, 8), np.uint8)):
        with pytest.raises(OSError, match="No space left"):
            write_codes(full, STORED._replace(codes=codes), hash_length=48)
