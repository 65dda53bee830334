"""A codec per camera: several bundles in use at once, each fetched, kept and let go as cameras need it."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from common import bundle as bundles
from common.bundle import Bundle
from common.codec import unpack
from common.errors import BundleError
from common.network.session import shared_session
from common.types import Mode
from edge import bundles as following
from edge.codecs import Codecs, Outline
from edge.encode import Encoder
from edge.points import AUTO, Choice, OperatingPoints
from tests.edge import tiny
from tests.edge.conftest import Edge, Start
from tests.edge.peer import Peer, until
from tests.edge.pictures import jpeg
from tests.edge.test_api import is_problem

SPLIT = Choice(Mode.SPLIT, AUTO)


@pytest.fixture(scope="module")
def fine(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The same detector, coded on another scale of qualities: 3, 6, 12."""
    return tiny.write(tmp_path_factory.mktemp("fine"), name="fine", levels=(3, 6, 12))


@pytest.fixture
def far(tmp_path: Path) -> Bundle:
    """As `fine`, of another network: nothing of it is here with `tiny`."""
    return tiny.write(tmp_path / "far", seed=1, name="far", levels=(3, 6, 12))


@pytest.fixture
async def peer(bundle: Bundle, fine: Bundle) -> AsyncIterator[Peer]:
    """A cloud whose current bundle is `tiny`, and that holds `fine` too."""
    peer = await Peer(bundle.path, more=[fine.path]).start()
    yield peer
    await peer.stop()


async def choose(edge: Edge, camera: str, codec: str, **wanted: Any) -> dict[str, Any]:
    """PATCH, and what the camera has then."""
    answer = await edge.http.patch("/v1/operating-point", params={"camera": camera}, json={"codec": codec, **wanted})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["cameras"][camera]
    return found


async def shown(edge: Edge, camera: str) -> dict[str, Any]:
    found: dict[str, Any] = (await edge.http.get("/v1/operating-point")).json()["cameras"][camera]
    return found


async def has(edge: Edge, camera: str, codec: str, reason: str = "") -> None:
    """Wait until the camera has this codec, for this reason."""
    async with asyncio.timeout(20):
        while (found := await shown(edge, camera))["codec"] != codec or reason not in found["codec_reason"]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def prefixes(peer: Peer, camera: str) -> list[bytes]:
    return [unpack(packet.payload).bundle for packet in peer.packets if packet.camera == camera]


async def test_two_cameras_two_codecs_each_in_order(start: Start, peer: Peer, bundle: Bundle, fine: Bundle) -> None:
    async with start(peer, encode_workers=4) as edge:
        assert (await choose(edge, "door", "fine"))["chosen"]["codec"] == "fine"
        await has(edge, "door", "fine", "chosen")
        posts = []
        for i in range(20):
            posts += [asyncio.create_task(edge.post(jpeg(200, 200, i), x_camera_id=c)) for c in ("door", "yard")]
            await asyncio.sleep(0.005)
        answers = [answer.json() for answer in await asyncio.gather(*posts)]
        await until(lambda: len(peer.packets) == 40)
        for at, camera in enumerate(("door", "yard")):
            sent = [packet.frame_id for packet in peer.packets if packet.camera == camera]
            assert sent == [answer["id"] for answer in answers[at::2]]
        assert set(prefixes(peer, "door")) == {fine.prefix} and set(prefixes(peer, "yard")) == {bundle.prefix}
        assert {unpack(p.payload).quality for p in peer.packets if p.camera == "door"} == {6}


async def test_what_is_fetched_is_waited_for_by_nobody(start: Start, peer: Peer, bundle: Bundle, far: Bundle) -> None:
    peer.more.append(far.path)
    async with start(peer) as edge:
        peer.gate.clear()
        assert (await choose(edge, "door", "far"))["codec"] == "tiny"
        await has(edge, "door", "tiny", "fetching far")
        await edge.post(jpeg(), x_camera_id="door")
        await until(lambda: peer.packets)
        peer.gate.set()
        await has(edge, "door", "far", "chosen")
        await edge.post(jpeg(), x_camera_id="door")
        await until(lambda: len(peer.packets) == 2)
        assert prefixes(peer, "door") == [bundle.prefix, far.prefix]
        body = (await edge.http.get("/v1/operating-point")).json()
        assert (body["codec"], body["codec_reason"]) == ("tiny", "the current bundle")
        assert body["codecs"]["far"]["modes"]["split"]["qualities"] == [3, 6, 12]
        assert list(body["modes"]) == ["split"] and body["modes"]["split"]["qualities"] == [2, 4, 8]


