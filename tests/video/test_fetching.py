"""What packages of fsspec say of files; the rest is tested with servers, in tests/gallery/test_places_on_servers.py."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from c3dhash.video.fetching import _facts

NOON = datetime(2026, 11, 28, 12, tzinfo=timezone.utc)
SECOND_NS = 10**9


@pytest.mark.parametrize(
    "entry",
    [
        {"LastModified": NOON},  # s3fs
        {"LastModified": NOON + timedelta(milliseconds=250)},  # the same in a listing of some servers
        {"mtime": NOON.astimezone(timezone(timedelta(hours=2)))},
        {"mtime": NOON.timestamp()},
        {"last_modified": NOON.replace(tzinfo=None)},
        {"updated": "2026-11-28T12:00:00.250Z"},  # gcsfs
        {"updated": "2026-11-28T14:00:00+02:00"},
        {"modificationTime": int(NOON.timestamp() * 1000)},  # webhdfs
        {"modify": "20261128120000.250"},  # ftp
    ],
)
def test_the_time_of_a_file_is_in_whole_seconds(entry):
    assert _facts("s3://b/a.mp4", {"size": 7, **entry}) == ("s3://b/a.mp4", 7, int(NOON.timestamp()) * SECOND_NS)


def test_an_etag_decides_what_follows_the_seconds():
    times = [_facts("u", {"size": 7, "LastModified": NOON, "ETag": tag}).mtime_ns for tag in ("a", "b", "a")]
    assert times[0] == times[2] != times[1]
    assert {time // SECOND_NS for time in times} == {int(NOON.timestamp())}


@pytest.mark.parametrize("entry", [{}, {"mtime": None}, {"updated": "some time ago"}, {"size": None}])
def test_what_is_not_told_is_0(entry):
    assert _facts("u", {"size": 7, **entry})[1:] == (entry.get("size", 7) or 0, 0)
