"""Layers in tiles and above a base picture: what is shown in regions, outside them, and where tiles are missing."""

from pathlib import Path
from random import Random

import numpy as np
import pytest
from numpy.typing import NDArray

from common import bundle as bundles
from common.bundle import Bundle
from common.codec import Layer, pack, unpack
from common.codec.container import Container
from common.errors import BitstreamError, BundleError
from common.layers import BASE, CLEAN, FULL, LOW, NOISY
from common.scalable import PictureLayers
from common.scalable.frame import Frame
from common.scalable.frequency import HighLayer
from common.scalable.networks import Networks
from common.scalable.picture_networks import PictureNetworks
from common.scalable.regions import MARGIN, SEAM, Region, touched, weights
from tests.scalable import tiny
from tests.scalable.coded import SIZES, Coded, frame

REACH = 64
"""Pixels that the synthesis looks far, up to whole cells."""
WIDTH, HEIGHT = 700, 333
REGIONS = [Region(130, 70, 200, 120), Region(300, 150, 90, 150), Region(640, 300, 60, 33)]


@pytest.fixture(scope="module")
def frequency(made: Path) -> Bundle:
    """low, and full in tiles, above codec 1"""
    return tiny.write(made, tiny.FREQUENCY)


@pytest.fixture(scope="module")
def denoise(made: Path) -> Bundle:
    """clean and noisy, above codec 1"""
    return tiny.write(made, tiny.DENOISE)


@pytest.fixture(scope="module")
def coded(frequency: Bundle) -> Coded:
    return frame(frequency, WIDTH, HEIGHT, quality=384)


def inside(regions: list[Region], less: int, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.bool_]:
    """Pixels so far inside some region; the picture's own border is no border."""
    found = np.zeros((height, width), np.bool_)
    for x, y, across, down in regions:
        left, top = x + less * (x > 0), y + less * (y > 0)
        right, bottom = x + across - less * (x + across < width), y + down - less * (y + down < height)
        found[top:bottom, left:right] = True
    return found


# ---- Whole pictures --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [*SIZES, (4096, 20), (20, 1030)])
def test_the_picture_comes_back(frequency: Bundle, denoise: Bundle, width: int, height: int) -> None:
    for bundle, names in ((frequency, (LOW, FULL)), (denoise, (CLEAN, NOISY))):
        coded, pictures = frame(bundle, width, height, quality=384), PictureLayers.open(bundle)
        found = [pictures.decode(coded.layers, *coded.size, name) for name in names]
        assert all(each.shape == coded.picture.shape and each.dtype == np.uint8 for each in found)
        errors = [np.abs(each.astype(int) - coded.picture).mean() for each in found]
        assert errors[1] < 6 and errors[1] < errors[0] + 0.1  # the tiny transforms keep the means of 8x8 pixels
        assert np.array_equal(pictures.decode(coded.layers[:2], *coded.size, BASE), found[0])
        assert np.array_equal(pictures.decode(coded.layers, *coded.size), found[1])


def test_more_quality_is_more_bytes_and_less_error(frequency: Bundle, denoise: Bundle) -> None:
    for bundle, names in ((frequency, (LOW, FULL)), (denoise, (CLEAN, NOISY))):
        pictures, sizes, errors = PictureLayers.open(bundle), [], []
        for quality in (64, 192, 320):
            coded = frame(bundle, 320, 200, 1, quality)
            sizes.append([len(layer.payload) for layer in coded.layers[1:]])
            errors.append(
                [np.abs(pictures.decode(coded.layers, 320, 200, n).astype(int) - coded.picture).mean() for n in names]
            )
        assert np.all(np.diff(sizes, axis=0) > 0) and np.all(np.diff(errors, axis=0) < 0)


def test_the_layers_do_not_need_the_base_layer(coded: Coded, frequency: Bundle) -> None:
    pictures = PictureLayers.open(frequency)
    expected = pictures.decode(coded.layers, *coded.size)
    assert np.array_equal(pictures.decode(coded.layers[1:], *coded.size), expected)
    broken = [Layer(0, b"\xff"), *coded.layers[1:], Layer(128, b"shadow")]
    container = unpack(pack(Container(frequency.prefix, 1, 320, *coded.size, broken)))
    assert np.array_equal(pictures.decode(container.layers, *coded.size), expected)
    with pytest.raises(BitstreamError, match="one of kind 1"):
        pictures.decode([coded.layers[0], coded.layers[2]], *coded.size)
    assert not pictures.previews


