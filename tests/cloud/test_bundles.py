"""Bundles: verified when loaded, served byte for byte, over gRPC and over HTTP."""

import os
import shutil
import tomllib
from pathlib import Path

import grpc
import numpy as np
import pytest
import tomli_w

from cloud.registry import Registry
from cloud.settings import PACKAGED_BUNDLES
from common import bundle as bundles
from common import feature_codec
from common.bundle import MANIFEST, SHARED, Bundle, digest_of, parse_manifest, verify_file
from common.codec import Container, pack
from common.errors import BundleError
from common.geometry import letterbox_geometry, window
from common.wire import stream_pb2 as wire
from common.wire.stream_pb2_grpc import BundleServiceStub
from tests.cloud import tiny
from tests.cloud.conftest import Running, Start
from tests.cloud.speaker import packet
from tests.edge.peer import until
from tests.scalable import tiny as scalable


async def test_an_edge_learns_what_to_run(cloud: Running) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{cloud.parts.grpc_port}") as channel:
        stub = BundleServiceStub(channel)
        current = await stub.GetCurrentBundle(wire.GetCurrentBundleRequest())
        assert current.digest == digest_of(current.manifest) == cloud.bundle.digest
        for name, file in cloud.bundle.manifest.files.items():
            chunks = [r.chunk async for r in stub.FetchFile(wire.FetchFileRequest(digest=current.digest, name=name))]
            assert all(len(chunk) <= 1 << 20 for chunk in chunks)
            verify_file(b"".join(chunks), name, file)
        for digest, name in [("0" * 64, "back.onnx"), (current.digest, "../../../etc/passwd"), ("", "")]:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await stub.FetchFile(wire.FetchFileRequest(digest=digest, name=name)).read()
            assert error.value.code() is grpc.StatusCode.NOT_FOUND


async def test_bundles_over_http(cloud: Running) -> None:
    digest = cloud.bundle.digest
    listed = await cloud.json("/v1/bundles")
    assert listed["current"] == digest and listed["bundles"][0]["digest"] == digest
    packaged = {path.name for path in PACKAGED_BUNDLES.iterdir() if path.name != SHARED}
    assert {b["digest"] for b in listed["bundles"][1:]} == packaged  # for what is still under way
    manifest = await cloud.json(f"/v1/bundles/{digest}")
    assert manifest["detector"]["labels"] == ["cat", "dog"]
    raw = (await cloud.http.get(f"/v1/bundles/{digest}/{MANIFEST}")).content
    assert digest_of(raw) == digest
    for name, file in cloud.bundle.manifest.files.items():
        verify_file((await cloud.http.get(f"/v1/bundles/{digest}/{name}")).content, name, file)
    assert (await cloud.http.get(f"/v1/bundles/{digest}/passwd")).status_code == 404


@pytest.fixture
def copy(bundle: Bundle, tmp_path: Path) -> Path:
    """A bundles folder of one's own to damage."""
    shutil.copytree(bundle.path, tmp_path / "bundles" / bundle.digest)
    return tmp_path / "bundles"


def test_what_is_damaged_is_named(copy: Path, bundle: Bundle) -> None:
    path = copy / bundle.digest / "back.onnx"
    good = path.read_bytes()
    for content in (good[:-1], good[:-1] + bytes([good[-1] ^ 1]), b""):
        path.write_bytes(content)
        with pytest.raises(BundleError, match=r"back\.onnx"):
            Registry.load(copy)
    path.unlink()
    with pytest.raises(BundleError, match=r"back\.onnx"):
        Registry.load(copy)


def test_what_is_foreign_is_named(copy: Path, bundle: Bundle) -> None:
    (copy / bundle.digest).rename(copy / ("0" * 64))
    with pytest.raises(BundleError, match="expected 000000000000"):
        Registry.load(copy)


