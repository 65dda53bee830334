"""Layers above the base: the picture comes back, by tiles as at once, and no layer depends on one above it."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from bench.networks import shipped
from common import bundle as bundles
from common.bundle import Bundle
from common.codec import Layer, pack, unpack
from common.codec.container import Container
from common.codec.latent import Decoded
from common.errors import BitstreamError, BundleError
from common.scalable import PictureLayers
from common.scalable.full import FullLayer
from common.scalable.networks import Networks
from common.scalable.picture_networks import PictureNetworks
from tests.house.repository import ROOT
from tests.scalable import nets, tiny
from tests.scalable.coded import SIZES, frame


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_picture_comes_back(two: Bundle, width: int, height: int) -> None:
    coded = frame(two, width, height, quality=384)
    found = PictureLayers.open(two).decode(coded.layers, *coded.size)
    assert found.shape == coded.picture.shape and found.dtype == np.uint8
    error = np.abs(found.astype(int) - coded.picture)
    assert error.mean() < 6  # the tiny transform keeps the means of 8x8 pixels


def test_more_quality_is_more_bytes_and_less_error(three: Bundle) -> None:
    pictures, picture = PictureLayers.open(three), tiny.picture(320, 200, 1)
    below = frame(three, 320, 200, 1).layers[:2]
    sizes, errors = [], []
    for quality in (64, 160, 256):
        layers = [*below, pictures.encode("full", picture, below, quality)]
        sizes.append(len(layers[-1].payload))
        errors.append(float(np.abs(pictures.decode(layers, 320, 200).astype(int) - picture).mean()))
    assert sizes == sorted(sizes) and errors == sorted(errors, reverse=True)


def test_what_is_offered(two: Bundle, three: Bundle) -> None:
    for bundle, kinds in ((two, {"full": 1}), (three, {"mask": 1, "full": 2})):
        pictures = PictureLayers.open(bundle)
        assert {layer.name: layer.kind for layer in pictures.layers} == kinds
        assert {layer.qualities for layer in pictures.layers} == {range(tiny.LOWEST, tiny.HIGHEST + 1)}
        assert pictures.previews
        assert [layer.kind for layer in frame(bundle, 64, 48).layers] == [0, *kinds.values()]


# ---- tiles


def full_layer(bundle: Bundle, tile: int) -> FullLayer:
    about = next(layer for layer in bundle.manifest.layers if layer.name == "full")
    layer = FullLayer.open(bundle, about, Networks(bundle, 1))
    layer.networks.tile = tile
    return layer


def analysed(layer: FullLayer, picture: np.ndarray, context: np.ndarray) -> Iterator[np.ndarray]:
    """y, z and x of it all."""
    y = np.empty((nets.FULL, *context.shape[1:]), np.float32)
    layer.analysis(picture, tiny.HIGHEST, context, y)
    yield y
    yield layer.code.hyper_analysis(np.pad(y, ((0, 0), (0, -y.shape[1] % 4), (0, -y.shape[2] % 4)), "edge"))
    x = np.empty((3, 16 * y.shape[1], 16 * y.shape[2]), np.float32)
    for where, part in layer.synthesis(Decoded(np.rint(y * 256).astype(np.int32), tiny.HIGHEST), context):
        x[:, *where] = part
    yield x


@pytest.mark.parametrize(("width", "height"), [*SIZES, (641, 303), (16, 700)])
@pytest.mark.parametrize("tile", [4, 10])
def test_tiles_give_what_the_whole_gives(two: Bundle, width: int, height: int, tile: int) -> None:
    picture = tiny.picture(width, height)
    shape = full_layer(two, tile).code.shape(width, height)
    context = np.random.default_rng(0).normal(size=(nets.CONTEXT, shape.rows, shape.columns)).astype(np.float32)
    whole = analysed(full_layer(two, 1000), picture, context)
    parts = analysed(full_layer(two, tile), picture, context)
    for expected, found in zip(whole, parts, strict=True):
        assert np.abs(found - expected).max() <= 1e-4 * max(1, np.abs(expected).max())


def test_without_a_halo_tiles_would_show(two: Bundle) -> None:
    """Else the test above proved nothing."""
    picture, context = tiny.picture(700, 500), np.zeros((nets.CONTEXT, 32, 44), np.float32)
    layer = full_layer(two, 10)
    layer.networks.halo = 3
    differences = [
        np.abs(found - expected).max() / max(1, np.abs(expected).max())
        for expected, found in zip(
            analysed(full_layer(two, 1000), picture, context), analysed(layer, picture, context), strict=True
        )
    ]
    assert differences[0] > 1e-4 and differences[2] > 1e-4


@pytest.mark.parametrize("step", [1.0, 5.6])
def test_a_halo_is_as_far_as_shipped_networks_see_anything(step: float) -> None:
    """Those of `denoise` have more blocks than the halo is wide."""
    bundle = bundles.load(shipped("denoise"), "both")
    networks, size = PictureNetworks(Networks(bundle, 1), 16), 26
    noise = np.random.default_rng(0).normal(0, 25, (16 * size, 16 * size, 3))
    picture = (tiny.picture(16 * size, 16 * size) + noise).clip(0, 255).astype(np.uint8)
    y, x = [], []
    for networks.tile in (100, 13):
        y.append(np.empty((192, size, size), np.float32))
        networks.analyse("clean_analysis.onnx", "x", networks.source(picture), {"y": y[-1]}, step)
        x.append(np.empty((3, *picture.shape[:2]), np.float32))
        fixed = np.rint(y[0] * 256).astype(np.int32)
        needed = np.ones((size, size), bool)
        for where, part in networks.synthesise("clean_synthesis.onnx", "x", needed, {"y": fixed}, step):
            x[-1][:, *where] = part
    assert 0 < np.abs(y[1] - y[0]).max() < 1e-3  # of a step, at the finest quality
    assert np.abs(x[1] - x[0]).max() * 255 < 0.01


# ---- layers


def test_a_preview_needs_the_base_layer_alone(three: Bundle) -> None:
    coded, pictures = frame(three, 64, 48), PictureLayers.open(three)
    expected = pictures.preview(coded.layers[:1], 64, 48)
    assert expected.shape == (48, 64, 3) and expected.dtype == np.uint8 and expected.std() > 0
    for payload in (b"", b"\xff", coded.layers[1].payload[::-1]):
        broken = [coded.layers[0], Layer(1, payload), Layer(2, payload)]
        assert np.array_equal(pictures.preview(broken, 64, 48), expected)


def test_a_mask_needs_no_picture(three: Bundle) -> None:
    coded, pictures = frame(three, 65, 47), PictureLayers.open(three)
    expected = pictures.mask(coded.layers[:2], 65, 47)
    assert expected.shape == (47, 65) and expected.dtype == np.uint8 and set(np.unique(expected)) <= {0, 1, 2}
    assert len(np.unique(expected)) > 1
    broken = [*coded.layers[:2], Layer(2, b"\xff")]
    assert np.array_equal(pictures.mask(broken, 65, 47), expected)


def test_masks_are_those_of_the_features(three: Bundle) -> None:
    """Finely coded, the mask is nearly that of the uncoded features' means."""
    coded, pictures = frame(three, 320, 240, quality=448), PictureLayers.open(three)
    means = np.repeat(np.repeat(coded.features[0].reshape(4, 20, 2, 20, 2).mean((2, 4)), 2, 1), 2, 2)
    scores = Networks(three, 1).run("mask_head.onnx", "scores", features=means[None])[0]
    expected = scores.argmax(0)[5:35].repeat(8, 0).repeat(8, 1)
    assert (pictures.mask(coded.layers, 320, 240) == expected).mean() > 0.8


