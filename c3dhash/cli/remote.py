"""`c3dhash query --server`: the same question, answered by a server."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c3dhash.cli.common import print_json
from c3dhash.cli.hits import print_answers, print_hits
from c3dhash.client import Client, ServerError
from c3dhash.config import QueryConfig
from c3dhash.errors import UsageError

if TYPE_CHECKING:
    from c3dhash.records import Hit


def query_server(
    client: Client, places: Sequence[Path], *, asked: Mapping[str, Any], config: QueryConfig, as_json: bool
) -> bool:
    """Print what a server finds for videos, as `c3dhash query` does; tell whether all could be read.

    Args:
        asked: which videos may be found, as of `Client.query`.
    Raises:
        ServerError: one video is asked for, and the server refuses it; or it cannot be reached.
    """
    from c3dhash.video.reader import find_each

    asked = {**asked, **dataclasses.asdict(config)}
    if len(places) == 1 and not places[0].is_dir():
        hits = _hits_of(client, places[0], asked)
        if as_json:
            print_json([dataclasses.asdict(hit) for hit in hits])
        else:
            print_hits(hits, config)
        return True

    def answers() -> Iterator[tuple[Path, list[Hit] | Exception]]:
        for place, error in find_each(places).items():
            if error is not None:
                yield place, error
                continue
            try:
                yield place, _hits_of(client, place, asked)
            except (ServerError, UsageError) as refused:
                if getattr(refused, "status", 422) != 422:  # it is not about this video
                    raise
                yield place, refused

    return print_answers(answers(), config, as_json=as_json)


def _hits_of(client: Client, video: Path, asked: Mapping[str, Any]) -> list[Hit]:
    from c3dhash.records import Hit, SegmentMatch

    names = [item.name for item in dataclasses.fields(Hit)]
    return [
        Hit(
            **{
                **{name: hit[name] for name in names},
                "segments": tuple(SegmentMatch(**each) for each in hit["segments"]),
            }
        )
        for hit in client.query(video, **asked)["hits"]
    ]
