"""Tables of latents after others: counted on frames that stay, they make such frames cheap."""

import numpy as np
import pytest

pytest.importorskip("torch")

from common.codec import latent_after
from common.codec.elements import Cells
from common.codec.latent_temporal import HYPER_ROWS, PLACES, Before, Tables
from tests.codec.latent_samples import coder, latent
from train.calibration.latent_temporal import REACH, Clip, Counts, alone, learn, opening, row

CELLS = Cells(0, 0, 4, 4)


@pytest.fixture(scope="module")
def clip() -> Clip:
    """Frames of a scene that hardly moves."""
    rng, of = np.random.default_rng(4), coder(9, 24, 3, 1)
    y, z = latent(rng, of, 4, 4)
    noisy = [(y + 0.02 * rng.normal(size=y.shape)).astype(np.float32) for _ in range(6)]
    return Clip(of, CELLS, noisy, [z] * 6, 300, 1)


def size(clip: Clip, tables: Tables) -> int:
    """Bytes of the last frame after the first one."""
    before = Before.of(alone(clip, clip.y[0], clip.z[0]).levels(clip.coder), clip.coder, CELLS)
    opened = latent_after.opened(clip.coder, clip.y[-1], clip.z[-1], clip.quality, CELLS, before)
    coded = latent_after.encode(clip.coder, tables, opened, before)
    assert coded is not None
    found = latent_after.decode(clip.coder, tables, coded[0], clip.quality, (4, 4), CELLS, before)
    assert np.array_equal(found.q, coded[1].q)
    return len(coded[0])


def test_counting_makes_what_was_counted_cheaper(clip: Clip) -> None:
    learned = Tables.of(learn([clip]))
    assert size(clip, learned) < 0.5 * size(clip, opening())
    assert learned.expected.min() > 0


def test_what_is_not_seen_leans_on_a_bell(clip: Clip) -> None:
    tables = Counts().tables()
    frequencies = tables.rows.tables.frequencies[HYPER_ROWS : HYPER_ROWS + PLACES].astype(int)
    likely = frequencies[:, 7].reshape(16, -1)[:, 0]
    assert (np.diff(likely[:6]) < 0).all(), "wider elements are 0 less often"
    assert tables.rows.bits.max() > 0, "and the widest have low bits"


def test_a_row_knows_more_from_less() -> None:
    chances = np.zeros(2 * REACH + 1)
    chances[[REACH - 1, REACH, REACH + 1]] = 0.6, 0.3, 0.1
    bits, frequencies = row(chances)
    assert bits == 0 and frequencies[6] > frequencies[7] > frequencies[8] > 1000
