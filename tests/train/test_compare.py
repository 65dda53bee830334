"""Comparing checkpoints: what is missing is named, what is compared is what was trained, what is written stays one."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("cv2")
pytest.importorskip("matplotlib")

from torch import nn  # noqa: E402

from bench.bd import Curve  # noqa: E402
from common.errors import MidstreamError  # noqa: E402
from tests.train import tiny_photos  # noqa: E402
from train.compare import report, runs, tradeoff, variable_rate  # noqa: E402
from train.compare.coded import Point, alone  # noqa: E402
from train.compare.plot import beside  # noqa: E402
from train.nets.scalable import Family, PictureLayer, Scalable  # noqa: E402
from train.pixels import LAMBDAS, step_of  # noqa: E402
from train.recipes.rates import CHOSEN  # noqa: E402
from train.recipes.tradeoff import SETTINGS  # noqa: E402


def checkpoint(path: Path, model: nn.Module) -> None:
    path.mkdir(parents=True, exist_ok=True)
    torch.save({"ema": model.state_dict()}, path / "checkpoint.pt")


@pytest.fixture(scope="module")
def layer() -> PictureLayer:
    """With offsets and a hyper-latent's step that do something."""
    torch.manual_seed(0)
    layer = PictureLayer()
    for module in layer.modules():
        if isinstance(module, nn.Conv2d) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.02)
    nn.init.orthogonal_(layer.analysis.linear.fixed)
    layer.analysis.linear.fixed *= 20
    layer.synthesis.linear.fixed.copy_(layer.analysis.linear.fixed.T / 400)
    for net in (layer.latent.offsets, layer.latent.hyper_step):
        nn.init.constant_(net.body[-1].bias, 0.3)
    return layer.requires_grad_(False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, layer: PictureLayer) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for variant in variable_rate.VARIANTS:
        checkpoint(folder / variant.recipe / variant.part, layer)
    for weight in CHOSEN:
        checkpoint(folder / "rates" / f"{weight:g}", layer)
    for name in SETTINGS:
        checkpoint(folder / "tradeoff" / name, Scalable(Family(runs.CUT)))
    return folder


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIDSTREAM_DATA", str(tiny_photos.write(tmp_path / "data")))
    return tmp_path


@pytest.mark.parametrize("bench", [variable_rate, tradeoff])
def test_the_recipe_of_a_checkpoint_that_is_missing_is_named(bench: object, tmp_path: Path) -> None:
    recipe = "rates" if bench is variable_rate else "tradeoff"
    with pytest.raises(MidstreamError, match=f"midstream train {recipe} --out"):
        bench.run(tmp_path)  # type: ignore[attr-defined]


def test_weights_of_another_recipe_are_refused(tmp_path: Path, layer: PictureLayer) -> None:
    checkpoint(tmp_path / "tradeoff", layer)
    with pytest.raises(MidstreamError, match="'tradeoff'"):
        runs.family(tmp_path, "tradeoff")
    checkpoint(tmp_path / "picture", Scalable(Family(runs.CUT)))
    with pytest.raises(MidstreamError, match="'picture'"):
        runs.picture_layer(tmp_path, "picture")


def test_a_picture_layer_alone_says_what_the_layer_says(trained: Path) -> None:
    """Its analysis run once, and of an odd picture only the pixels that are there."""
    layer = runs.picture_layer(trained, "variable")
    x = torch.rand(1, 3, 70, 50, generator=torch.Generator().manual_seed(2))
    whole = nn.functional.pad(x, (0, 14, 0, 58), mode="replicate")
    for weight in (LAMBDAS[0], LAMBDAS[-1]):
        expected, bits = layer(whole, torch.tensor([step_of(weight)]))
        found, same = alone(layer)(x)(weight)
        assert torch.equal(found, expected[..., :70, :50]) and torch.equal(bits, same)


