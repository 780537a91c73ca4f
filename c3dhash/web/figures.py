"""Counts of what was answered, for monitoring, in the text format of Prometheus.

Source: prometheus.io/docs/instrumenting/exposition_formats, version 0.0.4.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from itertools import accumulate

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # where histograms are cut
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Figures:
    """Requests by route, method and status, and how long they took."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._seconds: Counter[str] = Counter()
        self._places: dict[str, list[int]] = {}

    def note(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            route: as it is declared, so that there are few: "other" for what is none.
        """
        with self._lock:
            self._requests[route, method, status] += 1
            self._seconds[route] += seconds  # type: ignore[assignment]  # a Counter adds anything
            places = self._places.setdefault(route, [0] * (len(SECONDS) + 1))
            places[bisect_left(SECONDS, seconds)] += 1

    def text(self, gauges: Mapping[str, tuple[str, str, float]]) -> str:
        """Return all counts, and some values of this moment.

        Args:
            gauges: name -> kind, what it is, value.
        """
        lines = ["# HELP c3dhash_requests_total Requests that were answered.", "# TYPE c3dhash_requests_total counter"]
        with self._lock:
            for (route, method, status), num in sorted(self._requests.items()):
                labels = f'route="{route}",method="{method}",status="{status}"'
                lines.append(f"c3dhash_requests_total{{{labels}}} {num}")
            lines += [
                "# HELP c3dhash_request_seconds How long answers took.",
                "# TYPE c3dhash_request_seconds histogram",
            ]
            for route, places in sorted(self._places.items()):
                totals = list(accumulate(places))
                for bound, total in zip((*map(str, SECONDS), "+Inf"), totals, strict=True):
                    lines.append(f'c3dhash_request_seconds_bucket{{route="{route}",le="{bound}"}} {total}')
                lines.append(f'c3dhash_request_seconds_sum{{route="{route}"}} {self._seconds[route]:.6f}')
                lines.append(f'c3dhash_request_seconds_count{{route="{route}"}} {totals[-1]}')
        for name, (kind, what, value) in gauges.items():
            lines += [f"# HELP {name} {what}", f"# TYPE {name} {kind}", f"{name} {value:g}"]
        return "\n".join(lines) + "\n"
