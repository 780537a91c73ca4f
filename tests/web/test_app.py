from __future__ import annotations

import json


def test_smoke(served, upload):
    for path in ("/api/health", "/api/videos?limit=3", "/api/videos/10", "/api/facets", "/metrics", "/api/map", "/api/duplicates", "/openapi.json"):
        answer = served.ask("GET", path)
        print(path, answer.status_code, answer.text[:1500], "\n")
    answer = served.ask("POST", "/api/query", json={"video_id": 10, "top": 2})
    print(answer.status_code, json.dumps(answer.json(), indent=1)[:3000])
    answer = served.ask("POST", "/api/query", **upload)
    print(answer.status_code, answer.text[:800])
    query_id = answer.json()["query"]["query_id"]
    print(served.ask("GET", f"/api/queries/{query_id}").text)
    answer = served.ask("POST", "/api/classify", **upload)
    print(answer.status_code, answer.text[:800])
    answer = served.ask("POST", "/api/classify", json={"video_id": 3})
    print(answer.status_code, answer.text[:800])
    answer = served.ask("GET", "/api/clips/3/preview")
    print(answer.status_code, answer.headers, len(answer.content))
    print(served.ask("GET", f"/api/queries/{query_id}").text)
