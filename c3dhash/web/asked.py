"""What requests may ask, checked before anything is done: as JSON, or as the fields of a form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from c3dhash.bits import MAX_HASH_LENGTH
from c3dhash.web.names import printable
from c3dhash.web.refusals import Refused

MAX_TOP = 1000
Number = Annotated[int, Field(ge=1, le=2**63 - 1, description="Of a video or a clip, as other answers tell it.")]
Seconds = Annotated[float, Field(ge=0, le=1e7, allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=1000)]
QueryNumber = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="Of a video that was sent before.")]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class QueryAsked(_Asked):
    """What is searched with, and what may be found.

    One of `video_id`, `query_id` and a file, in a form, is searched with: all of it, or the stretch from
    `start_seconds` to `end_seconds`, or the windows numbered in `clips`.
    """

    video_id: Number | None = None
    query_id: QueryNumber | None = None
    clips: Annotated[list[Annotated[int, Field(ge=0, le=10**9)]] | None, Field(max_length=1000)] = None
    start_seconds: Seconds | None = None
    end_seconds: Seconds | None = None
    label: Annotated[list[Text], Field(max_length=100, description="Find videos of these labels only.")] = []
    folder: Text | None = Field(None, description="Find videos in this folder, or in one below, only.")
    added_since: str | None = Field(
        None, pattern=r"^\d{4}-\d{2}-\d{2}$", description="Find videos only that came on this day (UTC) or later."
    )
    top: int = Field(10, ge=1, le=MAX_TOP, description="Videos to find.")
    radius: int | None = Field(None, ge=0, le=MAX_HASH_LENGTH, description="Largest distance, in bits.")
    not_itself: bool = Field(False, description="Leave out files with the same bytes.")
    mirror: bool = Field(False, description="Also search with the mirror image.")
    classify: bool = Field(
        False, description="Of a file: also say what is seen in it, a while later, at /api/queries/{query_id}."
    )
    any_speed: bool = Field(False, description="Also find what plays slower or faster, 0.8 to 1.25 times.")
    wait_seconds: float = Field(
        30.0, ge=0, le=60, allow_inf_nan=False,
        description="How long to wait for the answer of an upload; then its number is told, to be asked for.",
    )  # fmt: skip


class ClassifyAsked(_Asked):
    """What is recognised: a video of the gallery, or a file, in a form."""

    video_id: Number | None = None
    top: int = Field(5, ge=1, le=100, description="Most probable classes to tell.")
    wait_seconds: float = Field(30.0, ge=0, le=60, allow_inf_nan=False)


class PairAsked(_Asked):
    """Two videos of the gallery, and whether they match."""

    video_id: Number
    other_id: Number
    is_match: bool = Field(False, description="False: remember that they do not; true: forget that.")


class BrowseAsked(_Asked):
    """Which videos the list shows."""

    text: Text = ""
    label: Annotated[list[Text], Field(max_length=100)] = []
    folder: Text | None = None
    missing: bool = False
    offset: int = Field(0, ge=0, le=2**62)


class StripAsked(_Asked):
    """Which video is shown, and from which of its clips on."""

    video_id: Number | None = None
    clip_offset: int = Field(0, ge=0, le=2**62)


class GroupsAsked(_Asked):
    """Which groups of duplicates are shown."""

    radius: int | None = Field(None, ge=0, le=MAX_HASH_LENGTH)
    mirror: bool = False
    offset: int = Field(0, ge=0, le=2**62)


class TokenAsked(_Asked):
    """The token, to be remembered by a browser."""

    token: Text


Asked = TypeVar("Asked", bound=_Asked)


def from_json(kind: type[Asked], body: bytes) -> Asked:
    """Read what is asked from JSON.

    Raises:
        Refused: it is no JSON, or not allowed.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        is_json = not any(each["type"] == "json_invalid" for each in error.errors(include_url=False))
        raise Refused(422 if is_json else 400, told(error.errors(include_url=False))) from error


def from_fields(kind: type[Asked], fields: Mapping[str, Sequence[str]]) -> Asked:
    """Read what is asked from the fields of a form, of which those that take several may be repeated.

    Raises:
        Refused: it is not allowed.
    """
    several = {"label", "clips"} & kind.model_fields.keys()
    values: dict[str, Any] = {}
    for name, given in fields.items():
        if name not in several and len(given) > 1:
            raise Refused(422, f"field {printable(name)[:40]!r} is there {len(given)} times.")
        values[name] = list(given) if name in several else given[0]
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise Refused(422, told(error.errors(include_url=False))) from error


def told(errors: Sequence[Any]) -> str:
    """Return in one line what is wrong with what was asked: the first thing."""
    first = errors[0]
    place = ".".join(str(each) for each in first.get("loc", ()) if each not in ("body", "query", "path"))
    value = first.get("input")
    shown = f" ({value!r:.60})" if isinstance(value, str | int | float | bool) else ""
    return printable(f"{place or 'the request'}{shown}: {first['msg']}.".replace("..", "."))[:500]