def test_layers_are_the_same_through_a_container(two: Bundle) -> None:
    coded, pictures = frame(two, 64, 48), PictureLayers.open(two)
    data = pack(Container(two.prefix, 5, 320, 64, 48, coded.layers))
    assert np.array_equal(
        pictures.decode(unpack(data).layers, 64, 48), pictures.decode([*coded.layers, Layer(128, b"shadow")], 64, 48)
    )


LATENT = """
import sys, hashlib, pathlib
from common import bundle
from common.codec import unpack
from common.scalable import PictureLayers
made = bundle.load(pathlib.Path(sys.argv[1]), "cloud")
container = unpack(pathlib.Path(sys.argv[2]).read_bytes())
pictures = PictureLayers.open(made, int(sys.argv[3]))
fixed = pictures.latent(container.layers, container.width, container.height)
pictures.decode(container.layers, container.width, container.height)
print(hashlib.sha256(fixed.tobytes()).hexdigest())
"""


@pytest.mark.parametrize("threads", ["1", "4"])
def test_another_process_has_the_same_latent(two: Bundle, tmp_path: Path, threads: str) -> None:
    coded = frame(two, 200, 133)
    expected = PictureLayers.open(two).latent(coded.layers, *coded.size)
    assert expected.any()
    path = tmp_path / "frame"
    path.write_bytes(pack(Container(two.prefix, 5, 320, *coded.size, coded.layers)))
    command = [sys.executable, "-c", LATENT, str(two.path), str(path), threads]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == hashlib.sha256(np.ascontiguousarray(expected).tobytes()).hexdigest()


