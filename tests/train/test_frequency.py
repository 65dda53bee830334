"""Low and high frequencies apart: the wavelet, the branches, and tiles that know nothing of each other."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.train import tiny_photos
from train.crops import crops
from train.frequency import FrequencyTask, frequency_layers
from train.nets.frequency import TILE, Frequency, folded, unfolded
from train.nets.wavelet import join, split
from train.pixels import LAMBDAS, step_of

REACH = 60
"""Pixels that the synthesis looks far, at most: what decoders of regions rely on."""


def lively(model: Frequency) -> Frequency:
    """As training might leave it: nothing is silent."""
    torch.manual_seed(2)
    for part in (model.analysis, model.synthesis):
        for name, weight in part.named_parameters():
            if name.endswith("weight") and weight.dim() == 4:
                torch.nn.init.normal_(weight, 0, 0.5 * (weight[0].numel()) ** -0.5)
    return model.eval()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Frequency:
    root = tiny_photos.write(tmp_path_factory.mktemp("photos"))
    torch.manual_seed(1)
    return frequency_layers(crops(root, root / "cache"), 8)


@pytest.mark.parametrize("size", [(2, 2), (16, 18), (64, 30)])
def test_a_wavelet_is_undone_exactly(size: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *size)
    low, high = split(x)
    assert low.shape == (2, 3, size[0] // 2, size[1] // 2)
    assert high.shape == (2, 9, size[0] // 2, size[1] // 2)
    assert (join(low, high) - x).abs().max() < 2e-6
    assert (join(*split(x.double())) - x.double()).abs().max() < 1e-12


def test_a_wavelet_keeps_energy_and_finds_nothing_fine_in_what_is_smooth() -> None:
    ramp = (torch.arange(64.0)[:, None] + 2 * torch.arange(64.0))[None, None] / 192
    _, high = split(ramp)
    assert high[..., 2:-2, 2:-2].abs().max() < 1e-5
    noise = torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    low, high = split(noise)
    assert float(low.square().sum() + high.square().sum()) == pytest.approx(float(noise.square().sum()), rel=0.05)


def test_tiles_are_folded_and_unfolded() -> None:
    y = torch.arange(2 * 3 * 8 * 12.0).view(2, 3, 8, 12)
    tiles = folded(y)
    assert tiles.shape == (2 * 6, 3, TILE, TILE)
    assert torch.equal(tiles[1], y[0, :, :4, 4:8])
    assert torch.equal(unfolded(tiles, 8, 12), y)


def test_the_start_is_a_codec_whose_high_frequencies_sharpen(trained: Frequency) -> None:
    x = torch.from_numpy(np.stack([tiny_photos.picture(256, 256)])).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        shown = trained.eval()(x, torch.ones(1))
    full, base = ((found - x).square().mean() for found in (shown.full, shown.base))
    assert full < base < 0.01
    assert shown.low_bits > 0
    assert shown.high_bits > 0


def test_a_tile_costs_the_same_whatever_is_beside_it(trained: Frequency) -> None:
    model = lively(trained)
    y, known = torch.randn(1, 128, 8, 8) * 4, torch.randn(1, 32, 8, 8)
    other = y.clone()
    other[:, :, 4:, 4:] = 9
    with torch.no_grad():
        one, two = (model.high(folded(each), torch.ones(4), context=folded(known)) for each in (y, other))
    assert torch.equal(one.bits[:3], two.bits[:3])
    assert torch.equal(one.y[:3], two.y[:3])
    assert not torch.equal(one.y[3], two.y[3])


def test_the_synthesis_looks_no_farther_than_regions_rely_on(trained: Frequency) -> None:
    model = lively(trained)
    low, high = torch.randn(1, 96, 16, 16), torch.zeros(1, 128, 16, 16)
    more = high.clone()
    more[:, :, :, 8:] = 3
    with torch.no_grad():
        changed = (model.synthesis(low, more) - model.synthesis(low, high)).abs().amax((0, 1, 2))
    assert changed[: 128 - REACH].max() < 1e-5
    assert changed[128 - 16 : 128].max() > 1e-3


def test_training_sees_both_pictures(trained: Frequency, tmp_path: Path) -> None:
    root = tiny_photos.write(tmp_path)
    task = FrequencyTask(crops(root, root / "cache"), trained.train(), LAMBDAS, 2, 0)
    parts = task.parts(task.batch(0, 0.0), LAMBDAS[2])
    assert parts.keys() == {"low_bits", "high_bits", "full", "base"}
    sum(parts.values()).backward()
    silent = [name for name, weight in trained.named_parameters() if weight.grad is None]
    assert not silent
    assert step_of(LAMBDAS[-1]) == 1