async def test_everybody_and_taking_back(start: Start, peer: Peer) -> None:
    async with start(peer, codec="fine") as edge:
        await has(edge, "yard", "fine") if (await edge.post(jpeg(), x_camera_id="yard")) else None
        await choose(edge, "door", "auto")
        assert (await shown(edge, "door"))["codec"] == "tiny"
        assert (await edge.http.patch("/v1/operating-point", json={"codec": "auto"})).json()["codec"] == "tiny"
        taken = (await edge.http.delete("/v1/operating-point")).json()
        assert taken["chosen"]["codec"] == "fine"
        back = (await edge.http.delete("/v1/operating-point", params={"camera": "door"})).json()
        assert "door" not in back["cameras"]
        await edge.post(jpeg(), x_camera_id="door")
        await has(edge, "door", "fine")


async def test_a_restart_keeps_the_choice_from_the_first_frame_on(
    start: Start, peer: Peer, bundle: Bundle, fine: Bundle, tmp_path: Path
) -> None:
    async with start(peer) as edge:
        await choose(edge, "door", "fine", quality=12)
        await has(edge, "door", "fine")
        await until(lambda: (tmp_path / "edge" / "bundles" / "codec-fine").exists())
    for away in (False, True):
        if away:
            await peer.stop()
        async with start(peer) as edge:
            assert (await shown(edge, "door"))["codec"] == "fine"
            answer = await edge.post(jpeg(), x_camera_id="door")
            await edge.parts.spool.settle()
            (frame,) = await edge.parts.spool.pending(answer.json()["seq"] - 1, 1, 1 << 20) if away else (None,)
            if frame:
                assert (unpack(frame.payload).bundle, unpack(frame.payload).quality) == (fine.prefix, 12)
            else:
                await until(lambda: prefixes(peer, "door"))  # it is on its way still
    assert prefixes(peer, "door") == [fine.prefix]


async def test_a_name_the_cloud_does_not_hold_is_refused_and_those_there_are_named(start: Start, peer: Peer) -> None:
    async with start(peer) as edge:
        await until(lambda: edge.parts.bundles.held)
        before = (await edge.http.get("/v1/operating-point")).json()
        assert before["codecs"].keys() == {"tiny", "fine"} and before["codecs"]["fine"]["state"] == "available"
        for name in ("nowhere", "auto-matic", "tiny2"):
            answer = await edge.http.patch("/v1/operating-point", json={"codec": name, "camera": "door"})
            is_problem(answer, 422, "there are fine, tiny")
        for wrong in ("", "UPPER", "a/b", "../etc", "x" * 65, 3, ["fine"], "-fine"):
            is_problem(await edge.http.patch("/v1/operating-point", json={"codec": wrong}), 422, "codec")
        twice = await edge.http.patch(
            "/v1/operating-point", params={"camera": "a"}, json={"codec": "fine", "camera": "b"}
        )
        is_problem(twice, 422, "say one")
        assert (await edge.http.get("/v1/operating-point")).json() == before


async def test_while_the_cloud_is_away_a_choice_waits(start: Start, peer: Peer, fine: Bundle) -> None:
    async with start(peer) as edge:
        await peer.stop()
        await until(lambda: edge.parts.uplink and not edge.parts.uplink.state.up)
        assert (await choose(edge, "door", "fine"))["codec"] == "tiny"
        assert (await choose(edge, "yard", "nowhere"))["codec"] == "tiny"
        await has(edge, "door", "tiny", "the cloud cannot be asked")
        assert (await edge.post(jpeg(), x_camera_id="door")).status_code == 202
        await peer.start()
        await has(edge, "door", "fine", "chosen")
        await has(edge, "yard", "tiny", "the cloud holds no bundle 'nowhere'")


async def test_an_edge_without_a_cloud_has_what_it_has(start: Start, bundle: Bundle) -> None:
    async with start() as edge:
        assert (await choose(edge, "door", "tiny"))["codec_reason"] == "chosen"
        answer = await edge.http.patch("/v1/operating-point", json={"codec": "fine"})
        is_problem(answer, 422, "given no cloud")


async def test_a_named_bundle_that_was_rebuilt_takes_over(
    start: Start, peer: Peer, fine: Bundle, tmp_path: Path
) -> None:
    rebuilt = tiny.write(tmp_path / "rebuilt", 1, name="fine", version="2", levels=(3, 5, 12))
    async with start(peer) as edge:
        await choose(edge, "door", "fine", quality=6)
        await has(edge, "door", "fine")
        assert (await shown(edge, "door"))["reason"] == "fixed"
        peer.more = [rebuilt.path]
        peer.hang_up()
        await until(lambda: edge.parts.codecs.named["fine"].bundle.digest == rebuilt.digest)
        await edge.post(jpeg(), x_camera_id="door")
        await until(lambda: peer.packets)
        assert prefixes(peer, "door") == [rebuilt.prefix]
        found = await shown(edge, "door")
        assert found["quality"] == 5 and "cannot do what was asked for" in found["reason"]
        assert found["chosen"] == {"mode": "split", "quality": 6, "codec": "fine"}, "what was chosen stays"