# ---- what is wrong


def test_a_damaged_layer_is_refused_and_its_like_is_not(two: Bundle) -> None:
    coded, pictures = frame(two, 64, 48), PictureLayers.open(two)
    base, full = coded.layers
    wrong = [full.payload[:-1], full.payload + b"\0", b"", full.payload[:2], b"\xff\xff" + full.payload[2:]]
    for payload in wrong:
        with pytest.raises(BitstreamError):
            pictures.decode([base, Layer(1, payload)], 64, 48)
    with pytest.raises(BitstreamError):
        pictures.decode([Layer(0, base.payload[:-2]), full], 64, 48)
    assert pictures.decode(coded.layers, 64, 48).any()


def test_a_flipped_bit_is_an_error(two: Bundle) -> None:
    """The container's checksum sees to that. Without it, a bit that is coded as it is makes another latent."""
    coded, pictures = frame(two, 64, 48), PictureLayers.open(two)
    data = pack(Container(two.prefix, 5, 320, 64, 48, coded.layers))
    expected, refused = pictures.latent(coded.layers, 64, 48), 0
    for at in range(0, len(data), 17):
        with pytest.raises(BitstreamError):
            unpack(_flipped(data, at))
    base, full = coded.layers
    for at in range(2, len(full.payload), 7):
        try:
            found = pictures.latent([base, Layer(1, _flipped(full.payload, at))], 64, 48)
        except BitstreamError:
            refused += 1
        else:
            assert found.shape == expected.shape and not np.array_equal(found, expected)
    assert refused


def _flipped(payload: bytes, at: int) -> bytes:
    return payload[:at] + bytes([payload[at] ^ 1 << at % 8]) + payload[at + 1 :]


def test_layers_that_are_missing_are_named(three: Bundle) -> None:
    base, mask, full = frame(three, 64, 48).layers
    pictures = PictureLayers.open(three)
    for layers, said in (
        ([base, mask], "one of kind 2"),
        ([base, full], "one of kind 1"),
        ([mask, full], "the base layer first"),
    ):
        with pytest.raises(BitstreamError, match=said):
            pictures.decode(layers, 64, 48)
    with pytest.raises(BitstreamError, match="one of kind 1"):
        pictures.mask([base], 64, 48)
    with pytest.raises(BitstreamError, match="one of kind 1"):
        pictures.encode("full", tiny.picture(64, 48), [base])


def test_another_size_is_refused_or_another_picture(two: Bundle) -> None:
    """A size is not in the payload: one that does not fit leaves bytes over, or needs more than there are."""
    coded, pictures = frame(two, 64, 48), PictureLayers.open(two)
    for width, height in ((640, 480), (16, 16)):
        with pytest.raises(BitstreamError):
            pictures.decode(coded.layers, width, height)


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, -1), (4097, 4096), (65535, 65535)])
def test_no_picture_is_larger_than_agreed(two: Bundle, width: int, height: int) -> None:
    layers, pictures = frame(two, 16, 16).layers, PictureLayers.open(two)
    for decode in (pictures.decode, pictures.preview, pictures.latent):
        with pytest.raises(BitstreamError, match="picture: expected"):
            decode(layers, width, height)


def test_what_cannot_be_coded_is_said(two: Bundle) -> None:
    pictures, layers = PictureLayers.open(two), frame(two, 16, 16).layers[:1]
    fine = tiny.picture(16, 16)
    for name, picture, quality, said in (
        ("mask", fine, 5, r"layer: expected one of \['full'\], got 'mask'"),
        ("full", fine, 512, r"quality: expected 0\.\.511, got 512"),
        ("full", fine[..., 0], 5, "picture: expected uint8"),
        ("full", fine[:0], 5, "picture: expected uint8"),
        ("full", fine.astype(float), 5, "picture: expected uint8"),
        ("full", np.broadcast_to(fine[:1, :1], (4097, 4096, 3)), 5, "at most 16777216 pixels"),
    ):
        with pytest.raises(ValueError, match=said):
            pictures.encode(name, picture, layers, quality)


def test_a_bundle_without_such_layers_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="has no picture layers"):
        PictureLayers.open(tiny.write(tmp_path, ()))


