"""Losses of the scalable families: who learns from what, where a picture's cells lie, where the middle layer begins."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("cv2")
pytest.importorskip("onnx2torch")

from torch import Tensor, nn  # noqa: E402
from torch.overrides import TorchFunctionMode  # noqa: E402

from common.scalable.lattice import lattice, resample  # noqa: E402
from tests.train import tiny_photos  # noqa: E402
from train import base_layer, middle  # noqa: E402
from train.base_layer import BaseTask, Distance, Outputs, Stand  # noqa: E402
from train.compare.coded import places  # noqa: E402
from train.crops import SIZE, Crops, crops  # noqa: E402
from train.cuts import sizes  # noqa: E402
from train.layers import LayersTask, Weights  # noqa: E402
from train.loop import PlacedTask  # noqa: E402
from train.masks import MaskTask, mask_head, masks  # noqa: E402
from train.middle import MiddleTask  # noqa: E402
from train.nets.picture import STRIDE  # noqa: E402
from train.nets.scalable import Family, Scalable, sampled  # noqa: E402
from train.pixels import LAMBDAS, OBJECTIVES, PixelTask, VariableTask, patches, picture_layer  # noqa: E402

SHAPE = (16, 40, 40)
CONSTRUCTORS = {torch.tensor, torch.as_tensor, torch.full, torch.zeros, torch.ones, torch.empty, torch.arange}
CONSTRUCTORS |= {torch.rand, torch.randn, torch.eye, torch.linspace}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_photos.write(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def at(root: Path) -> Stand:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIDSTREAM_DATA", str(root))
        return base_layer.stand(root / "cache")


@pytest.fixture(scope="module")
def pool(root: Path) -> Crops:
    return crops(root, root / "cache")


def awake(model: nn.Module) -> None:
    """Nothing is silent, as after some training."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and not layer.weight.any():
            nn.init.normal_(layer.weight, std=0.02)


def family(at: Stand, **what: bool) -> Scalable:
    torch.manual_seed(0)
    model = Scalable(Family(SHAPE, **what))
    awake(model)
    model.base.load_state_dict(base_layer.base_layer(at.codec, sizes(at.pool)).state_dict())
    awake(model.base)
    return model


def task(at: Stand, pool: Crops, model: Scalable, **more: Weights) -> LayersTask:
    return LayersTask(pool, at.pool, at.bundle.manifest.input, model, at.distance, 2, 0, **more)


def taught(model: Scalable, part: Tensor) -> float:
    """How much a part of the loss wants of the base layer's analysis."""
    model.zero_grad()
    part.backward(retain_graph=True)
    return sum(float(p.grad.abs().sum()) for p in model.base.analysis.parameters() if p.grad is not None)


@pytest.mark.parametrize("shared", [True, False])
def test_the_picture_teaches_the_base_layer_only_where_it_is_shared(at: Stand, pool: Crops, shared: bool) -> None:
    model = family(at, shared=shared)
    its = task(at, pool, model)
    parts = its.loss(its.batch(0, 0.0), 0, 0.0)
    assert all(torch.isfinite(part) for part in parts.values())
    assert taught(model, parts["bits"]) > 0
    for name in ("picture", "picture_bits", "preview"):
        assert (taught(model, parts[name]) > 0) == shared


def test_weights_are_of_the_picture_and_of_the_features(at: Stand, pool: Crops) -> None:
    model = family(at)
    losses = []
    for weights in (Weights(), Weights(picture=2.0, features=0.5)):
        its = task(at, pool, model, weights=weights)
        torch.manual_seed(1)
        losses.append({name: part.item() for name, part in its.loss(its.batch(3, 0.0), 3, 0.0).items()})
    even, other = losses
    for name, factor in (("picture", 2.0), ("outputs", 0.5), ("linear", 0.5), ("bits", 1.0), ("picture_bits", 1.0)):
        assert other[name] == pytest.approx(factor * even[name], rel=1e-3)