@pytest.mark.parametrize("label", ["", "x" * 65, "a\0b", "line\nbreak", "\x9b"])
def test_a_label_is_a_short_text_that_can_be_shown(bundle: Bundle, label: str) -> None:
    manifest = tomllib.loads((bundle.path / MANIFEST).read_text())
    for good in ("traffic light", "Müll", "x" * 64):
        manifest["detector"]["labels"] = ["cat", good]
        assert parse_manifest(tomli_w.dumps(manifest).encode())[1].detector.labels == ("cat", good)
    manifest["detector"]["labels"] = ["cat", label]
    with pytest.raises(BundleError, match=r"detector\.labels\.1"):
        parse_manifest(tomli_w.dumps(manifest).encode())


def test_damage_after_the_start_is_not_served(copy: Path, bundle: Bundle) -> None:
    registry = Registry.load(copy)
    (copy / bundle.digest / "front.onnx").write_bytes(b"changed")
    with pytest.raises(BundleError, match=r"front\.onnx"):
        registry.file(registry.current, "front.onnx")


def test_which_bundle_is_current(copy: Path, bundle: Bundle) -> None:
    (copy / "README.md").write_text("not a bundle")
    assert Registry.load(copy).current.digest == bundle.digest
    other = tiny.write(copy, name="embedded", version="2")
    assert Registry.load(copy).current.digest == other.digest
    for wanted in (bundle.digest, bundle.digest[:8], "tiny"):
        assert Registry.load(copy, wanted).current.digest == bundle.digest
    third = tiny.write(copy, name="tiny", version="3")
    for wanted, problem in (("tiny", "several"), ("ffff", "none"), ("", "embedded")):
        if wanted:
            with pytest.raises(BundleError, match=f"(?s){problem}.*{third.digest[:12]}"):
                Registry.load(copy, wanted)


def test_a_name_stands_for_the_current_then_the_chosen_then_the_newest(
    copy: Path, bundle: Bundle, tmp_path: Path
) -> None:
    packaged = tmp_path / "packaged"
    tiny.write(packaged, version="99")
    other = tiny.write(packaged, name="other")
    older, newer = (tiny.write(copy, name="third", version=version) for version in ("1.9", "1.10"))
    registry = Registry.load(copy, "tiny", packaged)
    found = {name: named.digest for name, named in registry.by_name.items()}
    assert found == {"tiny": bundle.digest, "other": other.digest, "third": newer.digest}
    assert Registry.load(copy, older.digest, packaged).by_name["third"].digest == older.digest
    again = tiny.write(copy, name="third", version="1.10", modes=True)
    os.utime(again.path / MANIFEST, (2e9, 2e9))
    assert Registry.load(copy, "tiny").by_name["third"].digest == again.digest


async def test_bundles_are_listed_and_given_by_name(start: Start, bundle: Bundle, tmp_path: Path) -> None:
    shutil.copytree(bundle.path, tmp_path / "b" / bundle.digest)
    other = tiny.write(tmp_path / "b", name="other", version="7")
    async with (
        start(bundles_dir=tmp_path / "b", bundle="tiny") as cloud,
        grpc.aio.insecure_channel(f"127.0.0.1:{cloud.parts.grpc_port}") as channel,
    ):
        stub = BundleServiceStub(channel)
        listed = {b.name: b for b in (await stub.ListBundles(wire.ListBundlesRequest())).bundles}
        assert listed["tiny"].digest == bundle.digest
        assert (listed["other"].digest, listed["other"].version) == (other.digest, "7")
        assert {b["digest"] for b in (await cloud.json("/v1/bundles"))["bundles"]} >= {
            b.digest for b in listed.values()
        }
        assert list(cloud.parts.engine._detectors) == [bundle.digest]
        answer = await stub.GetCurrentBundle(wire.GetCurrentBundleRequest(name="other"))
        assert answer.digest == digest_of(answer.manifest) == other.digest
        await until(lambda: other.digest in cloud.parts.engine._detectors)  # before its first frame is here
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.GetCurrentBundle(wire.GetCurrentBundleRequest(name="no\nwhere" * 50))
        assert error.value.code() is grpc.StatusCode.NOT_FOUND
        assert "there are" in (error.value.details() or "") and "other" in (error.value.details() or "")


