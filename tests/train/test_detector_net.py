"""The network: sizes, cost, and that its two halves are the whole."""

import pytest

torch = pytest.importorskip("torch")

from train.nets.detector import STRIDES, Detector, boxes_of, cells, coarse  # noqa: E402


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Detector().eval()


@pytest.mark.parametrize("size", [64, 224, 320])
def test_shapes(net, size):
    with torch.no_grad():
        cut = net.front(torch.rand(1, 3, size, size))
        raw = net.back(cut)
    assert cut.shape == (1, 16, size // 8, size // 8)
    assert raw.shape == (1, sum((size // s) ** 2 for s in STRIDES), 8 + 32)
    assert [len(c) for c in cells(size)] == [raw.shape[1]] * 2


def test_front_then_back_is_the_whole(net):
    image = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(net.back(net.front(image)), net(image))


def test_batch_of_two_equals_single(net):
    images = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        both, single = net(images), torch.cat([net(i[None]) for i in images])
    assert torch.allclose(both, single, atol=1e-5)


def test_parameters_and_multiply_adds(net):
    macs = {"front": 0, "back": 0}

    def count(side):
        def hook(layer, _, output):
            macs[side] += output[0].numel() * layer.weight[0].numel()

        return hook

    for side in macs:
        for layer in getattr(net, side).modules():
            if isinstance(layer, torch.nn.Conv2d):
                layer.register_forward_hook(count(side))
    with torch.no_grad():
        net(torch.rand(1, 3, 320, 320))
    assert sum(p.numel() for p in net.parameters()) <= 2.5e6
    assert 0.8e9 <= sum(macs.values()) <= 1.2e9
    assert macs["front"] <= sum(macs.values()) / 3


def test_boxes_hold_their_cell_and_reach_seven_strides():
    centres, strides = cells(64)
    far = torch.zeros(len(centres), 4, 8)
    far[..., 7] = 50.0
    boxes = boxes_of(far.flatten(1), centres, strides)
    assert torch.allclose(boxes[:, 2] - boxes[:, 0], 14 * strides)
    assert torch.allclose((boxes[:, :2] + boxes[:, 2:]) / 2, centres)


@pytest.mark.parametrize("levels", [3, 8, 16])
def test_coarse_has_that_many_levels_and_passes_gradients_between_its_ends(levels):
    torch.manual_seed(0)
    cut = torch.nn.functional.leaky_relu(torch.randn(1, 16, 8, 8), 0.1).requires_grad_()
    coded = coarse(cut, levels)
    coded.sum().backward()
    assert len(torch.unique((coded * 1e4).round())) <= levels
    inside = (cut > coded.min()) & (cut < coded.max())
    assert torch.all(cut.grad[inside] == 1)
