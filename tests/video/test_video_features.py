"""Features in integers: close to the codec's own, and the same whatever order sums are made in."""

import numpy as np
import pytest

from common.codec import unpack
from common.codec.temporal import rescaled
from common.video.features import Bases, Exact, fixed, nearest
from tests.video import shapes


@pytest.fixture(scope="module")
def known():
    split, codec = shapes.opened()
    pictures = shapes.moving(6)
    return split, codec, pictures, shapes.bases(split, codec, pictures)


def states(codec, window, packets):
    held, found = {}, []
    for data in packets:
        (features,), state = codec.decode_after(unpack(data).layers, window, held.get)
        held[state.name] = state
        found.append((features, state))
    return found


def test_they_are_near_those_of_the_codec(known):
    split, codec, _, packets = known
    window = split.bundle.manifest.input.window(96, 80)
    exact = Exact(codec.tensors[0].basis)
    for features, state in states(codec, window, packets):
        part = codec.plan(state.quality, window).parts[0]
        levels = rescaled(state.levels[part.start : part.end], *divmod(256 - state.quality, 64))
        found = exact.features(levels.reshape(-1, part.grid.blocks), part.grid)
        assert np.abs(found / 128 - features).max() < 0.06
        assert np.corrcoef(found.ravel(), features.ravel())[0, 1] > 0.999


def test_the_order_of_sums_is_no_matter(known):
    codec = known[1]
    exact, rng = Exact(codec.tensors[0].basis), np.random.default_rng(1)
    values = rng.integers(-(1 << 22), 1 << 22, (len(exact.unturn), 5)).astype(float)
    order = rng.permutation(len(values))
    one, other = exact.unturn @ values, exact.unturn[:, order] @ values[order]
    np.testing.assert_array_equal(one, other)
    whole = exact.unturn.astype(np.int64) @ values.astype(np.int64)
    np.testing.assert_array_equal(one, whole)


def test_what_would_not_be_exact_is_refused():
    with pytest.raises(ValueError, match="basis"):
        fixed(np.full((300, 300), 1e3, np.float32))


def test_cells_show_what_lies_under_them(known):
    split, codec, _, packets = known
    bases = Bases(split.bundle, codec)
    cells = bases.cells(packets[0], 96, 80)
    assert cells.shape == (16, 20, 24) and cells.dtype == np.int16
    assert cells.std() > 1


def test_the_nearest_place_is_inside():
    for cells, pixels, span, places in ((20, 80, (70, 250, 320), 40), (3, 9, (0, 320, 320), 40), (1, 1, (5, 6, 7), 2)):
        found = nearest(cells, pixels, span, places)
        low, high, size = span
        assert (np.diff(found) >= 0).all()
        assert low * places // size <= found[0] and found[-1] <= high * places // size


def test_a_frame_whose_reference_is_not_here_says_nothing(known):
    split, codec, _, packets = known
    bases = Bases(split.bundle, codec)
    assert not unpack(packets[1]).keyframe
    assert not bases.cells(packets[1], 96, 80).any()
    assert bases.cells(packets[0], 96, 80).any()
    assert bases.cells(packets[1], 96, 80).any()


def test_a_frame_that_is_nobodys_reference_says_nothing(known):
    split, codec, pictures, _ = known
    (packet,) = shapes.bases(split, codec, pictures[:1], keep=False)
    assert not Bases(split.bundle, codec).cells(packet, 96, 80).any()
