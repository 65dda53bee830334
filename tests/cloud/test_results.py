"""/v1/results and its neighbours: filters, cursors, fields, cameras, problems."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from common.wire import stream_pb2 as wire
from tests.cloud.conftest import Running, Start
from tests.cloud.speaker import packet

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


def at(minute: int) -> int:
    return int((NOON + timedelta(minutes=minute)).timestamp() * 1e6)


async def fill(cloud: Running) -> list[wire.Packet]:
    """Twelve frames: cameras a, b in turn; a cat in every third, a faint dog in every fourth; a minute apart."""
    sent = []
    for i in range(12):
        cells = {}
        if i % 3 == 0:
            cells[0, 0, 0] = 1.0
        if i % 4 == 0:
            cells[1, 2, 2] = 0.2
        sent.append(packet(i, cloud.payload(cells), camera="ab"[i % 2], captured_unix_us=at(i)))
    async with cloud.edge() as edge:
        await edge.deliver(*sent)
    return sent


async def indices(cloud: Running, sent: list[wire.Packet], **params: Any) -> list[int]:
    order = {p.frame_id: i for i, p in enumerate(sent)}
    body = await cloud.json("/v1/results", **{"order": "asc", **params})
    return [order[r["id"]] for r in body["results"]]


async def test_filters(cloud: Running) -> None:
    sent = await fill(cloud)
    stamp = "%Y-%m-%dT%H:%M:%SZ"
    for params, wanted in [
        ({}, list(range(12))),
        ({"order": "desc"}, list(range(11, -1, -1))),
        ({"camera": "a"}, [0, 2, 4, 6, 8, 10]),
        ({"camera": ["a", "b"]}, list(range(12))),
        ({"camera": "c"}, []),
        ({"edge": "edge-1"}, list(range(12))),
        ({"edge": "edge-2"}, []),
        ({"label": "cat"}, [0, 3, 6, 9]),
        ({"label": "dog"}, [0, 4, 8]),
        ({"label": ["cat", "dog"]}, [0, 3, 4, 6, 8, 9]),
        ({"min_score": 0.5}, [0, 3, 6, 9]),
        ({"label": "dog", "min_score": 0.5}, []),
        ({"label": "cat", "camera": "b"}, [3, 9]),
        ({"since": (NOON + timedelta(minutes=9)).strftime(stamp)}, [9, 10, 11]),
        ({"until": (NOON + timedelta(minutes=2)).strftime(stamp)}, [0, 1]),
        ({"since": "2026-03-04T13:05:00+01:00", "until": "2026-03-04T12:07:00Z"}, [5, 6]),
        ({"limit": 2}, [0, 1]),
    ]:
        assert await indices(cloud, sent, **params) == wanted, params


async def test_a_filter_for_detections_shows_only_those(cloud: Running) -> None:
    await fill(cloud)
    for params, wanted in [
        ({}, ["cat", "dog"]),
        ({"label": "dog"}, ["dog"]),
        ({"min_score": 0.5}, ["cat"]),
    ]:
        body = await cloud.json("/v1/results", order="asc", limit=1, **params)
        assert [d["label"] for d in body["results"][0]["detections"]] == wanted


async def test_fields(cloud: Running) -> None:
    (first, *_) = await fill(cloud)
    body = await cloud.json("/v1/results", fields="camera,bytes", limit=1)
    assert body["results"] == [{"camera": "b", "bytes": {"coded": len(cloud.payload()), "source": 50_000}}]
    assert await cloud.json(f"/v1/frames/{first.frame_id}", fields="id") == {"id": first.frame_id}


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_join_without_gaps_or_repeats(cloud: Running, order: str) -> None:
    sent = await fill(cloud)
    seen: list[str] = []
    url = f"/v1/results?limit=5&order={order}&camera=a"
    while url:
        answer = await cloud.http.get(url)
        seen += [r["id"] for r in answer.json()["results"]]
        url = answer.links.get("next", {}).get("url", "")
        assert bool(url) == (answer.json()["next"] is not None)
    wanted = [p.frame_id for p in sent if p.camera == "a"]
    assert seen == (wanted if order == "asc" else wanted[::-1])


async def test_paging_while_results_come_in(cloud: Running) -> None:
    """Newest first: all that was there at the start, once. Oldest first: the new ones too."""
    sent = [packet(seq, cloud.payload()) for seq in range(300)]

    async def page(order: str, params: dict[str, Any]) -> list[str]:
        seen = []
        while True:
            body = await cloud.json("/v1/results", order=order, limit=7, **params)
            seen += [r["id"] for r in body["results"]]
            if body["next"] is None:
                return seen
            params = {"cursor": body["next"]}

    async with cloud.edge() as edge:
        await edge.deliver(*sent[:100])
        filling = asyncio.create_task(edge.deliver(*sent[100:]))
        down, up = await asyncio.gather(page("desc", {}), page("asc", {}))
        await filling
    ids = [p.frame_id for p in sent]
    assert down == ids[: len(down)][::-1] and len(down) >= 100
    assert up == ids[: len(up)] and len(up) >= 100


async def test_a_result_says_when(cloud: Running) -> None:
    (first, *_) = await fill(cloud)
    result = await cloud.json(f"/v1/results/{first.frame_id.upper()}")
    assert result["captured_at"] == "2026-03-04T12:00:00.000000Z"
    times = [datetime.fromisoformat(result[f"{x}_at"]) for x in ("accepted", "received", "stored")]
    assert times == sorted(times)


async def test_cameras(cloud: Running) -> None:
    sent = await fill(cloud)
    async with cloud.edge():
        a, b = (await cloud.json("/v1/cameras"))["cameras"]
        assert a["online"]
    assert [a["camera"], b["camera"], a["edge"], a["frames"], b["frames"]] == ["a", "b", "edge-1", 6, 6]
    assert a["bytes_mean"] == pytest.approx(sum(len(p.payload) for p in sent if p.camera == "a") / 6, abs=0.1)
    assert a["first_seen"] == "2026-03-04T12:00:00.000000Z"
    assert b["last_seen"] == "2026-03-04T12:11:00.000000Z"
    assert b["last_result"] == await cloud.json(f"/v1/results/{sent[11].frame_id}")


async def test_problems(cloud: Running) -> None:
    """Every error has one shape: RFC 9457."""
    for path, status, name in [
        ("/v1/results?limit=0", 422, "invalid-request"),
        ("/v1/results?limit=many", 422, "invalid-request"),
        ("/v1/results?order=sideways", 422, "invalid-request"),
        ("/v1/results?min_score=2", 422, "invalid-request"),
        ("/v1/results?since=yesterday", 422, "invalid-request"),
        ("/v1/results?since=2026-03-04T12:00:00", 422, "invalid-request"),
        ("/v1/results?fields=id,colour", 422, "invalid-request"),
        ("/v1/results?cursor=%00", 422, "invalid-request"),
        ("/v1/results?cursor=AAAA", 422, "invalid-request"),
        ("/v1/results?cursor=WyJhc2MiLCAzXQ", 422, "invalid-request"),
        (f"/v1/results/{uuid.uuid4()}", 404, "not-found"),
        ("/v1/frames/%F0%9F%A6%86", 404, "not-found"),
        ("/v1/bundles/ffff", 404, "not-found"),
        ("/v1/export", 422, "invalid-request"),
        ("/v1/export?format=parquet", 422, "invalid-request"),
        ("/v1/events?after=-1", 422, "invalid-request"),
        ("/v1/nothing", 404, "not-found"),
        ("/../../etc/passwd", 404, "not-found"),
    ]:
        answer = await cloud.http.get(path)
        problem = answer.json()
        assert answer.status_code == problem["status"] == status, (path, problem)
        assert answer.headers["content-type"] == "application/problem+json"
        assert problem["type"] == f"urn:midstream:problem:{name}" and problem["title"] and problem["detail"]


async def test_a_method_that_is_not_there(cloud: Running) -> None:
    answer = await cloud.http.delete("/v1/results")
    assert answer.status_code == 405 and "GET" in answer.headers["allow"]
    assert answer.json()["type"] == "urn:midstream:problem:method-not-allowed"


async def test_health_metrics_and_documents(cloud: Running) -> None:
    for path in ("/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready"):
        assert (await cloud.json(path))["status"] == "ok"
    await fill(cloud)
    text = (await cloud.http.get("/metrics")).text
    for name in ("stage_duration_seconds", "feature_bytes", "batch_size", "e2e_latency_seconds"):
        assert f"midstream_{name}_count" in text
    assert 'midstream_build_info{service="cloud"' in text
    assert "/v1/results" in (await cloud.json("/openapi.json"))["paths"]
    assert (await cloud.http.get("/docs")).status_code == 200
    assert "text/html" in (await cloud.http.get("/")).headers["content-type"]


async def test_a_misspelt_parameter_is_named(cloud: Running) -> None:
    for path, there in [
        ("/v1/results?lable=person", "min_score"),
        ("/v1/results?Camera=a&limit=1", "camera"),
        ("/v1/export?format=jsonl&lable=person", "format"),
        ("/v1/events?since=1", "after"),
        ("/v1/cameras?camera=a", "none"),
    ]:
        answer = await cloud.http.get(path)
        assert answer.status_code == 422, path
        misspelt = answer.json()["errors"][0]["loc"][1]
        assert misspelt in path and misspelt in answer.json()["detail"] and there in answer.json()["detail"]


async def test_a_nul_is_in_nothing(start: Start, database: str) -> None:
    async with start(database=database) as cloud:
        for path, status in [
            ("/v1/results?camera=%00", 422),
            ("/v1/results?edge=a%00b", 422),
            ("/v1/export?format=jsonl&label=%00", 422),
            ("/v1/results/%00", 404),
            ("/v1/frames/a%00b/image", 404),
            ("/v1/frames/a/image?layer=%00", 404),
            ("/v1/results?order=desc&cursor=WyJkZXNjIiwgdHJ1ZV0", 422),  # ["desc", true]
        ]:
            answer = await cloud.http.get(path)
            assert answer.status_code == status, (path, answer.text)


async def test_the_page_says_what_a_browser_may_do(cloud: Running) -> None:
    for path in ("/", "/page.js", "/page.css"):
        headers = (await cloud.http.get(path)).headers
        assert headers["cache-control"] == "no-cache" and headers["x-content-type-options"] == "nosniff"
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy and policy.endswith("frame-ancestors 'none'")
    again = await cloud.http.get("/page.js", headers={"If-None-Match": headers["etag"]})
    assert again.headers["cache-control"] == "no-cache"
    assert "content-security-policy" not in (await cloud.http.get("/docs")).headers


async def test_results_that_are_too_old_are_deleted(start: Start) -> None:
    async with start(results_max_age_s=0.3) as cloud, cloud.edge() as edge:
        sent = [packet(seq, cloud.payload()) for seq in range(5)]
        await edge.deliver(*sent)
        for _ in range(400):
            if await cloud.counter('midstream_dropped_total{reason="results aged out"}') == 4:
                break
            await asyncio.sleep(0.05)
        assert len((await cloud.json("/v1/results"))["results"]) == 1
        acks = await edge.deliver(*sent[:2])
        assert [(a.seq, a.duplicate) for a in acks] == [(0, True), (1, True)]
        assert (await cloud.http.get(f"/v1/results/{sent[0].frame_id}")).status_code == 404