def test_what_is_offered(frequency: Bundle, denoise: Bundle, two: Bundle) -> None:
    for bundle, expected in (
        (frequency, [("low", 1, False), ("full", 2, True)]),
        (denoise, [("clean", 1, False), ("noisy", 2, False)]),
        (two, [("full", 1, False)]),
    ):
        assert [(layer.name, layer.kind, layer.tiled) for layer in PictureLayers.open(bundle).layers] == expected


def test_full_is_of_the_quality_of_low(coded: Coded, frequency: Bundle) -> None:
    pictures, base = PictureLayers.open(frequency), coded.layers[:1]
    low = [*base, pictures.encode(LOW, coded.picture, base, 200)]
    assert pictures.encode(FULL, coded.picture, low) == pictures.encode(FULL, coded.picture, low, 200)
    with pytest.raises(ValueError, match="quality: expected 200, that of 'low', got 384"):
        pictures.encode(FULL, coded.picture, low, 384)
    with pytest.raises(BitstreamError, match="quality: expected that below it, 200, got 384"):
        pictures.decode([*low, coded.layers[2]], *coded.size)
    with pytest.raises(BitstreamError, match="one of kind 1"):
        pictures.encode(FULL, coded.picture, base)


@pytest.mark.parametrize("tile", [5, 13])
def test_parts_give_what_the_whole_gives(
    frequency: Bundle, denoise: Bundle, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The networks see enough around each part: a residual's clean picture, too."""

    def latents(side: int) -> list[NDArray[np.int32]]:
        def run(networks: PictureNetworks, *args: object, **beside: object) -> object:
            networks.tile = side
            return original(networks, *args, **beside)  # type: ignore[arg-type]

        original = PictureNetworks.analyse
        with monkeypatch.context() as patch:
            patch.setattr(PictureNetworks, "analyse", run)
            return [
                PictureLayers.open(bundle).latent(frame(bundle, 333, 250).layers, 333, 250, name)
                for bundle, name in ((frequency, FULL), (denoise, NOISY))
            ]

    for expected, found in zip(latents(1000), latents(tile), strict=True):
        assert (expected != found).mean() < 0.002  # where a value lies between two steps, floats decide


# ---- Regions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("regions", [REGIONS[:1], REGIONS, [Region(0, 0, WIDTH, HEIGHT)], [Region(699, 332, 1, 1)], []])
def test_full_inside_and_base_outside(coded: Coded, frequency: Bundle, regions: list[Region]) -> None:
    pictures = PictureLayers.open(frequency)
    full, base = (pictures.decode(coded.layers, *coded.size, name).astype(int) for name in (FULL, LOW))
    found = pictures.decode(coded.layers, *coded.size, regions=regions).astype(int)
    outside, within = ~inside(regions, 0), inside(regions, SEAM)
    assert np.array_equal(found[outside], base[outside])
    assert (
        np.abs(found - full)[within].max(initial=0) <= 1 and (found != full)[within].mean() < 0.01
        if within.any()
        else True
    )
    seam = ~outside & ~within
    low, high = np.minimum(full, base), np.maximum(full, base)
    assert ((found >= low - 1) & (found <= high + 1))[seam].all()


def test_regions_of_the_noisy_picture_lie_in_the_clean_one(denoise: Bundle) -> None:
    coded, pictures = frame(denoise, WIDTH, HEIGHT), PictureLayers.open(denoise)
    noisy, clean = (pictures.decode(coded.layers, *coded.size, name).astype(int) for name in (NOISY, CLEAN))
    found = pictures.decode(coded.layers, *coded.size, NOISY, REGIONS).astype(int)
    assert np.array_equal(found[~inside(REGIONS, 0)], clean[~inside(REGIONS, 0)])
    assert np.abs(found - noisy)[inside(REGIONS, SEAM)].max() <= 1
    assert (noisy != clean).any()


def test_the_noise_of_large_pictures_is_not_coded(denoise: Bundle) -> None:
    coded, pictures = frame(denoise, 64, 48), PictureLayers.open(denoise)
    large = np.broadcast_to(coded.picture[:1, :1], (2049, 2048, 3))
    with pytest.raises(ValueError, match="at most 4194304 pixels, got 2048x2049"):
        pictures.encode(NOISY, large, coded.layers[:2])
    for name in (NOISY, FULL):
        with pytest.raises(BitstreamError, match="at most 4194304 pixels, got 2048x2049"):
            pictures.decode(coded.layers, 2048, 2049, name)


def test_before_rounding_a_region_is_what_the_whole_is(coded: Coded, frequency: Bundle) -> None:
    """The networks run on the region and what they see around it: to 1e-4 the same as on everything."""
    about = {layer.name: layer for layer in frequency.manifest.layers}
    layer = HighLayer.open(frequency, about[FULL], Networks(frequency, 1), about[LOW])
    below = Frame(coded.layers, *coded.size, lambda: pytest.fail("needs no base"))
    low, high = layer.low.latent(below), layer.latent(below)
    needed = touched(REGIONS[:2], 16, *low.shape[1:])
    whole = np.empty((3, 16 * low.shape[1], 16 * low.shape[2]), np.float32)
    for where, x in layer.low.shown(low, high, np.ones_like(needed)):
        whole[:, *where] = x
    seen = np.zeros_like(needed)
    for where, x in layer.low.shown(low, high, needed):
        assert np.abs(x - whole[:, *where]).max() <= 1e-4
        seen[where[0].start // 16 : where[0].stop // 16, where[1].start // 16 : where[1].stop // 16] = True
    assert (seen >= needed).all() and not seen.all()


def test_weights_rise_over_the_seam() -> None:
    found = weights([Region(20, 0, 30, 40)], (slice(0, 40), slice(0, 60)), 60, 40)
    row = found[0]  # at the picture's own border nothing goes over into anything
    assert row[19] == 0 and row[20 + SEAM] == 1 and row[49 - SEAM] == 1 and row[50] == 0
    assert (np.diff(row[19 : 21 + SEAM]) > 0)[:SEAM].all()
    assert np.array_equal(found[39], row) and np.array_equal(row[20:50], row[20:50][::-1])
    assert weights([], (slice(0, 4), slice(2, 6)), 60, 40).max() == 0


@pytest.mark.parametrize(
    "region", [(0, 0, 0, 5), (0, 0, 5, 0), (-1, 0, 5, 5), (0, -1, 5, 5), (696, 0, 5, 5), (0, 329, 5, 5), (5, 5, -2, 2)]
)
def test_regions_are_in_the_picture_and_not_empty(
    coded: Coded, frequency: Bundle, region: tuple[int, int, int, int]
) -> None:
    pictures, regions, full = PictureLayers.open(frequency), [Region(*region)], coded.layers[2]
    for ask in (
        lambda: pictures.decode(coded.layers, *coded.size, regions=regions),
        lambda: pictures.cut(full, regions, *coded.size),
    ):
        with pytest.raises(ValueError, match=rf"region: expected a part of {WIDTH}x{HEIGHT} pixels"):
            ask()


def test_a_layer_with_nothing_below_has_no_regions(coded: Coded, frequency: Bundle, two: Bundle) -> None:
    for bundle, shot, name in ((frequency, coded, LOW), (two, frame(two, WIDTH, HEIGHT), FULL)):
        with pytest.raises(ValueError, match=f"regions: layer '{name}' has no picture below it"):
            PictureLayers.open(bundle).decode(shot.layers, *shot.size, name, REGIONS)


# ---- Tiles -----------------------------------------------------------------------------------------------------------


def test_a_cut_has_the_tiles_that_regions_touch(coded: Coded, frequency: Bundle) -> None:
    pictures, full = PictureLayers.open(frequency), coded.layers[2]
    cut = pictures.cut(full, REGIONS[:1], *coded.size)
    expected = touched([REGIONS[0].grown(MARGIN, *coded.size)], 64, 6, 11)
    assert np.array_equal(pictures.tiles(cut, *coded.size), expected) and expected.sum() == 20
    assert np.array_equal(pictures.tiles(cut, *coded.size, sound=True), expected)
    assert pictures.tiles(full, *coded.size, sound=True).all()
    assert pictures.cut(full, None, *coded.size) == full
    assert not pictures.tiles(pictures.cut(full, [], *coded.size), *coded.size).any()


def test_bytes_grow_with_the_area(coded: Coded, frequency: Bundle) -> None:
    pictures = PictureLayers.open(frequency)
    sizes = [
        len(pictures.cut(coded.layers[2], [Region(100, 100, side, side)], *coded.size).payload)
        for side in (10, 60, 120, 230)
    ]
    assert sizes == sorted(set(sizes)) and sizes[-1] < len(coded.layers[2].payload)


def test_a_cut_shows_its_regions(coded: Coded, frequency: Bundle) -> None:
    """Far enough from tiles that are missing exactly; elsewhere nearer to the full picture than the base is."""
    pictures, region = PictureLayers.open(frequency), Region(128, 64, 256, 192)
    layers = [*coded.layers[:2], pictures.cut(coded.layers[2], [region], *coded.size)]
    full, base = (pictures.decode(coded.layers, *coded.size, name).astype(int) for name in (FULL, LOW))
    found = pictures.decode(layers, *coded.size, regions=[region]).astype(int)
    far = inside([Region(64, 0, 384, 320)], REACH) & inside([region], SEAM)
    assert far.sum() > 128 * 64 and np.abs(found - full)[far].max() <= 1
    within = inside([region], SEAM)
    assert np.abs(found - full)[within].mean() < 0.2 * np.abs(base - full)[within].mean()
    assert np.array_equal(found[~inside([region], 0)], base[~inside([region], 0)])


def test_cuts_join_to_the_whole(coded: Coded, frequency: Bundle) -> None:
    pictures, full = PictureLayers.open(frequency), coded.layers[2]
    joined = pictures.cut(full, [], *coded.size)
    for left in range(0, WIDTH, 50):
        cut = pictures.cut(full, [Region(left, 0, min(50, WIDTH - left), HEIGHT)], *coded.size)
        joined = pictures.join(joined, cut, *coded.size)
    assert joined == full
    low = [coded.layers[0], pictures.encode(LOW, coded.picture, coded.layers[:1], 200)]
    with pytest.raises(ValueError, match=r"tiles: expected 66 of quality 384, got 66 of quality 200"):
        pictures.join(full, pictures.encode(FULL, coded.picture, low), *coded.size)


def test_no_tile_is_the_base_picture(coded: Coded, frequency: Bundle) -> None:
    pictures = PictureLayers.open(frequency)
    layers = [*coded.layers[:2], pictures.cut(coded.layers[2], [], *coded.size)]
    assert np.array_equal(pictures.decode(layers, *coded.size), pictures.decode(layers, *coded.size, LOW))
    assert not pictures.latent(layers, *coded.size).any() and pictures.latent(coded.layers, *coded.size).any()


def test_a_damaged_tile_shows_the_base_picture_there(coded: Coded, frequency: Bundle) -> None:
    pictures, (base, low, full) = PictureLayers.open(frequency), coded.layers
    bad = Layer(2, full.payload[:-1] + bytes([full.payload[-1] ^ 1]))  # of the lower right tile
    layers = [base, low, bad]
    assert pictures.tiles(bad, *coded.size).all()
    assert np.argwhere(~pictures.tiles(bad, *coded.size, sound=True)).tolist() == [[5, 10]]
    shown, below = (pictures.decode(layers, *coded.size, name) for name in (FULL, LOW))
    expected = pictures.decode(coded.layers, *coded.size)
    tile = slice(320, None), slice(640, None)
    lost, kept = (np.abs(each.astype(int) - below)[tile].mean() for each in (shown, expected))
    assert lost < 0.3 * kept
    left = slice(None), slice(0, 640 - REACH)
    assert np.array_equal(shown[left], expected[left]) and not np.array_equal(shown, expected)
    assert pictures.join(bad, full, *coded.size) == pictures.join(full, bad, *coded.size) == full


def test_whatever_the_bytes_are(coded: Coded, frequency: Bundle) -> None:
    """Of `full` in tiles, and of `low`: an error, or a picture of the right size."""
    pictures, rng, refused = PictureLayers.open(frequency), Random(3), 0
    shot = frame(frequency, 150, 100)
    for _ in range(60):
        layers = list(shot.layers)
        at = rng.choice([1, 2, 2])
        payload = bytearray(layers[at].payload)
        for _ in range(rng.choice([1, 2, 20])):
            payload[rng.randrange(len(payload))] ^= 1 << rng.randrange(8)
        layers[at] = Layer(at, bytes(payload[: rng.choice([len(payload), rng.randrange(len(payload))])]))
        try:
            assert pictures.decode(layers, 150, 100).shape == (100, 150, 3)
            assert pictures.tiles(layers[2], 150, 100, sound=True).shape == (2, 3)
        except BitstreamError:
            refused += 1
    assert 10 < refused < 60


def test_a_layer_that_is_not_in_tiles_is_as_one(coded: Coded, frequency: Bundle, two: Bundle) -> None:
    pictures, low = PictureLayers.open(frequency), coded.layers[1]
    assert pictures.cut(low, REGIONS, *coded.size) == pictures.join(low, low, *coded.size) == low
    assert pictures.tiles(low, *coded.size, sound=True).tolist() == [[True]]
    assert PictureLayers.open(two).cut(coded.layers[2], REGIONS, *coded.size) == coded.layers[2]


# ---- Bundles ---------------------------------------------------------------------------------------------------------


def changed(bundle: Bundle, parent: Path, number: int, **changes: object) -> Bundle:
    manifest = bundle.manifest.model_dump(mode="json", exclude={"format", "files"}, exclude_none=True)
    manifest["layers"][number] |= changes
    files = {name: (about.side, bundle.file(name).read_bytes()) for name, about in bundle.manifest.files.items()}
    return bundles.write(parent, manifest, files)


@pytest.mark.parametrize(
    ("number", "changes"),
    [
        (1, {"tile": 0}),
        (0, {"tile": 4}),
        (1, {"stride": 8}),
        (1, {"name": "noisy"}),
        (0, {"name": "clean"}),
        (1, {"context": 6}),
        (0, {"kind": 3}),
    ],
)
def test_layers_that_do_not_go_together(
    frequency: Bundle, tmp_path: Path, number: int, changes: dict[str, object]
) -> None:
    with pytest.raises(BundleError, match="layers"):
        changed(frequency, tmp_path, number, **changes)


@pytest.mark.parametrize(
    ("number", "changes", "said"),
    [
        (1, {"tile": 2}, "layer 'full': expected tiles of 4 cells, got 2"),
        (1, {"prefix": "low2"}, "does not fit layer 'low2'"),
        (0, {"prefix": "high2"}, "does not fit layer 'high2'"),
    ],
)
def test_a_table_that_does_not_fit_is_named(
    frequency: Bundle, tmp_path: Path, number: int, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(BundleError, match=said):
        PictureLayers.open(changed(frequency, tmp_path, number, **changes))


def test_tiles_that_are_all_margin_are_refused(frequency: Bundle, tmp_path: Path) -> None:
    """Whatever is wanted of one would touch those beside it."""
    finer = [layer.model_copy(update={"stride": 8, "pad": 32}) for layer in frequency.manifest.layers]
    manifest = frequency.manifest.model_copy(update={"layers": tuple(finer)})
    with pytest.raises(BundleError, match="layer 'full': expected tiles of more than 32 pixels, got 32"):
        PictureLayers.open(Bundle(frequency.path, frequency.digest, manifest))


def test_a_network_of_other_channels_is_named(frequency: Bundle, denoise: Bundle, tmp_path: Path) -> None:
    files = {name: (about.side, frequency.file(name).read_bytes()) for name, about in frequency.manifest.files.items()}
    files["low_hyper.onnx"], files["high_hyper.onnx"] = files["high_hyper.onnx"], files["low_hyper.onnx"]
    manifest = frequency.manifest.model_dump(mode="json", exclude={"format", "files"}, exclude_none=True)
    pictures = PictureLayers.open(bundles.write(tmp_path, manifest, files))
    with pytest.raises(BundleError, match=r"low_hyper\.onnx of .* does not fit"):
        pictures.encode(LOW, tiny.picture(64, 64), [])