async def test_a_bundle_the_cloud_holds_no_more_codes_no_more(start: Start, peer: Peer, fine: Bundle) -> None:
    """Its frames would stop those of all cameras."""
    async with start(peer) as edge:
        await choose(edge, "door", "fine")
        await has(edge, "door", "fine")
        peer.more = []
        peer.hang_up()
        await has(edge, "door", "tiny", "the cloud holds no bundle 'fine' here; there are tiny")
        peer.more = [fine.path]
        peer.hang_up()
        await has(edge, "door", "fine", "chosen")


async def test_the_current_bundle_changes_and_auto_follows(
    start: Start, peer: Peer, bundle: Bundle, fine: Bundle
) -> None:
    async with start(peer) as edge:
        await choose(edge, "door", "tiny")
        await edge.post(jpeg(), x_camera_id="yard")
        peer.folder, peer.more = fine.path, [bundle.path]
        peer.hang_up()
        await has(edge, "yard", "fine", "the current bundle")
        await has(edge, "door", "tiny", "chosen")
        for camera in ("door", "yard"):
            await edge.post(jpeg(), x_camera_id=camera)
        await until(lambda: len(peer.packets) == 3)
        assert prefixes(peer, "door") == [bundle.prefix] and prefixes(peer, "yard") == [bundle.prefix, fine.prefix]


async def test_what_arrives_damaged_is_said_and_fetched_again(start: Start, peer: Peer, far: Bundle) -> None:
    peer.more.append(far.path)
    async with start(peer) as edge:
        peer.spoil = lambda content: content[:-1] + bytes([content[-1] ^ 1])
        await choose(edge, "door", "far")
        await has(edge, "door", "tiny", "far cannot be used: front.onnx has SHA-256")
        peer.spoil = bytes
        await has(edge, "door", "far", "chosen")


async def test_a_bundle_that_does_not_load_stops_no_camera(
    start: Start, peer: Peer, fine: Bundle, tmp_path: Path
) -> None:
    manifest = fine.manifest.model_dump(exclude={"format", "files"}) | {"name": "odd", "codec": {"name": "tomorrow"}}
    odd = bundles.write(tmp_path, manifest, {"front.onnx": ("edge", tiny.front()), "back.onnx": ("cloud", b"")})
    peer.more.append(odd.path)
    async with start(peer) as edge:
        await choose(edge, "door", "odd")
        await choose(edge, "yard", "fine")
        await has(edge, "door", "tiny", "odd cannot be used: the [codec]")
        await has(edge, "yard", "fine", "chosen")
        assert (await edge.post(jpeg(), x_camera_id="door")).status_code == 202


async def test_mode_and_quality_are_of_the_chosen_codecs_scale(start: Start, peer: Peer) -> None:
    async with start(peer) as edge:
        await choose(edge, "door", "fine")
        await has(edge, "door", "fine")
        point = {"camera": "door", "quality": 4}
        is_problem(await edge.http.patch("/v1/operating-point", json=point), 422, "3, 6, 12")
        assert (await choose(edge, "door", "fine", quality=12))["quality"] == 12
        found = await choose(edge, "door", "tiny")
        assert found["quality"] == 4 and "cannot do what was asked for" in found["reason"], "12 is none of tiny's"
        await choose(edge, "door", "fine")
        await has(edge, "door", "fine", "chosen")
        assert (await shown(edge, "door"))["quality"] == 12, "and is there again"
        both = {"camera": "door", "codec": "tiny", "quality": 12}
        is_problem(await edge.http.patch("/v1/operating-point", json=both), 422, "2, 4, 8")


async def test_disk_keeps_what_is_in_use_and_what_the_ring_needs(
    start: Start, peer: Peer, two: Bundle, fine: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "TIDY_S", 0.1)
    peer.more.append(two.path)
    folder = tmp_path / "edge" / "bundles"
    async with start(peer, ring_max_age_s=4) as edge:
        for name in ("tiny-latent", "fine"):
            await choose(edge, "door", name)
            await has(edge, "door", name)
            assert (await edge.post(jpeg(), x_camera_id="door")).status_code == 202
        await choose(edge, "door", "auto")
        await until(lambda: not (folder / fine.digest).exists())
        assert (folder / two.digest).exists() and not (folder / "codec-tiny-latent").exists()
        assert await edge.parts.spool.bundles() == {two.prefix}
        assert edge.parts.bundles.known(two.prefix), "for whoever asks for its pictures"
        await until(lambda: not (folder / two.digest).exists())
        assert edge.parts.spool.stats.pictures == 0


