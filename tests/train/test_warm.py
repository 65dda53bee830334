"""Starting from another run's weights."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from common.errors import MidstreamError
from train.layers import train_layers
from train.middle import train_middle
from train.nets.picture import PATCH
from train.nets.scalable import PictureLayer
from train.pixels import picture_layer
from train.recipes import ablation, every_rate, finish, plain, rates, variable
from train.warm import warm


def checkpoint(path: Path, model: torch.nn.Module) -> Path:
    torch.save({"ema": model.state_dict()}, path)
    return path


def test_a_layer_that_hears_more_starts_by_ignoring_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    narrow = picture_layer(torch.rand(500, PATCH), 32)
    for weight in (narrow.analysis.leave.weight, narrow.synthesis.leave[1].weight):
        torch.nn.init.normal_(weight, std=0.1)
    wide = PictureLayer(32, context=5)
    new = warm(wide, checkpoint(tmp_path / "checkpoint.pt", narrow))
    assert {name.split(".")[1] for name in new} == {"hear"}
    x, step = torch.rand(1, 3, 64, 64), torch.ones(1)
    with torch.no_grad():
        expected, bits = narrow.eval()(x, step)
        found, same = wide.eval()(x, step, torch.randn(1, 5, 4, 4))
    assert torch.allclose(found, expected, atol=1e-5)
    assert bits == pytest.approx(float(same), rel=1e-5)


def test_more_inputs_start_at_nothing(tmp_path: Path) -> None:
    narrow, wide = (torch.nn.Conv2d(inputs, 4, 1) for inputs in (3, 5))
    assert warm(wide, checkpoint(tmp_path / "checkpoint.pt", narrow)) == []
    x = torch.randn(1, 5, 2, 2)
    assert torch.allclose(wide(x), narrow(x[:, :3]), atol=1e-6)


def test_part_of_a_run_is_found_by_its_prefix(tmp_path: Path) -> None:
    layer = picture_layer(torch.rand(500, PATCH), 32)
    synthesis = PictureLayer(32).synthesis
    path = checkpoint(tmp_path / "checkpoint.pt", layer)
    warm(synthesis, path, "synthesis.")
    assert torch.equal(synthesis.linear.fixed, layer.synthesis.linear.fixed)
    with pytest.raises(ValueError, match="no weights named nothing"):
        warm(synthesis, path, "nothing.")


@pytest.mark.parametrize(
    ("train", "recipe"),
    [
        (train_layers, "features"),
        (train_middle, "finish"),
        (plain.main, "every_rate"),
        (every_rate.main, "picture"),
        (variable.main, "picture"),
        (rates.main, "picture"),
        (ablation.main, "picture"),
        (finish.main, "scalable2"),
    ],
)
def test_a_run_that_comes_first_is_named_before_anything_is_made(
    train: Callable[..., object], recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIDSTREAM_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(MidstreamError, match=f"midstream train {recipe} --out {tmp_path / recipe}"):
        train(tmp_path / "mine", 1, False, None)
    assert not list(tmp_path.iterdir())


def test_other_shapes_are_an_error(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "checkpoint.pt", PictureLayer(32))
    with pytest.raises(ValueError, match="expected weights"):
        warm(PictureLayer(48), path)
