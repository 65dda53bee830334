"""Pictures continued to whole cells: what only an encoder sees."""

import numpy as np
import pytest

from common.scalable.picture_networks import planes

CELL = 16


@pytest.mark.parametrize(("height", "width"), [(33, 49), (32, 50), (47, 48), (16, 16), (1, 1), (5, 40)])
def test_the_picture_goes_on_flat(height: int, width: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    rows, columns = (-(-side // CELL) * CELL for side in (height, width))
    x = planes(picture, (slice(0, rows), slice(0, columns)), CELL)
    assert x.shape == (3, rows, columns)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(
        x[:, :height, :width], picture.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    )
    for top in range(0, height, CELL):
        ends = x[:, top : min(top + CELL, height), max(0, width - CELL) : width]
        beyond = x[:, top : min(top + CELL, height), width:]
        np.testing.assert_allclose(beyond, np.broadcast_to(ends.mean((1, 2), keepdims=True), beyond.shape), rtol=1e-5)
    below = x[:, height:]
    assert not below.size or np.ptp(below.reshape(3, -1, columns // CELL, CELL), (1, 3)).max() < 1e-6


def test_a_part_is_a_part_of_the_whole() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (70, 90, 3), np.uint8)
    whole = planes(picture, (slice(0, 80), slice(0, 96)), CELL)
    part = planes(picture, (slice(32, 80), slice(48, 96)), CELL)
    np.testing.assert_allclose(part, whole[:, 32:, 48:], rtol=1e-6)
