"""/v1/export: what other tools read."""

import json

from tests.cloud import tiny
from tests.cloud.conftest import Running
from tests.cloud.speaker import packet


async def fill(cloud: Running, count: int) -> None:
    async with cloud.edge() as edge:
        await edge.deliver(
            *(
                packet(i, cloud.payload({(0, 1, 2): 1.0, (1, 0, 0): 0.4} if i % 2 else {}), camera="ab"[i % 2])
                for i in range(count)
            )
        )


async def test_coco_loads(cloud: Running) -> None:
    """More than a page, so that the pieces must join."""
    await fill(cloud, 600)
    answer = await cloud.http.get("/v1/export", params={"format": "coco"})
    assert "attachment" in answer.headers["content-disposition"]
    coco = answer.json()
    assert len(coco["images"]) == 600 and len(coco["annotations"]) == 600
    assert [c for c in coco["categories"] if c["name"] in tiny.LABELS] == [
        {"id": 17, "name": "cat"},
        {"id": 18, "name": "dog"},
    ]
    assert len({c["id"] for c in coco["categories"]}) == len(coco["categories"])
    images = {i["id"]: i for i in coco["images"]}
    assert len(images) == 600
    assert [a["id"] for a in coco["annotations"]] == list(range(1, 601))
    for a in coco["annotations"]:
        assert images[a["image_id"]]["camera"] == "b"
        x1, y1, *_ = tiny.box(1, 2) if a["category_id"] == 17 else tiny.box(0, 0)
        assert a["bbox"] == [x1, y1, 80, 80] and a["area"] == 6400 and a["iscrowd"] == 0


async def test_coco_of_nothing(cloud: Running) -> None:
    coco = await cloud.json("/v1/export", format="coco")
    assert coco["images"] == coco["annotations"] == []
    assert set(tiny.LABELS) <= {c["name"] for c in coco["categories"]}


async def test_json_lines_are_the_results(cloud: Running) -> None:
    await fill(cloud, 20)
    text = (await cloud.http.get("/v1/export", params={"format": "jsonl", "camera": "b", "min_score": 0.5})).text
    lines = [json.loads(line) for line in text.splitlines()]
    page = await cloud.json("/v1/results", camera="b", min_score=0.5, order="asc")
    assert lines == page["results"] and len(lines) == 10