def test_the_variable_rate_from_checkpoints_to_a_page(
    trained: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = data / "results.md"
    page.write_text("# Results\n")
    monkeypatch.setattr(variable_rate, "place", lambda page: data)
    for _ in range(2):
        result = variable_rate.run(trained, 1, 1, data / "found.json", data / "found.png", docs=True)
    assert json.loads((data / "found.json").read_text()) == result
    points = {(row["model"], row["lambda"]): (row["bpp"], row["psnr"]) for row in result["rows"]}
    names = [variant.name for variant in variable_rate.VARIANTS]
    assert len(points) == len(CHOSEN) + len(names) * len(LAMBDAS)
    for weight in CHOSEN:  # one checkpoint for all, so only the parts that are in use tell them apart
        assert points[variable_rate.SEPARATE, weight] == points[names[0], weight] != points[names[1], weight]
        assert points[names[1], weight][0] == points[names[0], weight][0]  # offsets cost nothing
        assert points[names[2], weight] == points[names[3], weight] != points[names[1], weight]
    assert [points[names[0], weight] for weight in LAMBDAS] == sorted(points[names[0], weight] for weight in LAMBDAS)
    text = page.read_text()
    assert text.count("## One model for every rate") == 1 and "--images 1`" in text
    for picture in (data / "found.png", data / variable_rate.PICTURE):
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_tradeoff_from_checkpoints_to_a_page(trained: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "results.md").write_text("# Results\n")
    monkeypatch.setattr(tradeoff, "place", lambda page: data)
    result = tradeoff.run(trained, 1, 1, data / "found.json", docs=True)
    assert json.loads((data / "found.json").read_text()) == result
    for name, setting in result["settings"].items():
        assert (setting["w_x"], setting["w_f"]) == (SETTINGS[name].picture, SETTINGS[name].features)
        assert len(setting["base"]) == len(tradeoff.QUALITIES) and len(setting["picture"]) == len(CHOSEN)
        assert all(point["bytes"] > 0 for point in setting["base"])
        assert all(point["bpp"] > 0 for point in setting["picture"])
    assert (data / "results.md").read_text().count("## Detector or eye") == 1


def rated(more: float, to: tuple[float, ...] = CHOSEN) -> list[Point]:
    """A straight line of PSNR over log(rate), `more` times as much rate."""
    return [Point(more * 0.2 * 2.0**i, 28.0 + 3 * i) for i in range(len(to))]


def test_a_tenth_more_rate_is_a_delta_of_ten_per_cent() -> None:
    names = [variant.name for variant in variable_rate.VARIANTS]
    points = {variable_rate.SEPARATE: rated(1.0), names[0]: rated(1.1, LAMBDAS), names[1]: rated(0.95, LAMBDAS)}
    found = variable_rate.concluded(points)["bd_rate"]
    for name, expected in ((names[0], 10.0), (names[1], -5.0)):
        assert found[name] == {"overall": pytest.approx(expected, abs=0.2), "below": pytest.approx(expected, abs=0.2)}


def test_curves_that_share_no_range_have_no_delta() -> None:
    low, high = Curve(rated(1.0)), Curve([Point(p.rate, p.quality + 30) for p in rated(1.0)])
    assert report.delta(low, high) is None and report.percent(None) == ""
    assert not len(beside(low, high)[0])


def test_settings_are_held_against_the_even_one() -> None:
    base = [Point(1000.0 * 2**i, 0.84 + 0.03 * i) for i in range(4)]
    cheap = [Point(0.8 * point.rate, point.quality) for point in base]
    found = tradeoff.concluded(
        {
            "even": tradeoff.Setting(base, rated(1.0)),
            "features": tradeoff.Setting(cheap, rated(1.25)),
        }
    )["settings"]
    assert found["even"]["bytes_bd_rate"] is None
    assert found["features"]["bytes_bd_rate"] == pytest.approx(-20, abs=0.1)
    assert found["features"]["bpp_bd_rate"] == pytest.approx(25, abs=0.1)
    assert found["features"]["bytes"] == pytest.approx(0.8 * found["even"]["bytes"])
    assert np.isclose(found["features"]["bpp"], 1.25 * found["even"]["bpp"])
