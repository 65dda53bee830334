"""Rules: what matches is asked for by itself, so often a minute and no oftener."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import text

from cloud.settings import Settings
from common.bundle import Bundle
from tests.cloud.conftest import Running, Start, running
from tests.cloud.layered import asked, frame, reply, sealed, stored
from tests.cloud.speaker import packet, until
from tests.scalable import tiny

CAT = {(0, 1, 2): 0.9}
DOG = {(1, 3, 0): 0.6}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny.write(tmp_path_factory.mktemp("two"), tiny.TWO)


@pytest.fixture
async def scalable(settings: Callable[..., Settings], two: Bundle) -> AsyncIterator[Running]:
    async with running(settings(bundles_dir=two.path.parent), two) as one:
        yield one


async def put(cloud: Running, name: str, **body: Any) -> int:
    return (await cloud.http.put(f"/v1/rules/{name}", json=body)).status_code


async def outcomes(cloud: Running, rule: str) -> dict[str, float]:
    """The rule's outcomes, counted."""
    told = {}
    for outcome in ("asked", "here", "limited", "refused", "unavailable", "dropped", "failed"):
        if count := await cloud.counter(f'midstream_rules_total{{outcome="{outcome}",rule="{rule}"}}'):
            told[outcome] = count
    return told


async def test_rules_are_made_replaced_and_taken_back(start: Start) -> None:
    async with start() as cloud:
        assert await put(cloud, "people", label="person", roi="label") == 201
        assert await put(cloud, "people", label="person", camera="door", min_score=0.4, layer="original") == 200
        assert await put(cloud, "all") == 201
    async with start() as cloud:  # they outlive a restart
        first, second = (await cloud.json("/v1/rules"))["rules"]
        assert first == {
            "name": "all",
            "camera": None,
            "label": None,
            "min_score": 0.5,
            "layer": "full",
            "quality": None,
            "max_per_minute": 10,
            "roi": None,
        }
        assert (second["camera"], second["min_score"], second["layer"]) == ("door", 0.4, "original")
        codes = [(await cloud.http.delete("/v1/rules/all")).status_code for _ in range(2)]
        assert codes == [204, 404]
        assert [rule["name"] for rule in (await cloud.json("/v1/rules"))["rules"]] == ["people"]


@pytest.mark.parametrize(
    "body",
    [
        {"min_score": 1.1},
        {"min_score": "high"},
        {"layer": "infrared"},
        {"max_per_minute": 0},
        {"max_per_minute": 601},
        {"quality": 65536},
        {"label": ""},
        {"label": "a\0b"},
        {"camera": "no such camera"},
        {"lable": "person"},
        {"roi": "0,0,10,10"},
        {"roi": True},
    ],
)
async def test_what_is_no_rule_is_refused(cloud: Running, body: dict[str, Any]) -> None:
    assert await put(cloud, "r", **body) == 422
    assert (await cloud.json("/v1/rules")) == {"rules": []}


async def test_rules_are_bounded_and_named(cloud: Running) -> None:
    assert [await put(cloud, name) for name in ("a b", "x" * 65, "x" * 64)] == [422, 422, 201]
    codes = [await put(cloud, f"r{i}") for i in range(101)]
    assert codes == [201] * 99 + [409] * 2
    assert await put(cloud, "r5", label="cat") == 200


async def test_a_rule_that_the_database_does_not_take_is_not_there(cloud: Running) -> None:
    async with cloud.parts.store._engine.begin() as connection:
        await connection.execute(text("DROP TABLE rules"))
    answer = await cloud.http.put("/v1/rules/r", json={})
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1
    assert (await cloud.json("/v1/rules")) == {"rules": []}


async def test_what_matches_is_asked_for(cloud: Running) -> None:
    await put(cloud, "dogs", label="dog", min_score=0.6, camera="door", layer="original")
    async with cloud.edge() as edge:
        await edge.deliver(packet(1, cloud.payload(CAT)), packet(2, cloud.payload(DOG), camera="gate"))
        seen = packet(3, cloud.payload(DOG))
        await edge.send(seen)
        said = [await edge.hear(), await edge.hear()]
        (request,) = [one.layer_request for one in said if one.WhichOneof("message") == "layer_request"]
        assert (request.frame_id, request.layer) == (seen.frame_id, "original")
        await edge.deliver(packet(4, cloud.payload({(1, 0, 0): 0.4})))  # scores too little: nothing but its ack
    assert await outcomes(cloud, "dogs") == {"asked": 1}


async def test_the_full_layer_comes_by_itself(scalable: Running, two: Bundle) -> None:
    shot = frame(two)
    async with scalable.edge() as edge:
        seen = await stored(scalable, edge, sealed(two, shot, shot.layers[:1]))
        best = (await scalable.json(seen))["detections"][0]["score"]
        await put(scalable, "people", label="person", min_score=best, quality=320)
        await put(scalable, "masks", layer="mask", min_score=0)
        path = await stored(scalable, edge, sealed(two, shot, shot.layers[:1]), 2)
        request = await asked(edge)
        assert (request.layer, request.quality, request.frame_id) == ("full", 320, path.split("/")[3])
        await reply(edge, request, sealed(two, shot, shot.layers[1:]))
        await edge.deliver(packet(3, sealed(two, shot, shot.layers)))  # nobody needs to be asked for this one
        await until(lambda: not scalable.parts.rules._queue.qsize())
    assert (await scalable.http.get(f"{path}/image")).status_code == 200
    assert await outcomes(scalable, "people") == {"asked": 1, "here": 1}
    assert await outcomes(scalable, "masks") == {"refused": 2}


async def test_so_many_a_minute(cloud: Running) -> None:
    await put(cloud, "cats", label="cat", max_per_minute=3, layer="original")
    async with cloud.edge() as edge:
        frames = [packet(seq, cloud.payload(CAT)) for seq in range(10)]
        await edge.send(*frames)
        said = [await edge.hear() for _ in range(13)]
        kinds = [one.WhichOneof("message") for one in said]
        assert (kinds.count("ack"), kinds.count("layer_request")) == (10, 3)
    assert await outcomes(cloud, "cats") == {"asked": 3, "limited": 7}