@pytest.mark.parametrize(
    "wrong",
    [{"pad": 32}, {"unit": 60_000}, {"prefix": "other"}],
)
def test_a_table_that_does_not_fit_is_named(two: Bundle, tmp_path: Path, wrong: dict[str, object]) -> None:
    manifest = two.manifest.model_dump(mode="json", exclude={"format", "files"}, exclude_none=True)
    manifest["layers"][0] |= wrong
    files = {name: (about.side, two.file(name).read_bytes()) for name, about in two.manifest.files.items()}
    with pytest.raises(BundleError):
        PictureLayers.open(bundles.write(tmp_path, manifest, files))


def test_a_context_of_other_channels_is_named(two: Bundle, tmp_path: Path) -> None:
    manifest = two.manifest.model_dump(mode="json", exclude={"format", "files"}, exclude_none=True)
    manifest["layers"][0]["context"] = 3
    files = {name: (about.side, two.file(name).read_bytes()) for name, about in two.manifest.files.items()}
    pictures = PictureLayers.open(bundles.write(tmp_path, manifest, files))
    with pytest.raises(BundleError, match="a context of 6 channels, not 3"):
        pictures.decode(frame(two, 16, 16).layers, 16, 16)


@pytest.mark.parametrize("context", [0, 3])
@pytest.mark.parametrize("name", ["full_analysis", "full_synthesis"])
def test_a_network_that_takes_another_context_is_named(two: Bundle, tmp_path: Path, name: str, context: int) -> None:
    """One without would run all the same, and know nothing of the layers below."""
    manifest = two.manifest.model_dump(mode="json", exclude={"format", "files"}, exclude_none=True)
    files = {each: (about.side, two.file(each).read_bytes()) for each, about in two.manifest.files.items()}
    network = nets.full_analysis(context) if name == "full_analysis" else nets.full_synthesis(context)
    files[f"{name}.onnx"] = (files[f"{name}.onnx"][0], network)
    pictures, coded = PictureLayers.open(bundles.write(tmp_path, manifest, files)), frame(two, 16, 16)
    with pytest.raises(BundleError, match=f"{name}.onnx takes a context of {context} channels, the manifest says 6"):
        if name == "full_analysis":
            pictures.encode("full", coded.picture, coded.layers[:1])
        else:
            pictures.decode(coded.layers, 16, 16)


def test_a_network_that_is_told_more_than_there_is_does_not_fit(tmp_path: Path) -> None:
    """The noisy layer's are told of no step."""
    whole = tiny.write(tmp_path, tiny.DENOISE)
    manifest = whole.manifest.model_dump(mode="json", exclude={"format", "files"}, exclude_none=True)
    files = {each: (about.side, whole.file(each).read_bytes()) for each, about in whole.manifest.files.items()}
    network = onnx.load_from_string(nets.noisy_analysis())
    network.graph.input.append(onnx.helper.make_tensor_value_info("step", onnx.TensorProto.FLOAT, ["n"]))
    files["noisy_analysis.onnx"] = ("edge", network.SerializeToString())
    pictures = PictureLayers.open(bundles.write(tmp_path, manifest, files))
    picture = tiny.picture(64, 48)
    clean = pictures.encode("clean", picture, [])
    with pytest.raises(BundleError, match=r"noisy_analysis\.onnx of .* does not fit.*step"):
        pictures.encode("noisy", picture, [clean])


def layer(**changes: object) -> dict[str, object]:
    about = {"name": "full", "kind": 1, "prefix": "full", "unit": 256, "qualities": [0, 511], "default_quality": 256}
    return about | changes


@pytest.mark.parametrize(
    "layers",
    [
        [layer(name="sound")],
        [layer(kind=0)],
        [layer(kind=128)],
        [layer(prefix="../full")],
        [layer(qualities=[300, 511])],
        [layer(qualities=[0, 1 << 16])],
        [layer(context=-1)],
        [layer(stride=0)],
        [layer(), layer()],
        [layer(), layer(kind=2, prefix="other")],
        [layer(kind=2), layer(name="mask", kind=1, prefix="mask")],
        [layer(), layer(name="mask", kind=2)],
        [layer(width=3)],
    ],
)
def test_a_manifest_whose_layers_make_no_sense_is_none(two: Bundle, tmp_path: Path, layers: list[object]) -> None:
    manifest = two.manifest.model_dump(mode="json", exclude={"format", "files", "layers"}, exclude_none=True)
    with pytest.raises(BundleError, match="layers"):
        bundles.write(tmp_path, {**manifest, "layers": layers}, {})