# ---- what is loaded


def points(*names: str) -> OperatingPoints:
    """A camera for each codec, of the same name."""
    found = OperatingPoints(SPLIT, 10)
    for name in names:
        found.set(SPLIT._replace(codec=name), name)
    return found


async def test_at_most_so_many_are_loaded_and_those_that_gave_way_come_back(tmp_path: Path) -> None:
    names = ["a", "b", "c", "d", "e"]
    made = {name: tiny.write(tmp_path, name=name) for name in names}
    opened: list[str] = []

    def opener(bundle: Bundle) -> Encoder:
        opened.append(bundle.manifest.name)
        return Encoder(bundle)

    codecs = Codecs(points(*names), opener, most=3)
    await codecs.install(tiny.write(tmp_path, name="now"))
    for name, bundle in made.items():
        await codecs.add(name, bundle)
    assert len(codecs._loaded) == 2
    for name in ("a", "e", "a", "e", "now"):
        assert (await codecs.encoder(name)).bundle.manifest.name == name
    assert opened == ["now", *names, "a"], "the others were still there"
    rated = codecs.of("b")
    assert isinstance(rated, Outline) and rated.ways[Mode.SPLIT].default_quality == 4, "known without its networks"
    both = await asyncio.gather(codecs.encoder("b"), codecs.encoder("b"))
    assert both[0] is both[1] and opened.count("b") == 2, "loaded once for all who wait"
    encoders = await asyncio.gather(*(codecs.encoder(name) for name in "ccdddcc"))
    assert [encoder.bundle.manifest.name for encoder in encoders] == list("ccdddcc")
    codecs.keep({"b"})
    assert not codecs._loaded, "b gave way to c and d"
    await codecs.encoder("b")
    codecs.keep({"b"})
    assert [encoder.bundle.manifest.name for encoder in codecs._loaded.values()] == ["b"]
    assert codecs.named.keys() == {"b"}


async def test_what_cannot_be_loaded_again_gives_way_to_the_current(tmp_path: Path) -> None:
    codecs = Codecs(points("a", "b"), Encoder, most=2)
    await codecs.install(tiny.write(tmp_path, name="now"))
    bundle = tiny.write(tmp_path, seed=12, name="a")
    await codecs.add("a", bundle)
    await codecs.add("b", tiny.write(tmp_path, seed=1, name="b"))
    gc.collect()  # or its front half may still be shared
    (bundle.path / "front.onnx").write_bytes(b"\x08\x08garbage")
    assert (await codecs.encoder("a")).bundle.manifest.name == "now"
    assert "a does not load" in codecs.cause("a") and codecs.cause("b") == "chosen"


async def test_bundles_of_one_detector_share_its_halves(tmp_path: Path) -> None:
    one = tiny.write(tmp_path, seed=7, side="both")
    other = tiny.write(tmp_path, seed=7, side="both", name="other", levels=(3, 6))
    different = tiny.write(tmp_path, seed=8, side="both", name="different")
    assert one.digest != other.digest
    sessions = [[shared_session(b, name, 1) for name in ("front.onnx", "back.onnx")] for b in (one, other, different)]
    assert sessions[0][0] is sessions[1][0] is not sessions[2][0], "two front halves"
    assert sessions[0][1] is sessions[1][1] is sessions[2][1], "one back half"
    encoders = [Encoder(bundle) for bundle in (one, other, different)]
    front = weakref.ref(sessions[0][0])
    del sessions
    gc.collect()
    assert front() is shared_session(one, "front.onnx", 1), "it is the encoders'"
    del encoders[0]
    gc.collect()
    assert front() is not None, "the other one's still"
    del encoders
    gc.collect()
    assert front() is None, "nothing is held that nobody uses"


async def test_a_damaged_file_of_a_shared_half_is_an_error_of_its_own(tmp_path: Path) -> None:
    bundle = tiny.write(tmp_path, seed=11)
    (bundle.path / "front.onnx").write_bytes(b"no network")
    with pytest.raises(BundleError, match="not a network"):
        Encoder(bundle)


def test_choices_of_an_older_program_are_read_and_wrong_ones_are_none(tmp_path: Path) -> None:
    path = tmp_path / "operating-points.json"
    path.write_text('{"everybody": ["split", 4], "cameras": {"a": ["auto", "auto", "fine"]}}')
    found = OperatingPoints(SPLIT, 2, path)
    assert found.everybody == Choice(Mode.SPLIT, 4) and found.choice("a").codec == "fine" and found.codecs() == {"fine"}
    for wrong in ('"../x"', "3", "null", '"A"'):
        path.write_text(f'{{"everybody": ["split", 4, {wrong}], "cameras": {{}}}}')
        assert OperatingPoints(SPLIT, 2, path).everybody == SPLIT
