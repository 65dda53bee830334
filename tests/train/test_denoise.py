"""Noise, and what is trained to tell it from pictures."""

import numpy as np
import pytest
import torch

from bench.noise import noisy
from tests.train import tiny_photos
from train.crops import Crops, crops
from train.denoise import COARSEST, TILT, CleanTask, NoiseTask, denoise_layers, share
from train.nets.picture import Depth
from train.nets.scalable import PictureLayer
from train.noise import drawn
from train.pixels import FINEST, patches, picture_layer, step_of

GREY = np.full((400, 400, 3), 128, np.uint8)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Crops:
    root = tiny_photos.write(tmp_path_factory.mktemp("photos"))
    return crops(root, root / "cache")


@pytest.mark.parametrize("sigma", [15, 25])
def test_noise_has_the_deviation_that_was_asked_for(sigma: float) -> None:
    found = noisy(GREY, sigma, np.random.default_rng(0)).astype(float) - 128
    assert found.std() == pytest.approx(sigma, rel=0.01)
    assert abs(found.mean()) < 0.1


def test_noise_of_light_grows_with_it() -> None:
    deviations = []
    for level in (16, 64, 144):
        found = noisy(np.full_like(GREY, level), 2.0, np.random.default_rng(0), gain=1.0)
        deviations.append(found.astype(float).std())
    assert deviations == pytest.approx([np.sqrt(4 + level) for level in (16, 64, 144)], rel=0.02)


def test_noise_is_clipped_and_drawn_again_alike() -> None:
    black = np.zeros_like(GREY)
    found = noisy(black, 50, np.random.default_rng(3))
    assert found.min() == 0
    assert (found == 0).mean() == pytest.approx(0.5, abs=0.02)
    assert np.array_equal(found, noisy(black, 50, np.random.default_rng(3)))


def test_training_sees_all_kinds_of_noise() -> None:
    rng = np.random.default_rng(0)
    kinds = [drawn(rng) for _ in range(300)]
    assert {15.0, 25.0, 50.0} <= {sigma for sigma, _ in kinds}
    assert any(gain > 1 for _, gain in kinds)
    assert max(sigma for sigma, _ in kinds) <= 55


def test_the_clean_picture_is_what_counts(pool: Crops) -> None:
    torch.manual_seed(0)
    task = CleanTask(pool, picture_layer(patches(pool), 48), 2, 0)
    clean, seen = task.batch(0, 0.0)
    again = task.batch(0, 0.0)
    assert torch.equal(clean, again[0])
    assert torch.equal(seen, again[1])
    assert not torch.equal(clean, seen)
    near = task.loss((seen, seen), 0, 0.0)
    far = task.loss((255 - seen, seen), 0, 0.0)
    assert far["error"] > near["error"]


def test_every_crop_has_a_rate_of_its_own_and_is_turned(pool: Crops) -> None:
    task = CleanTask(pool, picture_layer(patches(pool), 48), 4, 0)
    asked: list[torch.Tensor] = []
    task.model.register_forward_pre_hook(lambda _, given: asked.append(given[1]))
    turned = 0
    for step in range(6):
        clean, seen = task.batch(step, 0.0)
        task.loss((clean, seen), step, 0.0)
        rows = (4 * step + np.arange(4)) % len(pool)
        turned += sum(not np.array_equal(new, old) for new, old in zip(clean.numpy(), pool.pixels[rows], strict=True))
    assert 9 <= turned < 24
    for steps in asked:  # one in each part of the range of lambda that is drawn from as often
        place = 1 - torch.log(steps / step_of(FINEST)) / np.log(step_of(COARSEST) / step_of(FINEST))
        often = torch.expm1(-TILT * place) / np.expm1(-TILT)
        assert sorted((often * 4).int().tolist()) == [0, 1, 2, 3]
        assert (place < often).all()


def test_fine_and_rough_crops_count_less_a_bit() -> None:
    loss, weight = torch.tensor([0.5, 2.0, 0.5]), torch.tensor([COARSEST, COARSEST, FINEST])
    shares = share(loss, weight)
    assert float(shares[0] / shares[1]) == pytest.approx(2)
    assert shares[2] < shares[0]


def test_the_noisy_layer_adds_what_the_clean_one_left(pool: Crops, tmp_path) -> None:
    torch.manual_seed(0)
    layer = PictureLayer(depths=(Depth(3), Depth(4)))
    torch.save({"ema": layer.state_dict()}, tmp_path / "checkpoint.pt")
    model = denoise_layers(pool, tmp_path / "checkpoint.pt", 4)
    task = NoiseTask(pool, model, 2, 0)
    batch = task.batch(0, 0.0)
    sum(task.loss(batch, 0, 0.0).values()).backward()
    assert all(weight.grad is None for weight in model.clean.parameters())
    assert model.noisy.synthesis.linear.gain.grad is not None
    seen = batch[1].permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        model.eval()
        coarse = [model(seen, torch.ones(2), torch.full((2,), step))[1] for step in (6.0, 1.0)]
    far, near = ((found - seen).square().mean() for found in coarse)
    assert near < far
