"""What answers hold. Names are as strangers see them; times are in seconds, distances in bits."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from c3dhash.records import SegmentMatch, VideoFacts


class ErrorAnswer(BaseModel):
    """Why there is no answer: the line that the command line would print."""

    error: str


class HitAnswer(BaseModel):
    """A video that was found; as of `c3dhash query --json`, with numbers to ask on with.

    clip_id: of the clip at `start_seconds`. video_seconds: to the end of the video's last clip.
    """

    rank: int
    distance: int
    video: str
    video_id: int
    clip_id: int
    video_seconds: float
    start_seconds: float
    end_seconds: float
    label: str | None
    score: float
    segments: list[SegmentMatch]
    precision: float | None
    is_mirrored: bool
    same_film: float | None


class WindowAnswer(BaseModel):
    """A window of a query. has_preview: whether /api/queries/{query_id}/clips/{number}/preview shows it now."""

    number: int
    start_seconds: float
    end_seconds: float
    has_preview: bool


class QueryStatus(BaseModel):
    """What became of a video that was sent.

    status: queued, encoding, done or failed. num_before: videos that are encoded before it. windows_done: of
    num_windows, which is a guess by the header until it is done. seconds: how long it is by its header; 0 where that
    does not say. are_previews_made: whether no more previews will come. clips: its windows, once it is done. top: the
    classes that were recognised, where that was asked. are_classes_coming: whether they are still looked for. error:
    why it failed.
    """

    query_id: str
    task: Literal["query", "classify"]
    name: str
    status: Literal["queued", "encoding", "done", "failed"]
    num_before: int
    windows_done: int
    num_windows: int
    seconds: float
    are_previews_made: bool
    clips: list[WindowAnswer]
    top: list[ClassAnswer] | None
    are_classes_coming: bool
    error: str | None


class AskedWith(BaseModel):
    """What was searched with: a video of the gallery, or one that was sent; the windows that were taken of it."""

    name: str
    video_id: int | None
    query_id: str | None
    seconds: float
    num_windows: int
    windows: list[int]
    start_seconds: float
    end_seconds: float


class QueryAnswer(BaseModel):
    """What was found."""

    status: Literal["done"]
    query: AskedWith
    hits: list[HitAnswer]


class ClassAnswer(BaseModel):
    """A class and its probability, 0..1."""

    label: str
    probability: float


class ClassifyAnswer(BaseModel):
    """What is seen in a video: the most probable classes."""

    status: Literal["done"]
    video: str
    top: list[ClassAnswer]


class VideoAnswer(BaseModel):
    """A video of the gallery. missing_since: when its file was first missed, UTC; null for one that is there."""

    id: int
    video: str
    folder: str
    label: str | None
    num_clips: int
    size_bytes: int
    added_at: str
    missing_since: str | None


class VideosAnswer(BaseModel):
    """Some of the videos that were asked for."""

    total: int
    offset: int
    limit: int
    videos: list[VideoAnswer]


class ClipAnswer(BaseModel):
    """A clip of a video: number counts from 0."""

    id: int
    number: int
    start_seconds: float
    end_seconds: float


class VideoDetails(VideoAnswer):
    """A video of the gallery, and some of its clips. seconds: to the end of its last one."""

    seconds: float
    clip_offset: int
    clips: list[ClipAnswer]


class LabelAnswer(BaseModel):
    """A label, and how many videos have it."""

    label: str | None
    num_videos: int


class FolderAnswer(BaseModel):
    """A folder, and how many videos lie in it, not counting those below."""

    folder: str
    num_videos: int


class FacetsAnswer(BaseModel):
    """What videos can be chosen by."""

    labels: list[LabelAnswer]
    folders: list[FolderAnswer]


class DuplicateAnswer(BaseModel):
    """A member of a group; as of `c3dhash duplicates --json`."""

    video: str
    video_id: int
    relation: str
    score: float
    segments: list[SegmentMatch]
    facts: VideoFacts
    is_mirrored: bool


class GroupAnswer(BaseModel):
    """Videos that show the same as the best of them."""

    best: str
    best_id: int
    facts: VideoFacts
    members: list[DuplicateAnswer]


class DuplicatesAnswer(BaseModel):
    """The groups of duplicates, some at a time; none while they are computed: num_done of num_videos are compared."""

    status: Literal["computing", "done"]
    num_done: int
    num_videos: int
    total: int
    offset: int
    limit: int
    groups: list[GroupAnswer]


class PairAnswer(BaseModel):
    """Whether two videos are now taken for a match, whatever their codes say, or no match."""

    video_id: int
    other_id: int
    is_match: bool


class PointAnswer(BaseModel):
    """A clip on the map: x and y from -1 to 1."""

    clip_id: int
    video_id: int
    x: float
    y: float
    label: str | None
    start_seconds: float
    end_seconds: float


class MapAnswer(BaseModel):
    """The clips of the gallery on a plane; some of them, evenly, where there are more than a map holds."""

    status: Literal["computing", "done"]
    num_clips: int
    points: list[PointAnswer]


class MissingAnswer(BaseModel):
    """A video whose file is missing."""

    id: int
    video: str
    missing_since: str


class FailedAnswer(BaseModel):
    """A file that could not be taken in when it was last looked at, and why."""

    video: str
    reason: str


class BalanceAnswer(BaseModel):
    """How good the bits are: of each the share of codes in which it is on; dead ones say nothing.

    num_codes: that were counted: all, or some of a copy, evenly.
    """

    ones: list[float]
    dead_bits: list[int]
    distinct_codes: int
    num_codes: int


class ModelAnswer(BaseModel):
    """The run that encodes what is sent."""

    name: str
    backbone: str
    classes: list[str]


class CalibrationAnswer(BaseModel):
    """On what it was measured what a hit means: `precision` (of one class) and `same_film`; null where it was not."""

    precision: str | None
    same_film: str | None


class LimitsAnswer(BaseModel):
    """What is taken of strangers."""

    max_upload_bytes: int
    max_seconds: float
    max_pixels: int
    max_uploads: int


class QueueAnswer(BaseModel):
    """What is under way. num_uploads: received, waiting, or encoded; num_waiting: for the encoder."""

    num_uploads: int
    num_waiting: int


class HealthAnswer(BaseModel):
    """The state of the gallery, and of the server.

    missing, failed: the first of them; num_missing, num_failed: all, null where the gallery is a copy, of which they
    are not known. balance: null while it is counted. model: null
    where the run is not there, and only codes of the gallery are searched with.
    """

    status: Literal["ok"]
    version: str
    gallery: str
    num_videos: int
    num_clips: int
    num_missing: int | None
    missing: list[MissingAnswer]
    num_failed: int | None
    failed: list[FailedAnswer]
    hash_length: int
    balance: BalanceAnswer | None
    calibration: CalibrationAnswer
    model: ModelAnswer | None
    windows: dict[str, Any]
    limits: LimitsAnswer
    queue: QueueAnswer


QueryStatus.model_rebuild()
