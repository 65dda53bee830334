"""Planes, cells and the network between them."""

import numpy as np
import pytest

from common.video.fusion import Fusion, inputs, shipped
from common.video.planes import Planes, cells_of, moved, of_picture, to_picture
from tests.video import shapes

BUNDLE = b"abcd"


def noise(seed, height=18, width=30):
    rng = np.random.default_rng(seed)
    sizes = (height, width), (height // 2, width // 2), (height // 2, width // 2)
    return Planes(*(rng.integers(0, 256, size, np.uint8) for size in sizes))


def test_frames_keep_their_planes():
    planes = noise(0)
    again = Planes.of(planes.frame())
    assert all((a == b).all() for a, b in zip(planes, again, strict=True))
    assert again.checksum == planes.checksum
    assert planes.checksum != planes._replace(v=planes.v ^ np.eye(9, 15, dtype=np.uint8)).checksum


def test_a_picture_survives_but_for_its_chroma():
    ramp = np.linspace(20, 220, 33 * 47).reshape(47, 33, 1).repeat(3, 2).astype(np.uint8)
    planes = of_picture(ramp)
    assert planes.y.shape == (48, 34)
    assert np.abs(to_picture(planes, 33, 47).astype(int) - ramp).max() <= 4


@pytest.mark.parametrize("size", [(16, 32), (18, 30), (2, 2)])
def test_cells_are_where_the_samples_are(size):
    planes = noise(1, *size)
    cells = cells_of(planes)
    assert cells.shape == (24, -(-size[0] // 4), -(-size[1] // 4))
    assert cells[5, 0, 0] == int(planes.y[min(1, size[0] - 1), min(1, size[1] - 1)]) - 128
    assert cells[16, 0, 0] == int(planes.u[0, 0]) - 128
    grey = Planes(*(np.full_like(plane, 128) for plane in planes))
    assert all((a == b).all() for a, b in zip(moved(grey, cells), planes, strict=True))


def test_a_change_stays_within_eight_bits():
    planes = noise(2)
    for change in (-300, 300):
        found = moved(planes, np.full((24, 5, 8), change))
        assert {int(value) for plane in found for value in np.unique(plane)} == {0 if change < 0 else 255}


def test_the_network_does_what_its_integers_say():
    fusion, frame, before = shapes.fusion(BUNDLE), noise(3), noise(4)
    found = fusion(frame, before, None, 40)
    for now, then, shown in zip(frame, before, found, strict=True):
        want = now + np.clip((then.astype(int) - now + 1) // 2, -64, 64)
        assert np.abs(shown.astype(int) - want.clip(0, 255)).max() <= 1


def test_the_network_is_told_everything():
    fusion = Fusion(shapes.arrays(BUNDLE, gain=200))
    frame, before = noise(5), noise(6)
    features = np.random.default_rng(0).integers(-100, 100, (16, 5, 8)).astype(np.int16)
    plain = fusion(frame, before, None, 40)
    assert fusion(frame, before, features, 40).checksum != plain.checksum
    assert fusion(frame, before, None, 20).checksum != plain.checksum
    assert fusion(frame, frame, None, 40).checksum != plain.checksum
    assert fusion(frame, before, np.zeros_like(features), 40).checksum == plain.checksum


def test_inputs_stay_within_what_the_network_takes():
    found = inputs(cells_of(noise(7)), cells_of(noise(8)), np.full((16, 5, 8), 255, np.int16), 63)
    assert np.abs(found).max() <= 255


def test_a_network_that_does_not_fit_is_refused():
    good = shapes.arrays(BUNDLE)
    assert Fusion(good).name == Fusion(dict(reversed(good.items()))).name
    assert Fusion(good | {"bundle": np.frombuffer(b"abce", np.uint8)}).name != Fusion(good).name
    wrong = [
        {"body.0.weight": good["body.0.weight"][:, :-1]},
        {"head.0.weight": good["head.0.weight"][:-1], "head.0.bias": good["head.0.bias"][:-1]},
        {"head.kinds": np.array([1], np.uint8)},
        {"body.kinds": np.array([3], np.uint8)},
    ]
    for change in wrong:
        with pytest.raises(ValueError):
            Fusion(good | change)
    with pytest.raises(KeyError):
        Fusion({name: value for name, value in good.items() if name != "bundle"})


def test_what_ships_is_small_enough():
    net = shipped()
    if net is None:
        pytest.skip("no fusion ships: train it with `midstream train fusion`")
    assert net.multiply_adds <= 25_000
