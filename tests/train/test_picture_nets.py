"""The picture layer's linear start, and the feature layer's."""

import numpy as np
import torch

from bench.networks import shipped
from common import bundle, feature_codec
from train.base_layer import UNIT, base_layer, step_of
from train.nets.blocks import KNOTS, Residual, nearness
from train.nets.features import matrices
from train.nets.picture import PATCH, STRIDE, USUAL, Depth, depths_of, told_of
from train.nets.scalable import CONTEXT, Family, PictureLayer, Scalable
from train.pixels import picture_layer
from train.warm import take


def test_a_picture_layer_starts_as_the_best_linear_transform() -> None:
    torch.manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.rand(64, 3, 8, 8), scale_factor=8.0, mode="bilinear")
    patches = torch.nn.functional.pixel_unshuffle(smooth, STRIDE).permute(0, 2, 3, 1).reshape(-1, PATCH)
    layer = picture_layer(patches)
    with torch.no_grad():
        found = layer.synthesis(layer.analysis(smooth))
        halves = [layer.analysis.linear.weight()[:n] for n in (48, 192)]
    assert (found - smooth).square().mean() < 1e-4 * smooth.var()
    assert halves[0].square().sum() < halves[1].square().sum()
    gram = layer.analysis.linear.fixed @ layer.synthesis.linear.fixed
    assert torch.allclose(gram, torch.eye(192), atol=1e-4)


def test_weights_say_how_deep_they_are() -> None:
    depths = Depth(3, 1), Depth(1, 4)
    assert depths_of(PictureLayer(8, depths=depths).state_dict()) == depths
    assert depths_of({f"clean.{name}" for name in PictureLayer(8).state_dict()}, "clean.") == USUAL


def test_a_step_lies_between_two_knots() -> None:
    near = nearness(torch.tensor([0.5, 1, 2**0.25, 2, 2**2.5, 9]))
    assert torch.allclose(near.sum(1), torch.ones(6))
    expected = [[1, 0, 0], [1, 0, 0], [0.5, 0.5, 0], [0, 0, 1]]
    assert torch.allclose(near[:4, :3], torch.tensor(expected), atol=1e-6)
    assert near[4:, KNOTS - 1].tolist() == [1, 1]


def test_nets_that_are_told_start_as_those_that_are_not_and_each_picture_has_its_own_step() -> None:
    torch.manual_seed(0)
    untold, told = PictureLayer(8), PictureLayer(8, told=True)
    assert told_of(told.state_dict()) and not told_of(untold.state_dict())
    for module in untold.modules():
        if isinstance(module, torch.nn.Conv2d) and not module.weight.any():
            torch.nn.init.normal_(module.weight, 0, 0.03)
    assert all(name.endswith(".thresholds") for name in take(told, untold.state_dict()))
    x, steps = torch.rand(2, 3, 64, 64), torch.tensor([1.0, 4.0])
    with torch.no_grad():
        y = untold.analysis(x)
        assert torch.equal(told.analysis(x, step=steps), y)
        assert torch.equal(told.synthesis(y, step=steps), untold.synthesis(y))
        for module in told.modules():
            if isinstance(module, Residual) and module.thresholds is not None:
                torch.nn.init.normal_(module.thresholds)
        both = told.analysis(x, step=steps)
        each = [told.analysis(x[n : n + 1], step=steps[n : n + 1])[0] for n in range(2)]
        shown = told.synthesis(both, step=steps)
        assert torch.allclose(both, torch.stack(each), atol=1e-4)
        assert not torch.allclose(both, told.analysis(x, step=steps.flip(0)), atol=1e-2)
        assert not torch.allclose(shown, told.synthesis(both, step=steps.flip(0)), atol=1e-2)


def test_the_base_layer_starts_as_the_transform_codec() -> None:
    source = bundle.load(shipped(), "both")
    basis = feature_codec.of(source).tensors[0].basis
    forward, inverse = matrices(basis)
    assert np.allclose(inverse @ forward, np.eye(256), atol=1e-3)
    layer = base_layer(feature_codec.of(source), torch.ones(16), channels=256).eval()
    features = torch.randn(1, 16, 40, 40)
    with torch.no_grad():
        y = layer.analysis(features)
        found, context = layer.transform(y)
        fine = layer(features, step_of(torch.tensor([float(UNIT) + 512])), torch.ones(1, 1, 10, 10))
    assert torch.allclose(found, features, atol=2e-2)
    assert context.shape == (1, CONTEXT, 40, 40)
    assert (fine.features - features).abs().max() < 0.1


def test_all_families_code_a_picture_above_their_base() -> None:
    torch.manual_seed(0)
    features, mask = torch.randn(1, 16, 40, 40), torch.ones(1, 1, 10, 10)
    for middle in (False, True):
        for conditional in (False, True):
            model = Scalable(Family((16, 40, 40), middle=middle, conditional=conditional)).eval()
            with torch.no_grad():
                base = model.base(features, torch.ones(1), mask)
                under = model.middle(features, torch.ones(1), mask, base.features) if model.middle else base
                places = torch.zeros(1, 4, 4, 2)
                found, bits = model.picture_of(torch.rand(1, 3, 64, 64), torch.ones(1), under, base, places)
            assert found.shape == (1, 3, 64, 64)
            assert bits.shape == (1,)


def test_a_base_layer_that_is_not_shared_learns_nothing_from_above() -> None:
    model = Scalable(Family((16, 40, 40)))
    features, mask = torch.randn(1, 16, 40, 40), torch.ones(1, 1, 10, 10)
    for told in (False, True):
        model.zero_grad(set_to_none=True)
        model.base(features, torch.ones(1), mask, told=told).context.square().sum().backward()
        learns = model.base.transform.full[0].weight.grad
        assert (learns is not None and bool(learns.abs().sum() > 0)) == told