def test_a_batch_is_a_function_of_its_step(at: Stand, pool: Crops) -> None:
    its = task(at, pool, family(at))
    for one, same in zip(its.batch(7, 0.1), its.batch(7, 0.9), strict=True):
        assert torch.equal(one, same) if isinstance(one, Tensor) else one == same
    assert not torch.equal(its.batch(8, 0.0)[0], its.batch(7, 0.0)[0])


def test_cells_of_a_crop_lie_where_the_crop_lies(at: Stand, pool: Crops) -> None:
    """The first crop's place at the photo's corner is the whole photo's; moved by a cell, so are all its cells."""
    its = task(at, pool, family(at))
    where = pool.where[:1].copy()[0]
    where["x"], where["y"], where["scale"], where["mirror"] = 0, 0, 1, False
    width, height = (int(side) for side in at.pool.sizes[where["photo"]])
    cells = SIZE // STRIDE
    np.testing.assert_allclose(
        its.places(where), places(at.bundle.manifest.input, width, height, cells, cells)[0], atol=1e-6
    )
    moved = where.copy()
    moved["x"] = STRIDE
    np.testing.assert_allclose(its.places(moved)[:, :-1], its.places(where)[:, 1:], atol=1e-6)


@pytest.mark.parametrize(("width", "height"), [(300, 280), (640, 480), (128, 704)])
def test_training_samples_the_context_as_the_services_do(at: Stand, width: int, height: int) -> None:
    taken, rows, columns = at.bundle.manifest.input, -(-height // STRIDE), -(-width // STRIDE)
    context = torch.randn(1, 5, 40, 40, generator=torch.Generator().manual_seed(0))
    found = sampled(context, places(taken, width, height, rows, columns))[0]
    where = lattice(taken.box(width, height), taken.width, (40, 40), (rows, columns), STRIDE)
    expected = resample(context[0].numpy(), where)
    assert np.abs(found.numpy() - expected).max() < 0.03  # the services count in 256ths of a cell


def test_the_distance_is_nothing_where_nothing_changed(at: Stand) -> None:
    features, mask = at.pool.seen(np.array([0, 3]))
    steps = torch.tensor([1.0, 2.0])
    layer = base_layer.base_layer(at.codec, sizes(at.pool)).eval()
    with torch.no_grad():
        decoded = layer(features, steps, mask)
        same = type(decoded)(features, decoded.context, decoded.y, decoded.bits)
        none, some = (at.distance.parts(each, features, steps, mask) for each in (same, decoded))
        coarse = at.distance.parts(layer(features, 4 * steps, mask), features, steps, mask)
    assert float(none["outputs"]) == float(none["linear"]) == 0
    for name in ("outputs", "linear"):
        assert 0 < float(some[name]) < float(coarse[name])
    assert float(coarse["bits"]) < float(some["bits"])


def test_the_base_task_leaves_out_photos_that_teach_little(at: Stand) -> None:
    model = base_layer.base_layer(at.codec, sizes(at.pool))
    its = BaseTask(at.pool, model, at.distance, 4, 0)
    assert its.weights[[source == "cars" for source in at.pool.sources]].sum() == 0
    parts = its.loss(its.batch(0, 0.0), 0, 0.0)
    assert parts.keys() == {"bits", "outputs", "linear"} and all(part.item() > 0 for part in parts.values())


# ---- where tensors are


class Placed(TorchFunctionMode):
    """Refuses tensors that are made without saying where."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        assert function not in CONSTRUCTORS or (kwargs or {}).get("device") is not None, function
        return function(*args, **(kwargs or {}))


def refused(*args: object) -> None:
    raise AssertionError("made on the CPU, wherever the model is")


@pytest.mark.parametrize("which", ["base", "layers", "middle", "masks", "pixels", "variable"])
def test_a_loss_makes_its_tensors_where_the_features_are(
    which: str, at: Stand, pool: Crops, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = masks(root, at.bundle.manifest.input)
    picture = picture_layer(patches(pool, 8), 8)
    base = base_layer.base_layer(at.codec, sizes(at.pool))
    its: Any = {
        "base": lambda: BaseTask(at.pool, base, at.distance, 2, 0),
        "layers": lambda: task(at, pool, family(at, conditional=True)),
        "middle": lambda: MiddleTask(task(at, pool, family(at, middle=True)), known, 1.0, 2),
        "masks": lambda: MaskTask(at.pool, known, mask_head(at.pool), 2, 0),
        "pixels": lambda: PixelTask(pool, picture, LAMBDAS, 2, 0),
        "variable": lambda: VariableTask(pool, picture, LAMBDAS, 2, 0),
    }[which]()
    batch = its.batch(0, 0.0)
    monkeypatch.setattr(torch, "from_numpy", refused)
    with Placed():
        losses = its.losses(batch, 0, 0.0) if which == "variable" else [its.loss(batch, 0, 0.0)]
        assert all(torch.isfinite(part) for parts in losses for part in parts.values())


def test_the_distance_moves_with_all_it_needs(at: Stand) -> None:
    pool, model = at.pool, base_layer.base_layer(at.codec, sizes(at.pool))
    back = copy.deepcopy(at.distance.outputs.back)
    its = BaseTask(pool, model, Distance(Outputs(back), at.distance.basis), 2, 0)
    assert isinstance(its, PlacedTask)
    its.to(torch.device("meta"))
    assert its.distance.basis.is_meta
    moved = its.distance.outputs.back
    assert isinstance(moved, nn.Module)
    held = [*moved.parameters(), *moved.buffers()]
    assert held and all(tensor.is_meta for tensor in held)
    assert not [v for part in moved.modules() for v in vars(part).values() if isinstance(v, Tensor)]


# ---- pictures


def test_every_crop_comes_once_before_any_comes_again(pool: Crops) -> None:
    its = PixelTask(pool, picture_layer(patches(pool, 8), 8), LAMBDAS, 4, 0)
    steps = range(-(-2 * len(pool) // 4))
    seen = torch.cat([its.batch(step, 0.0) for step in steps])[: 2 * len(pool)]
    for half in seen.split(len(pool)):
        assert np.array_equal(half.numpy(), pool.pixels)


def test_every_step_has_an_objective_of_each_range_and_all_lambdas_come(pool: Crops) -> None:
    class Named(VariableTask):
        def parts(self, batch: Tensor, weight: float) -> dict[str, Tensor]:
            return {"lambda": torch.tensor(weight)}

    its = Named(pool, picture_layer(patches(pool, 8), 8), LAMBDAS, 2, 0)
    drawn = [[float(part["lambda"]) for part in its.losses(None, step, 0.0)] for step in range(8)]
    share = len(LAMBDAS) // OBJECTIVES
    for lambdas in drawn:
        assert [np.argmin(np.abs(np.array(LAMBDAS) - w)) // share for w in lambdas] == list(range(OBJECTIVES))
    assert len({round(w, 6) for lambdas in drawn for w in lambdas}) == len(LAMBDAS)


# ---- masks


def test_the_middle_layer_begins_nearer_to_the_features_than_the_base(at: Stand, pool: Crops, root: Path) -> None:
    torch.manual_seed(0)
    model = Scalable(Family(SHAPE, middle=True))
    model.base.load_state_dict(base_layer.base_layer(at.codec, sizes(at.pool)).state_dict())
    assert model.middle is not None and model.head is not None
    awake(model.head)
    known = masks(root, at.bundle.manifest.input)
    unit_error = middle.begin(model, at, known)
    assert unit_error > 0
    features, mask = at.pool.seen(2 * known.photos)
    steps = base_layer.step_of(torch.tensor([224.0, 320.0]))
    with torch.no_grad():
        base = model.base.eval()(features, steps[:1], mask)
        refined = model.middle.eval()(features, steps[1:], mask, base.features)
        far, near = ((each.features - features).square().sum() for each in (base, refined))
    assert near < far
    its = MiddleTask(task(at, pool, model), known, unit_error, 2)
    parts = its.loss(its.batch(0, 0.0), 0, 0.0)
    assert parts.keys() == {"bits", "masks", "linear", "picture_bits", "picture"}
    assert all(torch.isfinite(part) for part in parts.values())
    assert taught(model, sum(parts.values())) == 0  # the base layer stays as it is