def test_no_bundle_at_all(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle in"):
        Registry.load(tmp_path)
    with pytest.raises(BundleError, match="cannot read"):
        Registry.load(tmp_path / "nowhere")


def test_the_packaged_bundles_are_held_and_not_chosen(copy: Path, bundle: Bundle, tmp_path: Path) -> None:
    packaged = tmp_path / "packaged"
    old = tiny.write(packaged, version="0")
    for wanted in ("", "tiny", bundle.digest[:8]):  # the same name in both folders is no doubt
        registry = Registry.load(copy, wanted, packaged)
        assert registry.current.digest == bundle.digest and registry.by_prefix(old.prefix)
    assert Registry.load(copy, old.digest[:8], packaged).current.digest == old.digest
    assert Registry.load(copy, "", tmp_path / "nowhere").current.digest == bundle.digest
    assert len(list(Registry.load(copy, "", copy))) == 1


async def test_frames_of_the_bundle_before_are_decoded(cloud: Running) -> None:
    """They were coded, and promised, before the cloud was started with another bundle."""
    before = Registry.load(PACKAGED_BUNDLES).current
    manifest = before.manifest
    codec = feature_codec.of(before)
    quality = codec.default_quality
    seen = window(letterbox_geometry(640, 480, manifest.input.width, manifest.input.fit), manifest.input.width)
    layers = codec.encode([np.zeros(shape, np.float32) for shape in manifest.cut.shapes], quality, seen)
    payload = pack(Container(before.prefix, codec.id, quality, 640, 480, layers))
    sent = packet(1, payload)
    async with cloud.edge() as edge:
        assert edge.welcome.bundle_digest == cloud.bundle.digest
        ack, new = await edge.deliver(sent, packet(2, cloud.payload()))
    assert (ack.seq, new.seq) == (1, 2)
    assert (await cloud.json(f"/v1/results/{sent.frame_id}"))["width"] == 640


async def test_a_bundle_that_does_not_work_is_an_error_at_start(start: Start, bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "two"
    shutil.copytree(bundle.path, folder / bundle.digest)
    manifest = bundle.manifest.model_dump(mode="json", exclude={"format", "files"}) | {"name": "bad"}
    bundles.write(folder, manifest, {"back.onnx": ("cloud", b"not a network")})
    with pytest.raises(BundleError, match=r"back\.onnx"):
        async with start(bundles_dir=folder, bundle="tiny"):
            pass


def test_a_manifest_is_none_of_its_files(bundle: Bundle, tmp_path: Path) -> None:
    manifest = bundle.manifest.model_dump(mode="json", exclude={"format", "files"})
    for name in (MANIFEST, "Bundle.TOML"):
        with pytest.raises(BundleError, match="its own files"):
            bundles.write(tmp_path, manifest, {name: ("both", b"x")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [[0, 4, 4], [2, -4, 4], [4096, 4096, 2]])
def test_a_cut_is_bounded(bundle: Bundle, tmp_path: Path, shape: list[int]) -> None:
    manifest = bundle.manifest.model_dump(mode="json", exclude={"format", "files"})
    manifest["cut"]["tensors"][0]["shape"] = shape
    with pytest.raises(BundleError, match=r"cut\.tensors"):
        bundles.write(tmp_path, manifest, {})


def test_a_bundle_survives_a_power_cut(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(bundles, "_sync", synced.append)
    written = tiny.write(tmp_path)
    assert synced == [written.path, tmp_path]


def test_layers_need_latents_and_the_mask_lies_below_the_picture(tmp_path: Path) -> None:
    manifest = tomllib.loads((scalable.write(tmp_path, scalable.THREE).path / MANIFEST).read_text())
    mask, full = manifest["layers"]
    upside_down = [full | {"kind": 1}, mask | {"kind": 2}]
    for changes, word in [
        ({"codec": {"name": "lightweight"}}, "latent"),
        ({"layers": upside_down}, "rising"),
    ]:
        with pytest.raises(BundleError, match=word):
            bundles.parse_manifest(tomli_w.dumps(manifest | changes).encode())
    bundles.parse_manifest(tomli_w.dumps(manifest).encode())
