"""The picture layer's linear start, and the feature layer's."""

import numpy as np
import torch

from bench.networks import shipped
from common import bundle, feature_codec
from train.base_layer import UNIT, base_layer, step_of
from train.nets.features import matrices
from train.nets.picture import PATCH, STRIDE, USUAL, Depth, depths_of
from train.nets.scalable import CONTEXT, Family, PictureLayer, Scalable
from train.pixels import picture_layer


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
