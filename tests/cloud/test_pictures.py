"""Base and full pictures, masks: what is here needs nobody, what is not is asked for, and only what fits is kept."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from sqlalchemy import text

from cloud.settings import Settings
from common.bundle import Bundle
from common.codec import Layer
from common.scalable import PictureLayers
from common.wire import stream_pb2 as wire
from tests.cloud.conftest import Running, running
from tests.cloud.layered import asked, frame, pixels, reply, sealed, settled, stored
from tests.cloud.speaker import packet, until
from tests.scalable import coded, tiny
from tests.scalable.coded import Coded

FORMS = ("jpeg", "png", "webp")


@pytest.fixture(scope="session")
def two(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """base and full"""
    return tiny.write(tmp_path_factory.mktemp("two"), tiny.TWO)


@pytest.fixture(scope="session")
def three(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """base, mask and full"""
    return tiny.write(tmp_path_factory.mktemp("three"), tiny.THREE)


@pytest.fixture(scope="session")
def shot(two: Bundle) -> Coded:
    return frame(two)


@pytest.fixture
async def cloud(settings: Callable[..., Settings], two: Bundle) -> AsyncIterator[Running]:
    async with running(settings(bundles_dir=two.path.parent), two) as one:
        yield one


async def test_a_base_picture_needs_nobody(cloud: Running, two: Bundle, shot: Coded) -> None:
    async with cloud.edge() as edge:
        path = await stored(cloud, edge, sealed(two, shot, shot.layers[:1]))
    await until(lambda: not len(cloud.parts.links))
    answer = await cloud.http.get(f"{path}/image?layer=base&format=png")
    assert np.array_equal(pixels(answer), PictureLayers.open(two).preview(shot.layers[:1], *shot.size))
    for form in ("jpeg", "webp"):
        answer = await cloud.http.get(f"{path}/image?layer=base", headers={"Accept": f"text/html, image/{form};q=0.5"})
        assert answer.headers["content-type"] == f"image/{form}" and answer.headers["vary"] == "Accept"
        assert pixels(answer).shape == shot.picture.shape
    known = {"Accept": "image/webp", "If-None-Match": answer.headers["etag"]}
    assert (await cloud.http.get(f"{path}/image?layer=base", headers=known)).status_code == 304
    known["Accept"] = "image/png"  # another form is another file
    assert (await cloud.http.get(f"{path}/image?layer=base", headers=known)).status_code == 200
    assert (await cloud.json(path))["layers"] == ["base", "full", "original"]
    assert (await cloud.http.get(f"{path}/image")).status_code == 503


async def test_the_full_picture_comes_when_asked_for(cloud: Running, two: Bundle, shot: Coded) -> None:
    base, full = shot.layers
    async with cloud.edge() as edge:
        path = await stored(cloud, edge, sealed(two, shot, [base]))
        answer = await cloud.http.get(f"{path}/image")
        assert answer.status_code == 202 and int(answer.headers["retry-after"]) >= 1
        request = await asked(edge)
        assert (request.layer, request.with_base, request.quality) == ("full", False, tiny.DEFAULT)
        await reply(edge, request, sealed(two, shot, [full]))
        answer = await settled(cloud, f"{path}/image?format=png")
    assert np.array_equal(pixels(answer), PictureLayers.open(two).decode(shot.layers, *shot.size))
    assert np.abs(pixels(answer).astype(int) - shot.picture).mean() < 16  # it is that picture
    held = {one["name"]: one["bytes"] for one in (await cloud.json(f"{path}/layers"))["layers"]}
    assert held == {"base": len(base.payload), "full": len(full.payload), "original": 0}
    assert (await cloud.json(path))["bytes"]["coded"] == len(sealed(two, shot, [base]))


async def test_a_better_one_takes_the_place_of_the_one_before(cloud: Running, two: Bundle, shot: Coded) -> None:
    base, full = shot.layers  # in quality 320
    better = PictureLayers.open(two).encode("full", shot.picture, [base], 400)
    async with cloud.edge() as edge:
        path = await stored(cloud, edge, sealed(two, shot, [base, full]))
        first = await cloud.http.get(f"{path}/image?quality=320")
        assert first.status_code == 200 and "no-cache" in first.headers["cache-control"]
        assert (await cloud.http.get(f"{path}/image?quality=400")).status_code == 202
        request = await asked(edge)
        assert (request.layer, request.quality) == ("full", 400)
        await reply(edge, request, sealed(two, shot, [better]))
        second = await settled(cloud, f"{path}/image?quality=400")
        known = {"If-None-Match": first.headers["etag"]}
        assert (await cloud.http.get(f"{path}/image", headers=known)).content == second.content != first.content
        for quality, words in [(512, "0 to 511"), (0, "greater")]:
            answer = await cloud.http.get(f"{path}/image?quality={quality}")
            assert answer.status_code == 422 and words in answer.json()["detail"]
        assert (await cloud.http.get(f"{path}/image?layer=base&quality=300")).status_code == 422


async def test_without_a_quality_it_is_the_usual_one(cloud: Running, two: Bundle, shot: Coded) -> None:
    """Whatever somebody else asked for."""
    base = shot.layers[0]
    worse, usual = (PictureLayers.open(two).encode("full", shot.picture, [base], q) for q in (1, tiny.DEFAULT))
    async with cloud.edge() as edge:
        path = await stored(cloud, edge, sealed(two, shot, [base]))
        await cloud.http.get(f"{path}/image?quality=1")
        await reply(edge, await asked(edge), sealed(two, shot, [worse]))
        small = await settled(cloud, f"{path}/image?quality=1")
        assert (await cloud.http.get(f"{path}/image")).status_code == 202
        request = await asked(edge)
        assert request.quality == tiny.DEFAULT
        await reply(edge, request, sealed(two, shot, [usual]))
        answer = await settled(cloud, f"{path}/image?format=png")
        assert np.array_equal(pixels(answer), PictureLayers.open(two).decode([base, usual], *shot.size))
        assert (await cloud.http.get(f"{path}/image?quality=1")).content != small.content, "what is here may be better"


async def test_layers_that_came_along_need_nobody(cloud: Running, two: Bundle, shot: Coded) -> None:
    usual = coded.frame(two, *shot.size, quality=tiny.DEFAULT)  # as edges send them
    async with cloud.edge() as edge:
        path = await stored(cloud, edge, sealed(two, usual, usual.layers))
        assert (await cloud.http.get(f"{path}/image")).status_code == 200
        path = await stored(cloud, edge, sealed(two, shot, shot.layers), 2)
    assert (await cloud.http.get(f"{path}/image")).status_code == 200
    row = await cloud.json(path)
    assert row["bytes"]["coded"] < len(sealed(two, shot, shot.layers)) - len(shot.layers[1].payload) + 8
    assert await cloud.counter('midstream_feature_bytes_count{layer="enhancement"}') == 2


async def test_a_layer_comes_with_those_it_builds_on(settings: Callable[..., Settings], three: Bundle) -> None:
    shot = frame(three, seed=3)
    async with running(settings(bundles_dir=three.path.parent), three) as cloud, cloud.edge() as edge:
        path = await stored(cloud, edge, sealed(three, shot, shot.layers[:1]))
        assert (await cloud.json(path))["layers"] == ["base", "mask", "full", "original"]
        await cloud.http.get(f"{path}/image?layer=full")
        request = await asked(edge)
        assert (request.layer, request.with_base) == ("full", False)
        await reply(edge, request, sealed(three, shot, shot.layers[1:]))
        answer = await settled(cloud, f"{path}/image?layer=full&format=png")
        assert np.array_equal(pixels(answer), PictureLayers.open(three).decode(shot.layers, *shot.size))
        # The mask has come with it. A PNG holds the classes themselves.
        answer = await cloud.http.get(f"{path}/image?layer=mask")
        assert answer.headers["content-type"] == "image/png"
        assert np.array_equal(pixels(answer), PictureLayers.open(three).mask(shot.layers, *shot.size))
        assert (await cloud.http.get(f"{path}/image?layer=mask&format=webp")).status_code == 200
        # Gone from here, a base layer is asked for as well.
        await cloud.parts.store.drop_layers(path.split("/")[3], [0, 1, 2])
        await cloud.http.get(f"{path}/image?layer=base")
        request = await asked(edge)
        assert (request.layer, request.with_base) == ("base", False)
        await reply(edge, request, sealed(three, shot, shot.layers[:1]))
        assert (await settled(cloud, f"{path}/image?layer=base")).status_code == 200
        await cloud.parts.store.drop_layers(path.split("/")[3], [0])
        await cloud.http.get(f"{path}/image?layer=mask")
        request = await asked(edge)
        assert (request.layer, request.with_base) == ("mask", True)
        await reply(edge, request, sealed(three, shot, shot.layers[:2]))
        assert (await settled(cloud, f"{path}/image?layer=mask")).content == answer.content


def damages(two: Bundle, shot: Coded) -> list[tuple[dict[str, Any], int, str]]:
    """Replies to a wish for quality 300 or more, the status that says so, a word of the reason."""
    full = shot.layers[1]
    good = sealed(two, shot, [full])
    low = Layer(1, (299).to_bytes(2, "big") + full.payload[2:])
    return [
        ({"payload": good[:-7] + bytes([good[-7] ^ 4]) + good[-6:]}, 422, "checksum"),
        ({"payload": good[:40]}, 422, "checksum"),
        ({"payload": b""}, 422, "size"),
        ({"payload": good, "content_type": "image/jpeg"}, 422, "image/jpeg"),
        ({"payload": sealed(two, shot, [full], bundle=b"else")}, 409, b"else".hex()),
        ({"payload": sealed(two, shot, [full], width=97)}, 422, "97x64"),
        ({"payload": sealed(two, shot, [full], codec=3)}, 422, "codec"),
        ({"payload": sealed(two, shot, shot.layers)}, 422, "kinds"),
        ({"payload": sealed(two, shot, [Layer(2, full.payload)])}, 422, "kinds"),
        ({"payload": sealed(two, shot, [low])}, 422, "299"),
        ({"status": wire.LAYER_STATUS_GONE, "detail": "shed for room"}, 410, "shed for room"),
        ({"status": wire.LAYER_STATUS_UNKNOWN_LAYER}, 404, "no such layer"),
        ({"status": wire.LAYER_STATUS_INVALID, "detail": "quality"}, 422, "quality"),
        ({"status": wire.LAYER_STATUS_FAILED}, 502, "log"),
        ({"status": 77}, 502, "log"),
    ]


async def test_only_what_fits_the_frame_is_kept_and_it_may_be_asked_for_again(
    cloud: Running, two: Bundle, shot: Coded
) -> None:
    tried = damages(two, shot)
    async with cloud.edge() as edge:
        paths = [await stored(cloud, edge, sealed(two, shot, shot.layers[:1]), seq) for seq in range(len(tried))]
        for path, (fields, status, word) in zip(paths, tried, strict=True):
            await cloud.http.get(f"{path}/image?quality=300")
            await reply(edge, await asked(edge), **fields)
            answer = await settled(cloud, f"{path}/image?quality=300")
            assert (answer.status_code, word in answer.json()["detail"]) == (status, True), (fields, answer.json())
            assert (await cloud.json(path))["detections"]  # the frame is as it was
            assert (await cloud.http.get(f"{path}/image?layer=base")).status_code == 200
        # What was damaged on its way may come whole the next time; what is gone stays gone.
        assert int(answer.headers["retry-after"]) >= 1
        await asyncio.sleep(2.1)
        again = [await cloud.http.get(f"{path}/image?quality=300") for path in paths]
        finals = [
            status in (410, 404) or fields.get("status") == wire.LAYER_STATUS_INVALID for fields, status, _ in tried
        ]
        assert [answer.status_code == 202 for answer in again] == [not final for final in finals]
        await reply(edge, await asked(edge), sealed(two, shot, shot.layers[1:]))
        assert (await settled(cloud, f"{paths[0]}/image")).status_code == 200


async def test_a_layer_that_cannot_be_decoded_is_forgotten(cloud: Running, two: Bundle, shot: Coded) -> None:
    """Its checksums hold: only decoding it shows."""
    base, full = shot.layers
    nonsense = Layer(1, full.payload[:2] + b"\x5a" * 300)
    async with cloud.edge() as edge:
        path = await stored(cloud, edge, sealed(two, shot, [base, nonsense]))
        answer = await cloud.http.get(f"{path}/image")
        assert answer.status_code == 422 and answer.json()["type"] == "urn:midstream:problem:layer-damaged"
        assert (await cloud.http.get(f"{path}/image?layer=base")).status_code == 200
        assert (await cloud.http.get(f"{path}/image")).status_code == 202
        await reply(edge, await asked(edge), sealed(two, shot, [full]))
        assert (await settled(cloud, f"{path}/image")).status_code == 200


async def test_a_damaged_layer_that_cannot_be_forgotten_is_damaged_all_the_same(
    cloud: Running, two: Bundle, shot: Coded
) -> None:
    nonsense = Layer(1, shot.layers[1].payload[:2] + b"\x5a" * 300)
    async with cloud.edge() as edge:
        path = await stored(cloud, edge, sealed(two, shot, [shot.layers[0], nonsense]))
        async with cloud.parts.store._engine.begin() as connection:
            full = "CREATE TRIGGER full BEFORE DELETE ON layers BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
            await connection.execute(text(full))
        assert (await cloud.http.get(f"{path}/image")).status_code == 422


async def test_two_who_look_take_nothing_from_each_other(settings: Callable[..., Settings], three: Bundle) -> None:
    """A mask in a better quality does not take the place of the one that the full picture builds on."""
    shot = frame(three, seed=3)
    base, mask, full = shot.layers
    better = PictureLayers.open(three).encode("mask", shot.picture, [base], 400)
    async with running(settings(bundles_dir=three.path.parent), three) as cloud, cloud.edge() as edge:
        path = await stored(cloud, edge, sealed(three, shot, shot.layers))
        assert (await cloud.http.get(f"{path}/image?layer=mask&quality=400")).status_code == 202
        await reply(edge, await asked(edge), sealed(three, shot, [better]))
        answer = await settled(cloud, f"{path}/image?layer=mask&quality=400")
        assert np.array_equal(pixels(answer), PictureLayers.open(three).mask([base, better], *shot.size))
        # Both are here now, whoever looks how often.
        answer = await cloud.http.get(f"{path}/image?layer=full&format=png")
        assert np.array_equal(pixels(answer), PictureLayers.open(three).decode(shot.layers, *shot.size))
        answer = await cloud.http.get(f"{path}/image?layer=mask")
        assert np.array_equal(pixels(answer), PictureLayers.open(three).mask([base, mask], *shot.size))
        assert (await cloud.http.get(f"{path}/image?layer=mask&quality=400")).status_code == 200
        held = {one["name"]: one["bytes"] for one in (await cloud.json(f"{path}/layers"))["layers"]}
        assert (held["mask"], held["full"]) == (len(mask.payload), len(full.payload))


async def test_a_picture_too_wide_for_a_form_is_had_in_another(cloud: Running, two: Bundle) -> None:
    wide = coded.frame(two, 17000, 8, 0)
    async with cloud.edge() as edge:
        path = await stored(cloud, edge, sealed(two, wide, wide.layers[:1]))
        answer = await cloud.http.get(f"{path}/image?layer=base&format=webp")
        assert answer.status_code == 406 and answer.json()["formats"] == ["jpeg", "png"], answer.text
        for accept, status, form in [
            ("image/webp", 406, "problem+json"),
            ("image/webp, image/png;q=0.1", 200, "png"),
            ("*/*", 200, "jpeg"),
        ]:
            answer = await cloud.http.get(f"{path}/image?layer=base", headers={"Accept": accept})
            assert (answer.status_code, answer.headers["content-type"].endswith(form)) == (status, True)
        out = io.BytesIO()
        Image.fromarray(wide.picture).save(out, "JPEG")
        await cloud.http.get(f"{path}/image?layer=original&format=webp")
        await reply(edge, await asked(edge), out.getvalue(), content_type="image/jpeg")
        assert (await settled(cloud, f"{path}/image?layer=original")).content == out.getvalue()
        codes = {f: (await cloud.http.get(f"{path}/image?layer=original&format={f}")).status_code for f in FORMS}
        assert codes == {"jpeg": 200, "png": 200, "webp": 406}


async def test_what_there_is_not(cloud: Running, two: Bundle, shot: Coded) -> None:
    async with cloud.edge() as edge:
        path = await stored(cloud, edge, sealed(two, shot, shot.layers))
        answer = await cloud.http.get(f"{path}/image?layer=mask")
        assert answer.status_code == 404 and "base, full, original" in answer.json()["detail"]
        assert (await cloud.http.get(f"{path}/image?layer=infrared")).status_code == 404
        for said, there in [("format=gif", {}), ("", {"Accept": "text/html"})]:
            answer = await cloud.http.get(f"{path}/image?{said}", headers=there)
            assert answer.status_code == 406 and answer.json()["formats"] == ["jpeg", "png", "webp"]
        assert (await cloud.http.get(f"{path}/image?fromat=png")).status_code == 422
        # The picture as it was received is another thing than the full layer.
        assert (await cloud.http.get(f"{path}/image?layer=original")).status_code == 202
        assert (await asked(edge)).layer == "original"


async def test_a_frame_of_a_bundle_that_is_gone(
    settings: Callable[..., Settings], two: Bundle, shot: Coded, bundle: Bundle
) -> None:
    async with running(settings(bundles_dir=two.path.parent), two) as cloud, cloud.edge() as edge:
        path = await stored(cloud, edge, sealed(two, shot, shot.layers))
    async with running(settings(), bundle) as cloud:
        for layer in ("base", "full", "mask"):
            answer = await cloud.http.get(f"{path}/image?layer={layer}")
            assert answer.status_code == 409 and two.digest[:12] in answer.json()["detail"]
        assert (await cloud.http.get(f"{path}/image?layer=original")).status_code == 503
        assert (await cloud.json(path))["layers"] == ["original"]


async def test_a_bundle_that_does_not_work_spoils_no_result(
    settings: Callable[..., Settings], two: Bundle, shot: Coded, tmp_path: Path
) -> None:
    async with running(settings(bundles_dir=two.path.parent), two) as cloud, cloud.edge() as edge:
        path = await stored(cloud, edge, sealed(two, shot, shot.layers))
        network = two.path / "full_synthesis.onnx"
        whole = network.read_bytes()
        try:
            network.write_bytes(b"no network")
            answer = await cloud.http.get(f"{path}/image")
        finally:
            network.write_bytes(whole)
        assert answer.status_code == 409 and "full_synthesis" in answer.json()["detail"]
        assert (await cloud.json(path))["detections"]


async def test_layers_in_tiles_that_do_not_open_spoil_no_result(
    settings: Callable[..., Settings], tmp_path: Path
) -> None:
    """What a tile needs is read before anything is shown, or even kept."""
    held = tiny.write(tmp_path / "bundles", tiny.FREQUENCY)
    shot = frame(held)
    arrays = held.path / "latent.npz"
    whole = arrays.read_bytes()
    async with running(settings(bundles_dir=held.path.parent), held) as cloud, cloud.edge() as edge:
        here = await stored(cloud, edge, sealed(held, shot, shot.layers))
        away = await stored(cloud, edge, sealed(held, shot, shot.layers[:1]), 2, camera="gate")
        arrays.write_bytes(b"no arrays")
        for layer in ("full", "low"):
            refused_(await cloud.http.get(f"{here}/image?layer={layer}"))
        refused_(await cloud.http.get("/v1/cameras/door/clip?since=2020-01-01T00:00Z&until=2100-01-01T00:00Z&wait=20s"))
        waiting = asyncio.create_task(cloud.http.get(f"{away}/image?wait=20s"))
        await reply(edge, await asked(edge), sealed(held, shot, shot.layers[1:]))
        refused_(await waiting)
        assert (await cloud.json(here))["detections"] == (await cloud.json(away))["detections"]
        arrays.write_bytes(whole)
        answer = await cloud.http.get(f"{here}/image?format=png")
        assert np.array_equal(pixels(answer), PictureLayers.open(held).decode(shot.layers, *shot.size))
        assert (await edge.deliver(packet(3, sealed(held, shot, shot.layers))))[0].seq == 3, "it was asked once"


def refused_(answer: httpx.Response) -> None:
    assert answer.status_code == 409 and "latent.npz" in answer.json()["detail"], answer.text
    assert answer.json()["type"] == "urn:midstream:problem:bundle-unusable"
