"""Every way to fit a codec gives one that codes; quantisers of the same N differ in what they are for."""

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bench.networks import Split
from common.codec import Lightweight
from tests.bench import tiny
from tests.train.test_calibration import pictures
from train.bundles.fit import FITS, fitted


@pytest.fixture
def split(tmp_path: Path) -> Split:
    return Split(tiny.write(tmp_path))


@pytest.mark.parametrize("name", sorted(set(FITS) - {"transform-labelled"}))
def test_what_is_fitted_codes(split: Split, name: str) -> None:
    samples = pictures(8)
    codec, params, _ = fitted(FITS[name], split, samples, Console(quiet=True))
    assert params["name"] == name.partition("/")[0].removesuffix("-ecq")
    features = split.front.run(samples[0].image)
    best = max(codec.qualities)
    (back,) = codec.decode(codec.encode(features, best))
    assert back.shape == features[0].shape
    assert np.abs(back - features[0]).mean() < np.abs(features[0]).mean() / 4


def test_the_entropy_constrained_quantiser_pins_its_ends_and_costs_less(split: Split) -> None:
    samples = pictures(8)
    plain, _, _ = fitted(FITS["lightweight"], split, samples, Console(quiet=True))
    designed, params, _ = fitted(FITS["lightweight-ecq"], split, samples, Console(quiet=True))
    assert isinstance(plain, Lightweight) and isinstance(designed, Lightweight)
    low, high = plain.clips[4]
    points = params["tables"]["4"]["points"]
    assert points[0] == pytest.approx(low, rel=1e-3, abs=1e-3) and points[-1] == pytest.approx(high, rel=1e-3)
    sizes = [sum(len(c.encode(split.front.run(s.image), 4)[0].payload) for s in samples) for c in (plain, designed)]
    assert sizes[1] < sizes[0]
