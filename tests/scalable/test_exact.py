"""What is coded in one process is decoded in any other, whatever does its arithmetic: the same symbols, to the last.

And a changed bit is an error. Of the bundles that ship, all with picture layers are tried, and two tiny ones.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")
skimage = pytest.importorskip("skimage")

from common import bundle as bundles  # noqa: E402
from common import feature_codec  # noqa: E402
from common.bundle import Bundle  # noqa: E402
from common.codec import Container, Layer, pack, unpack  # noqa: E402
from common.codec.temporal import KEPT  # noqa: E402
from common.errors import BitstreamError  # noqa: E402
from common.scalable import PictureLayers  # noqa: E402
from common.scalable.latent_features import LatentFeatures  # noqa: E402
from tests.house.repository import ROOT  # noqa: E402
from tests.scalable import tiny, ways  # noqa: E402

SHIPPED = [
    path.parent
    for path in sorted((ROOT / "cloud" / "bundles").glob("*/" + bundles.MANIFEST))
    if bundles.parse_manifest(path.read_bytes())[1].layers
]
TINY = {"tiny, conditioned": (tiny.TWO, True), "tiny, three layers": (tiny.THREE, False)}
WIDTH, HEIGHT = 251, 167
"""Odd, so that no grid is whole."""
FLIPPED = 300
"""Bits of each layer that are tried."""
KEPT_BIT = KEPT.bit_length() - 1 - 8
"""Of a base layer's first byte: whether later frames may be coded after this one, which is the same latent then."""


@pytest.fixture(scope="module", params=[*TINY, *SHIPPED], ids=lambda each: getattr(each, "name", each)[:20])
def bundle(request: pytest.FixtureRequest, made: Path) -> Bundle:
    if isinstance(request.param, Path):
        return bundles.load(request.param, "both")
    layers, conditioned = TINY[request.param]
    return tiny.write(made, layers, conditioned=conditioned, seed=5)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real one, as a JPEG."""
    path = tmp_path_factory.mktemp("photos") / "cat.jpg"
    picture = Image.open(Path(skimage.__file__).parent / "data" / "chelsea.png").convert("RGB")
    picture.crop((60, 20, 60 + WIDTH, 20 + HEIGHT)).save(path, quality=90)
    return path


def elsewhere(way: str, bundle: Bundle, frame: Path, threads: int, picture: Path) -> dict[str, object]:
    """What another process says; it has the machine's threads as many as `threads`."""
    command = [sys.executable, "-m", "tests.scalable.ways", way, bundle.path, frame, str(threads), picture]
    run = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    said: dict[str, object] = json.loads(run.stdout)
    return said


def test_all_arithmetics_decode_the_same_symbols(bundle: Bundle, photo: Path, tmp_path: Path) -> None:
    frame = tmp_path / "frame"
    coded = elsewhere("encode", bundle, frame, 1, photo)
    streams = coded["streams"]
    # Tiles have a stream each, which are not listed here; that they decode to the same latent is.
    whole = sum(not layer.tile for layer in bundle.manifest.layers)
    assert isinstance(streams, dict) and len(streams) == whole + learned(bundle)
    pictures = []
    for way, threads in (("kernel", 1), ("plain", 4), ("reference", 1), ("torch", 2)):
        picture = tmp_path / f"{way}.npy"
        assert elsewhere(way, bundle, frame, threads, picture) == coded, way
        pictures.append(np.load(picture).astype(int))
    assert pictures[0].shape == (HEIGHT, WIDTH, 3)
    for picture in pictures[1:]:  # floats: not exact, but a grey level is all that threads may change
        assert np.abs(picture - pictures[0]).max() <= 1


def learned(bundle: Bundle) -> bool:
    """Whether its base layer is a learned latent, too."""
    return bundle.manifest.codec["name"] == LatentFeatures.name


def test_without_the_same_arithmetic_symbols_would_differ(bundle: Bundle, photo: Path) -> None:
    """Else the test above proved nothing: one wrong number from the hyper-decoder, and the stream makes no sense."""
    if not learned(bundle):
        pytest.skip("its base layer has no hyper-decoder; that of other bundles is the same code")
    container = unpack(ways.encoded(bundle, np.asarray(Image.open(photo)), 1))
    pictures = PictureLayers.open(bundle)
    size = container.width, container.height
    expected = pictures.latent(container.layers, *size)
    coder = feature_codec.of(bundle)
    assert isinstance(coder, LatentFeatures)
    head = coder.coder.passes[0].head
    head.packed[0].bias[:] += 1 << int(head.layers[0].shift.max())
    window = bundle.manifest.input.window(*size)
    try:
        found = coder.latent(container.layers, window)
    except BitstreamError:
        return
    assert not np.array_equal(found, LatentFeatures.open(bundle).latent(container.layers, window))
    assert expected.any()


@pytest.fixture(scope="module")
def container(bundle: Bundle) -> Container:
    return unpack(ways.encoded(bundle, tiny.picture(66, 49, 3), 1))


def test_a_flipped_bit_is_refused(container: Container) -> None:
    data = pack(container)
    for at in chosen(len(data)):
        with pytest.raises(BitstreamError):
            unpack(flipped(data, at))


def test_a_flipped_bit_with_a_right_checksum_is_refused_or_another_latent(bundle: Bundle, container: Container) -> None:
    """No stream is the code of two latents, so nothing that was changed decodes to what was sent."""
    size, pictures = (container.width, container.height), PictureLayers.open(bundle)
    base, window = LatentFeatures.open(bundle) if learned(bundle) else None, bundle.manifest.input.window(*size)
    refused, names = dict.fromkeys(range(len(container.layers)), 0), [0, *(x.kind for x in pictures.layers)]
    assert [layer.kind for layer in container.layers] == names
    last = len(names) - 1
    for number in {0, last} if base else {last}:
        latent = pictures.latent if number else lambda layers, *_: base.latent(layers, window)
        expected = latent(container.layers, *size)
        for at in chosen(len(container.layers[number].payload), about_others=() if number else (KEPT_BIT,)):
            layers = unpack(pack(replace(container, layers=changed(container.layers, number, at)))).layers
            try:
                found = latent(layers, *size)
            except BitstreamError:
                refused[number] += 1
            else:
                assert found.shape == expected.shape and not np.array_equal(found, expected)
        assert refused[number] > FLIPPED // 10 or bundle.manifest.layers[-1].tile  # a tile's own check makes it a hole


def chosen(size: int, about_others: Sequence[int] = ()) -> list[int]:
    """Bits of so many bytes: the first two bytes', then some all over; but for those that say nothing of the latent."""
    return sorted({*range(16), *np.linspace(16, 8 * size - 1, FLIPPED).astype(int).tolist()} - {*about_others})


def changed(layers: Sequence[Layer], number: int, at: int) -> list[Layer]:
    return [Layer(layer.kind, flipped(layer.payload, at)) if i == number else layer for i, layer in enumerate(layers)]


def flipped(data: bytes, at: int) -> bytes:
    return data[: at // 8] + bytes([data[at // 8] ^ 1 << at % 8]) + data[at // 8 + 1 :]
