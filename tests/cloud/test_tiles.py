"""Regions of a picture: what is missing is asked for, what comes is joined, what is damaged shows what is below."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import text

from cloud import regions, tiles
from cloud.replies import Refusal
from cloud.settings import Settings
from cloud.store import Record, to_json
from common.bundle import Bundle
from common.codec import Layer
from common.layers import checksum
from common.scalable import PictureLayers
from common.scalable.regions import MARGIN, SEAM, Region, touched
from common.wire import stream_pb2 as wire
from tests.cloud.conftest import Running, running
from tests.cloud.layered import asked, frame, pixels, reply, sealed, settled, stored
from tests.cloud.test_rules import outcomes, put
from tests.scalable import coded, tiny
from tests.scalable.coded import Coded

SIZE = WIDTH, HEIGHT = 300, 220
ROI = Region(70, 70, 90, 50)
"""Of the 5 x 4 tiles of 64 pixels it needs the first two of the second row and the third: 0..2 with the margin."""


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """low and full, in tiles"""
    return tiny.write(tmp_path_factory.mktemp("frequency"), tiny.FREQUENCY)


@pytest.fixture(scope="module")
def layers(held: Bundle) -> PictureLayers:
    return PictureLayers.open(held)


@pytest.fixture(scope="module")
def shot(held: Bundle) -> Coded:
    return coded.frame(held, *SIZE)


@pytest.fixture
async def cloud(settings: Callable[..., Settings], held: Bundle) -> AsyncIterator[Running]:
    async with running(settings(bundles_dir=held.path.parent), held) as one:
        yield one


def path_of(path: str, roi: Region | str, **more: Any) -> str:
    place = roi if isinstance(roi, str) else ",".join(map(str, roi))
    return f"{path}/image?layer=full&format=png&roi={place}" + "".join(
        f"&{name}={value}" for name, value in more.items()
    )


def wanted(request: Any) -> list[Region]:
    return [Region(r.x, r.y, r.width, r.height) for r in request.regions]


async def here(cloud: Running, path: str) -> dict[str, Any]:
    return {one["name"]: one for one in (await cloud.json(f"{path}/layers"))["layers"]}


async def test_only_missing_tiles_are_asked_for(
    cloud: Running, held: Bundle, layers: PictureLayers, shot: Coded
) -> None:
    base, low, full = shot.layers
    async with cloud.edge() as edge:
        path = await stored(cloud, edge, sealed(held, shot, [base]))
        assert (await cloud.json(path))["layers"] == ["base", "low", "full", "original"]
        assert (await cloud.http.get(path_of(path, ROI))).status_code == 202
        request = await asked(edge)
        assert (request.layer, request.with_base, wanted(request)) == ("full", False, [ROI])
        assert not request.HasField("below")
        part = layers.cut(full, [ROI], *SIZE)
        await reply(edge, request, sealed(held, shot, [low, part]))
        first = await settled(cloud, path_of(path, ROI))
        shown = pixels(first)
        whole, below = layers.decode(shot.layers, *SIZE), layers.decode(shot.layers, *SIZE, name="low")
        inside = np.zeros((HEIGHT, WIDTH), bool)
        inside[ROI.y : ROI.y + ROI.height, ROI.x : ROI.x + ROI.width] = True
        core = (slice(ROI.y + SEAM, ROI.y + ROI.height - SEAM), slice(ROI.x + SEAM, ROI.x + ROI.width - SEAM))
        assert np.array_equal(shown, layers.decode([low, part], *SIZE, regions=[ROI]))
        assert np.array_equal(shown[~inside], below[~inside])
        # Tiles farther away than the margin are not here, and the networks look a little farther.
        apart = np.abs(np.stack([shown, below]).astype(int) - whole)[:, *core]
        assert apart[0].max() <= 2 < apart[1].max()
        there = await here(cloud, path)
        expected = {"here": False, "bytes": len(part.payload), "tiles": {"here": 9, "of": 20}}
        assert there["full"] == {"name": "full", **expected}
        assert there["base"]["bytes"] == there["low"]["bytes"] == len(low.payload)

        # The tiles beside them are asked for without what is here already, which is named by its checksum.
        assert (await cloud.http.get(path_of(path, Region(0, 0, WIDTH, 90)))).status_code == 202
        request = await asked(edge)
        assert request.below == checksum([low]) and request.quality == 320
        more = layers.cut(full, wanted(request), *SIZE)
        assert layers.tiles(more, *SIZE).astype(int).tolist() == [[0, 0, 0, 1, 1]] * 2 + [[0] * 5] * 2
        await reply(edge, request, sealed(held, shot, [more]))
        assert (await settled(cloud, path_of(path, Region(0, 0, WIDTH, 90)))).status_code == 200
        # Now the rest.
        assert (await cloud.http.get(f"{path}/image?format=png")).status_code == 202
        request = await asked(edge)
        rest = layers.cut(full, wanted(request), *SIZE)
        assert layers.tiles(rest, *SIZE).sum() == 20 - 9 - 4
        await reply(edge, request, sealed(held, shot, [rest]))
        assert np.array_equal(pixels(await settled(cloud, f"{path}/image?format=png")), whole)
        assert (await here(cloud, path))["full"]["bytes"] == len(full.payload)

        # What a region shows does not change by what else is here; its tag says so.
        known = {"If-None-Match": first.headers["etag"]}
        assert (await cloud.http.get(path_of(path, ROI), headers=known)).status_code == 304
        other = await cloud.http.get(path_of(path, Region(70, 70, 91, 50)), headers=known)
        assert other.status_code == 200 and "Midstream-Damaged-Tiles" not in other.headers


async def test_who_waits_need_not_ask_again(cloud: Running, held: Bundle, layers: PictureLayers, shot: Coded) -> None:
    base, low, full = shot.layers
    async with cloud.edge() as edge:
        path = await stored(cloud, edge, sealed(held, shot, [base]))
        roi = path_of(path, ROI, wait="20s")
        both = [asyncio.create_task(cloud.http.get(url)) for url in (roi, f"{path}/image?layer=base&wait=20")]
        requests = {request.layer: request for request in [await asked(edge), await asked(edge)]}
        await reply(edge, requests["low"], sealed(held, shot, [low]))
        await reply(edge, requests["full"], sealed(held, shot, [low, layers.cut(full, [ROI], *SIZE)]))
        assert [answer.status_code for answer in await asyncio.gather(*both)] == [200, 200]
        assert (await cloud.http.get(f"{path}/image?wait=50ms")).status_code == 202
        gone = asyncio.create_task(cloud.http.get(f"{path}/image?wait=20s"))
        await reply(edge, await asked(edge), status=wire.LAYER_STATUS_GONE, detail="shed: ring full")
        answer = await gone
        assert answer.status_code == 410 and "shed: ring full" in answer.json()["detail"]
        assert (await cloud.http.get(path_of(path, Region(200, 100, 9, 9)))).status_code == 410
        assert (await cloud.http.get(path_of(path, ROI))).status_code == 200, "what is here stays"
        for wait in ("5x", "-1", "", "nan", "1e9"):
            assert (await cloud.http.get(path_of(path, ROI, wait=wait))).status_code == 422


async def nothing_awaited(cloud: Running) -> None:
    """When what was asked for has come, and is kept."""
    layers = cloud.parts.layers
    async with asyncio.timeout(20):
        while layers._outstanding or layers._storing:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def spoil(full: Layer) -> Layer:
    """With another byte in its last tile."""
    return Layer(full.kind, full.payload[:-3] + bytes([full.payload[-3] ^ 8]) + full.payload[-2:])


async def test_a_damaged_tile_shows_what_is_below_and_is_asked_for_once_more(
    cloud: Running, held: Bundle, layers: PictureLayers, shot: Coded
) -> None:
    low, full = shot.layers[1:]
    spoilt = spoil(full)
    assert (~layers.tiles(spoilt, *SIZE, sound=True)).sum() == 1
    corner = Region(280, 180, 20, 20)
    async with cloud.edge() as edge:
        path = await stored(cloud, edge, sealed(held, shot, [*shot.layers[:2], spoilt]))
        whole = f"{path}/image?format=png"
        answer = await cloud.http.get(whole)
        assert answer.headers["midstream-damaged-tiles"] == "1"
        below = layers.decode([low, spoilt], *SIZE)
        assert np.array_equal(pixels(answer), below)
        request = await asked(edge)  # by itself, because somebody looked
        assert (await cloud.http.get(path_of(path, corner))).headers["midstream-damaged-tiles"] == "1"
        assert "midstream-damaged-tiles" not in (await cloud.http.get(path_of(path, ROI))).headers
        again = layers.cut(full, wanted(request), *SIZE)
        assert np.flatnonzero(layers.tiles(again, *SIZE)).tolist() == [19], "the last one, which is damaged"
        await reply(edge, request, sealed(held, shot, [again]))
        async with asyncio.timeout(20):
            while "midstream-damaged-tiles" in (answer := await cloud.http.get(whole)).headers:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert np.array_equal(pixels(answer), layers.decode(shot.layers, *SIZE))


async def test_in_each_quality_damaged_tiles_are_asked_for_once_more(
    cloud: Running, held: Bundle, layers: PictureLayers, shot: Coded
) -> None:
    base, low, full = shot.layers
    better = layers.encode("low", shot.picture, [], 400)
    finer = layers.encode("full", shot.picture, [better], 400)
    async with cloud.edge() as edge:
        path = await stored(cloud, edge, sealed(held, shot, [base, low, spoil(full)]))
        whole = f"{path}/image?format=png"
        for quality, above in ((320, full), (400, finer)):
            if quality == 400:
                await cloud.http.get(f"{whole}&quality=400")
                await reply(edge, await asked(edge), sealed(held, shot, [better, spoil(finer)]))
            answer = await settled(cloud, f"{whole}&quality={quality}")
            assert answer.headers["midstream-damaged-tiles"] == "1"
            request = await asked(edge)
            assert (request.quality, len(wanted(request))) == (quality, 1)
            part = layers.cut(spoil(above), wanted(request), *SIZE)  # no better than before
            await reply(edge, request, sealed(held, shot, [part]))
            await nothing_awaited(cloud)
            for _ in range(3):
                answer = await cloud.http.get(f"{whole}&quality={quality}")
                assert answer.headers["midstream-damaged-tiles"] == "1"
        await cloud.http.get(f"{path}/image?layer=original")
        assert (await asked(edge)).layer == "original", "nothing else was asked for meanwhile"


async def test_a_refused_region_says_nothing_of_others(
    cloud: Running, held: Bundle, layers: PictureLayers, shot: Coded
) -> None:
    base, low, full = shot.layers
    other = Region(200, 150, 60, 40)
    async with cloud.edge() as edge:
        path = await stored(cloud, edge, sealed(held, shot, [base]))
        await cloud.http.get(path_of(path, ROI))
        await reply(edge, await asked(edge), status=wire.LAYER_STATUS_INVALID, detail="this edge knows no regions")
        assert (await settled(cloud, path_of(path, ROI))).status_code == 422
        assert (await cloud.http.get(path_of(path, other))).status_code == 202
        request = await asked(edge)
        await reply(edge, request, sealed(held, shot, [low, layers.cut(full, wanted(request), *SIZE)]))
        assert (await settled(cloud, path_of(path, other))).status_code == 200
        assert (await cloud.http.get(path_of(path, ROI))).status_code == 202, "now other tiles are asked for"
        await reply(edge, await asked(edge), status=wire.LAYER_STATUS_GONE, detail="aged out")
        for roi in (ROI, Region(0, 0, 50, 50)):
            assert (await settled(cloud, path_of(path, roi))).status_code == 410
        assert (await cloud.http.get(path_of(path, other))).status_code == 200


async def test_tiles_that_have_no_room_together_come_together_or_not_at_all(
    cloud: Running, held: Bundle, layers: PictureLayers, shot: Coded, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, low, full = shot.layers
    top, bottom = Region(0, 0, WIDTH, 40), Region(0, 180, WIDTH, 40)
    sizes = [len(layers.cut(full, [region], *SIZE).payload) for region in (top, bottom)]
    monkeypatch.setattr(tiles, "MAX_BYTES", sum(sizes) - 100)

    async def looked(roi: Region, times: int) -> int:
        """The answer when the edge has been asked so often."""
        for _ in range(times):
            assert (await cloud.http.get(path_of(path, roi))).status_code == 202
            request = await asked(edge)
            part = layers.cut(full, wanted(request) or None, *SIZE)
            below = [] if request.HasField("below") else [low]
            fields: dict[str, Any] = {"payload": sealed(held, shot, [*below, part])}
            if len(part.payload) > tiles.MAX_BYTES:
                fields = {"status": wire.LAYER_STATUS_FAILED, "detail": "too large"}
            await reply(edge, request, **fields)
            await nothing_awaited(cloud)
        return (await cloud.http.get(path_of(path, roi))).status_code

    async with cloud.edge() as edge:
        path = await stored(cloud, edge, sealed(held, shot, [base]))
        assert await looked(top, 1) == 200
        assert await looked(bottom, 1) == 200
        assert await looked(top, 1) == 200
        assert await looked(Region(0, 0, WIDTH, HEIGHT), 1) == 502


async def test_tiles_of_another_quality_take_the_place_of_those_before(
    cloud: Running, held: Bundle, layers: PictureLayers, shot: Coded
) -> None:
    base, low, full = shot.layers
    better = layers.encode("low", shot.picture, [], 400)
    finer = layers.cut(layers.encode("full", shot.picture, [better], 400), [ROI], *SIZE)
    async with cloud.edge() as edge:
        path = await stored(cloud, edge, sealed(held, shot, [base, low, full]))
        assert (await cloud.http.get(path_of(path, ROI, quality=320))).status_code == 200
        await cloud.http.get(path_of(path, ROI, quality=400))
        request = await asked(edge)
        assert request.quality == 400 and not request.HasField("below")
        await reply(edge, request, sealed(held, shot, [better, finer]))
        answer = await settled(cloud, path_of(path, ROI, quality=400))
        assert np.array_equal(pixels(answer), layers.decode([better, finer], *SIZE, regions=[ROI]))
        # From now on it is this quality that is asked for, and a low layer of another stands aside.
        await cloud.http.get(f"{path}/image?layer=full")
        request = await asked(edge)
        assert request.quality == 400 and request.below == checksum([better])
        await cloud.http.get(f"{path}/image?layer=low&quality=500")
        await reply(edge, await asked(edge), sealed(held, shot, [layers.encode("low", shot.picture, [], 500)]))
        assert (await settled(cloud, f"{path}/image?layer=low&quality=500")).status_code == 200
        again = await cloud.http.get(path_of(path, ROI))
        assert again.content == answer.content


async def test_without_a_quality_tiles_are_of_the_usual_one(
    cloud: Running, held: Bundle, layers: PictureLayers, shot: Coded
) -> None:
    """Whatever what is below them was asked for."""
    worse, usual = (layers.encode("low", shot.picture, [], quality) for quality in (1, tiny.DEFAULT))
    full = layers.cut(layers.encode("full", shot.picture, [usual]), [ROI], *SIZE)
    async with cloud.edge() as edge:
        path = await stored(cloud, edge, sealed(held, shot, shot.layers[:1]))
        await cloud.http.get(f"{path}/image?layer=low&quality=1")
        await reply(edge, await asked(edge), sealed(held, shot, [worse]))
        assert (await settled(cloud, f"{path}/image?layer=low&quality=1")).status_code == 200
        assert (await cloud.http.get(path_of(path, ROI))).status_code == 202
        request = await asked(edge)
        assert request.quality == tiny.DEFAULT and not request.HasField("below")
        await reply(edge, request, sealed(held, shot, [usual, full]))
        answer = await settled(cloud, path_of(path, ROI))
        assert np.array_equal(pixels(answer), layers.decode([usual, full], *SIZE, regions=[ROI]))
        assert (await cloud.http.get(f"{path}/image?layer=low")).status_code == 200
        assert (await cloud.http.get(path_of(path, ROI, quality=1))).content == answer.content


async def test_what_does_not_fit_together_is_not_kept(
    cloud: Running, held: Bundle, layers: PictureLayers, shot: Coded
) -> None:
    base, low, full = shot.layers
    other = layers.encode("low", shot.picture, [], 321)
    index = Layer(full.kind, full.payload[:2] + b"\0\xff\xff" + full.payload[5:])
    tried: list[tuple[list[Layer], int]] = [
        ([full], 422),  # nobody said that the layer below may be left out
        ([base, low, full], 422),
        ([other, full], 422),
        ([low, index], 422),
        ([low, Layer(full.kind, full.payload[:2])], 422),
        ([low, Layer(full.kind, full.payload + b"\0")], 422),
        ([low, Layer(3, full.payload)], 422),
        ([low, full], 200),
    ]
    async with cloud.edge() as edge:
        for seq, (sent, status) in enumerate(tried):
            path = await stored(cloud, edge, sealed(held, shot, [base]), seq)
            await cloud.http.get(path_of(path, ROI))
            await reply(edge, await asked(edge), sealed(held, shot, sent))
            answer = await settled(cloud, path_of(path, ROI))
            assert answer.status_code == status, (sent, answer.text)
            assert (await cloud.json(path))["detections"]


async def test_tiles_that_come_too_late_are_dropped(
    cloud: Running, held: Bundle, layers: PictureLayers, shot: Coded
) -> None:
    """They were coded upon what is here no more."""
    base, low, full = shot.layers
    async with cloud.edge() as edge:
        path = await stored(cloud, edge, sealed(held, shot, [base, low]))
        await cloud.http.get(path_of(path, ROI))
        request = await asked(edge)
        assert request.below == checksum([low])
        await cloud.parts.store.drop_layers(path.split("/")[3], [1])
        await reply(edge, request, sealed(held, shot, [layers.cut(full, [ROI], *SIZE)]))
        await nothing_awaited(cloud)
        assert (await cloud.http.get(path_of(path, ROI))).status_code == 202
        request = await asked(edge)
        assert not request.HasField("below")
        await reply(edge, request, sealed(held, shot, [low, layers.cut(full, [ROI], *SIZE)]))
        assert (await settled(cloud, path_of(path, ROI))).status_code == 200


async def test_a_list_of_tiles_that_cannot_be_read_is_forgotten(cloud: Running, held: Bundle, shot: Coded) -> None:
    nonsense = Layer(2, shot.layers[2].payload[:2] + b"\x80\x80" + bytes(40))
    async with cloud.edge() as edge:
        path = await stored(cloud, edge, sealed(held, shot, [*shot.layers[:2], nonsense]))
        assert (await here(cloud, path))["full"]["tiles"] is None
        assert (await cloud.http.get(path_of(path, ROI))).status_code == 202
        await reply(edge, await asked(edge), sealed(held, shot, shot.layers[1:]))
        assert (await settled(cloud, path_of(path, ROI))).status_code == 200


async def test_a_rule_sends_for_what_matched(cloud: Running, held: Bundle, layers: PictureLayers, shot: Coded) -> None:
    async with cloud.edge() as edge:
        path = await stored(cloud, edge, sealed(held, shot, shot.layers[:1]))
        found = (await cloud.json(path))["detections"]
        best = found[0]["score"]
        await put(cloud, "people", label="person", min_score=best, roi="label")
        path = await stored(cloud, edge, sealed(held, shot, shot.layers[:1]), 2)
        request = await asked(edge)
        row = await cloud.parts.store.result(path.split("/")[3])
        assert row and wanted(request) == list(regions.of_found(found, row, best))
        assert 0 < layers.tiles(layers.cut(shot.layers[2], wanted(request), *SIZE), *SIZE).sum() < 20
        await put(cloud, "people", layer="original", min_score=0, roi="label")
        await stored(cloud, edge, sealed(held, shot, shot.layers[:1]), 3)
        async with asyncio.timeout(20):
            while await outcomes(cloud, "people") != {"asked": 1, "refused": 1}:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_two_rules_send_for_other_parts_of_one_frame(
    cloud: Running, held: Bundle, layers: PictureLayers, shot: Coded
) -> None:
    async with cloud.edge() as edge:
        path = await stored(cloud, edge, sealed(held, shot, shot.layers[:1]))
        best, *others = sorted({found["score"] for found in (await cloud.json(path))["detections"]}, reverse=True)
        await put(cloud, "best", min_score=best, roi="label")
        await put(cloud, "all", min_score=others[-1], roi="label")
        path = await stored(cloud, edge, sealed(held, shot, shot.layers[:1]), 2)
        for rule in ("best", "all"):
            request = await asked(edge)
            below = [] if request.HasField("below") else [shot.layers[1]]
            cut = layers.cut(shot.layers[2], wanted(request), *SIZE)
            await reply(edge, request, sealed(held, shot, [*below, cut]))
            async with asyncio.timeout(20):
                while await outcomes(cloud, rule) != {"asked": 1}:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        row = await cloud.parts.store.result(path.split("/")[3])
        assert row
        needed = layers.cut(shot.layers[2], regions.of_found(row.found(), row, others[-1]), *SIZE)
        answer = await settled(cloud, f"{path}/layers")
        tiles_here = {layer["name"]: layer["tiles"] for layer in answer.json()["layers"]}["full"]
        assert tiles_here["here"] == layers.tiles(needed, *SIZE).sum()


def row_of(found: str, width: int = 640, height: int = 480) -> Record:
    values = dict.fromkeys(Record.__slots__, 0) | {"width": width, "height": height, "detections": found, "id": "f"}
    return Record(**values)


FOUND = (
    '[{"label":"person","score":0.9,"box":[100,100,180,200],"track_id":7},'
    '{"label":"person","score":0.1,"box":[0,0,10,10]},{"label":"car: red","score":0.5,"box":[600,400,640,480]}]'
)


def test_regions_are_those_of_what_was_found() -> None:
    row = row_of(FOUND)
    assert regions.wanted("10,20,30,40", row) == (Region(10, 20, 30, 40),)
    assert regions.wanted("0,0,640,480", row) == (Region(0, 0, 640, 480),)
    assert regions.wanted("track:7", row) == (Region(90, 87, 100, 126),)
    assert regions.wanted("label:person", row) == (Region(90, 87, 100, 126), Region(0, 0, 18, 18))
    assert regions.wanted("label:person", row, 0.5) == (Region(90, 87, 100, 126),)
    assert regions.wanted("label:car: red", row) == (Region(592, 390, 48, 90),)
    many = to_json([{"label": "a", "score": 0.9, "box": [x, 8, x + 4, 16]} for x in range(8, 600, 8)])
    assert regions.wanted("label:a", row_of(many)) == (Region(0, 0, 604, 24),)


@pytest.mark.parametrize(
    ("roi", "status", "word"),
    [
        ("600,0,41,10", 422, "640x480"),
        ("0,479,1,2", 422, "640x480"),
        ("-1,0,10,10", 422, "640x480"),
        ("640,480,1,1", 422, "640x480"),
        ("0,0,999999999,999999999", 422, "640x480"),
        ("0,0,0,10", 422, "0x10"),
        ("0,0,10,-10", 422, "10x-10"),
        ("0,0,10", 422, "x,y,w,h"),
        ("0,0,10,10,10", 422, "x,y,w,h"),
        ("0.5,0,10,10", 422, "x,y,w,h"),
        ("0,0,10,1e3", 422, "x,y,w,h"),
        ("0, 0, 10, 10", 422, "x,y,w,h"),
        ("0,0,10,٣", 422, "x,y,w,h"),
        ("0,0,10,99999999999999999999", 422, "x,y,w,h"),
        ("", 422, "x,y,w,h"),
        ("person", 422, "x,y,w,h"),
        ("box:1", 422, "x,y,w,h"),
        ("label:", 404, "label:person"),
        ("label:boat", 404, "car: red"),
        ("track:8", 404, "track:7 (person)"),
        ("track:None", 404, "track:7 (person)"),
        ("track:", 404, "track:7 (person)"),
    ],
)
def test_what_is_no_region(roi: str, status: int, word: str) -> None:
    refusal = regions.wanted(roi, row_of(FOUND))
    assert isinstance(refusal, Refusal) and refusal.status == status and word in refusal.reason, refusal


@pytest.mark.parametrize("size", [(640, 480), (300, 200), (65, 1), (64, 64), (129, 1000)])
def test_what_is_asked_for_covers_the_tiles_that_are_missing(size: tuple[int, int]) -> None:
    random = np.random.default_rng(7)
    shape = -(-size[1] // 64), -(-size[0] // 64)
    for share in (0.1, 0.5, 0.9, 1.0):
        missing: NDArray[np.bool_] = random.random(shape) < share
        asked_for = tiles.covering(missing, 64, size)
        assert asked_for is not None
        grown = [region.grown(MARGIN, *size) for region in asked_for]
        sent = touched(grown, 64, *shape)
        assert not (missing & ~sent).any()
        narrow = np.zeros(shape, bool)  # there a region cannot be far enough from the next tile
        narrow[-2:], narrow[:, -2:] = True, True
        assert not (sent & ~missing & ~narrow).any()
    assert tiles.covering(np.zeros(shape, bool), 64, size) == ()


def test_too_many_regions_are_all_of_the_picture() -> None:
    board = np.indices((30, 30)).sum(0) % 2 == 0
    assert tiles.covering(board, 64, (1920, 1920)) is None


async def test_the_page_of_a_frame_without_tiles(cloud: Running, held: Bundle, shot: Coded) -> None:
    async with cloud.edge() as edge:
        path = await stored(cloud, edge, sealed(held, shot, shot.layers[:1]))
        for layer, status in [("low", 422), ("base", 422), ("original", 422), ("noisy", 404), ("mask", 404)]:
            answer = await cloud.http.get(f"{path}/image?layer={layer}&roi=0,0,10,10")
            assert answer.status_code == status, answer.text
            assert status == 404 or "not coded in tiles" in answer.json()["detail"]
        for roi, status in [("label:dog", 404), ("9,9", 422), ("x" * 129, 422)]:
            assert (await cloud.http.get(path_of(path, roi))).status_code == status
        assert (await cloud.http.get(path_of(path, "0,0,9,9", min_score=2))).status_code == 422
        async with cloud.parts.store._engine.begin() as connection:
            asked_for = (await connection.execute(text("SELECT count(*) FROM layers"))).scalar_one()
        assert asked_for == 0, "the features are nothing that a picture is made of"


async def test_clean_and_noisy(settings: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory) -> None:
    denoise = tiny.write(tmp_path_factory.mktemp("denoise"), tiny.DENOISE)
    layers, shot = PictureLayers.open(denoise), frame(denoise)
    base, clean, noisy = shot.layers
    large = shot._replace(picture=np.broadcast_to(shot.picture[:1, :1], (2048, 3072, 3)))
    async with running(settings(bundles_dir=denoise.path.parent), denoise) as cloud, cloud.edge() as edge:
        path = await stored(cloud, edge, sealed(denoise, shot, [base]))
        assert (await cloud.json(path))["layers"] == ["base", "clean", "full", "noisy", "original"]
        for layer, kinds, name in [("base", [clean], "clean"), ("full", [clean, noisy], "noisy")]:
            waiting = asyncio.create_task(cloud.http.get(f"{path}/image?layer={layer}&format=png&wait=20s"))
            request = await asked(edge)
            assert (request.layer, request.with_base) == (name, False)
            await reply(edge, request, sealed(denoise, shot, kinds))
            assert np.array_equal(pixels(await waiting), layers.decode(shot.layers, *shot.size, name=name))
            assert (await cloud.http.get(f"{path}/image?layer={name}&format=png")).content == (await waiting).content
        better = layers.encode("clean", shot.picture, [], 500)
        await cloud.http.get(f"{path}/image?layer=clean&quality=500")
        await reply(edge, await asked(edge), sealed(denoise, shot, [better]))
        answer = await settled(cloud, f"{path}/image?layer=clean&quality=500&format=png")
        assert np.array_equal(pixels(answer), layers.decode([better], *shot.size, name="clean"))
        assert (await cloud.http.get(f"{path}/image?layer=noisy")).status_code == 200
        path = await stored(cloud, edge, sealed(denoise, large, [base]), 2)
        assert (await cloud.json(path))["layers"] == ["base", "clean", "original"]
        answer = await cloud.http.get(f"{path}/image?layer=full")
        assert answer.status_code == 404 and "layer noisy is made of frames of up to 4194304" in answer.text
        assert (await cloud.http.get(f"{path}/image?layer=clean")).status_code == 202
