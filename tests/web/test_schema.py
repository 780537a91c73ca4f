"""Requests that schemathesis makes of what OpenAPI describes: answers are as described, and none is a failure."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import one_of
from schemathesis.checks import CHECKS

OPERATIONS = {
    (path, method)
    for path, method in (
        ("/api/query", "POST"), ("/api/classify", "POST"), ("/api/queries/{query_id}", "GET"),
        ("/api/queries/{query_id}/clips/{number}/preview", "GET"), ("/api/videos", "GET"),
        ("/api/videos/{video_id}", "GET"), ("/api/videos/{video_id}/preview", "GET"),
        ("/api/clips/{clip_id}/preview", "GET"), ("/api/facets", "GET"), ("/api/map", "GET"),
        ("/api/duplicates", "GET"), ("/api/duplicates", "POST"), ("/api/health", "GET"), ("/metrics", "GET"),
        ("/api/login", "POST"),
    )
}  # fmt: skip
WANTED = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
          "response_headers_conformance")  # fmt: skip
MAX_EXAMPLES = 15


def test_every_route_is_described(served):
    described = served.ask("GET", "/openapi.json").json()["paths"]
    assert {(path, method.upper()) for path, methods in described.items() for method in methods} == OPERATIONS
    for methods in described.values():
        for operation in methods.values():
            assert operation["summary"]
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    (content,) = answer["content"].values()
                    assert content["schema"] == {"$ref": "#/components/schemas/ErrorAnswer"}, status


@pytest.mark.parametrize("path, method", sorted(OPERATIONS))
def test_answers_are_as_described(serve, path, method):
    served = serve(names="testserver")
    schema = schemathesis.openapi.from_asgi("/openapi.json", served.app)
    operation = schema[path][method]
    checks = CHECKS.get_by_names(list(WANTED))
    modes = schemathesis.GenerationMode
    good, bad = (operation.as_strategy(generation_mode=mode) for mode in (modes.POSITIVE, modes.NEGATIVE))

    @given(case=one_of(good, bad))
    @settings(max_examples=MAX_EXAMPLES, database=None, phases=[Phase.generate], derandomize=True,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    def ask(case):
        case.call_and_validate(checks=checks)

    ask()
