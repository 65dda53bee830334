"""A family as a bundle: what edge and cloud make of it is what the networks make of it."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from bench.networks import Split, shipped  # noqa: E402
from bench.pictures import fitted  # noqa: E402
from common import bundle as bundles  # noqa: E402
from common import feature_codec  # noqa: E402
from common.bundle import MANIFEST  # noqa: E402
from common.errors import MidstreamError  # noqa: E402
from common.scalable import PictureLayers  # noqa: E402
from train.bundles.onnx_files import plain  # noqa: E402
from train.bundles.scalable import BASE, Shipped, assembled, framed, loaded  # noqa: E402
from train.nets.latent import Latent  # noqa: E402
from train.nets.picture import Linear  # noqa: E402
from train.nets.scalable import Decoded, Family, Scalable  # noqa: E402

# The exporter of plain graphs warns that a newer one exists, and of shapes that are constants here.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]

LOUD = 16.0
"""How large latents are, in steps."""
SIZES = [(128, 96), (100, 130), (64, 200)]


def picture(width, height, seed):
    """Smooth, with some grain."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (6, 6, 3), np.uint8)
    smooth = fitted(coarse, max(width, height), "stretch", 0)[:height, :width]
    return np.clip(smooth + random.normal(0, 4, smooth.shape), 0, 255).astype(np.uint8)


def family(**parts):
    """Small, at random, every path alive."""
    torch.manual_seed(0)
    sizes = {"base_channels": 24, "middle_channels": 16, "picture_channels": 32}
    model = Scalable(Family((16, 40, 40), **sizes, **parts))
    for module in model.modules():
        if isinstance(module, Linear):
            torch.nn.init.orthogonal_(module.fixed)
            module.fixed *= LOUD if module.rows else 1 / LOUD
        if isinstance(module, Latent):
            module.spread.fill_(LOUD)
        if isinstance(module, torch.nn.Conv2d) and not module.weight.any():
            torch.nn.init.normal_(module.weight, 0, 0.02)
    for layer in filter(None, (model.base, model.middle)):
        layer.blank.normal_()
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def source():
    return bundles.load(shipped(), "both")


@pytest.fixture(
    scope="module", params=[{}, {"middle": True}, {"shared": False, "conditional": True}], ids=["2", "3", "apart"]
)
def made(request, source, tmp_path_factory):
    split = Split(source)
    frames = [framed(split, picture(*size, seed)) for seed, size in enumerate(SIZES)]
    shipping = Shipped(plain(family(**request.param), eight_bits=True), frames, source.manifest.input.width)
    manifest, files = assembled(shipping, source, "family")
    written = bundles.write(tmp_path_factory.mktemp("family"), manifest, files)
    return shipping, bundles.load(written.path, "both")


class Coded:
    """A frame by the runtime: all layers, each at its finest."""

    def __init__(self, bundle, frame):
        height, width = frame.picture.shape[:2]
        self.size, self.pictures, self.codec = (width, height), PictureLayers.open(bundle), feature_codec.of(bundle)
        self.window = bundle.manifest.input.window(width, height)
        self.layers = self.codec.encode([frame.features[0].numpy()], BASE.qualities[-1], self.window)
        for layer in self.pictures.layers:
            quality = layer.qualities[-1]
            self.layers.append(self.pictures.encode(layer.name, frame.picture, self.layers, quality))

    @property
    def y(self):
        """The base's latent."""
        return torch.from_numpy(self.codec.latent(self.layers, self.window))[None].float() / 256


@pytest.fixture(scope="module")
def coded(made):
    shipping, bundle = made
    frame = shipping.frames[1]
    return shipping.model, frame, Coded(bundle, frame)


def test_the_base_layer_is_the_trained_one(coded):
    model, frame, by = coded
    (found,) = by.codec.decode(by.layers, by.window)
    with torch.no_grad():
        y = model.base.analysis(frame.features) * frame.mask
        features, _ = model.base.transform(by.y)
        seen = torch.nn.functional.interpolate(frame.mask, scale_factor=4.0)
    assert not seen.all()
    np.testing.assert_allclose(found, (features * seen + model.base.blank * (1 - seen))[0], atol=1e-4)
    # Rounding to whole steps is a quarter of one on average.
    assert 0 < (by.y - y).abs()[frame.mask.expand_as(y) > 0].mean() < 0.3


def test_the_picture_is_the_trained_one(coded):
    model, frame, by = coded
    width, height = by.size
    below = by.pictures._frame(by.pictures.layer("full").kind, by.layers, width, height).below
    under = Decoded(features=None, context=torch.from_numpy(below.next.context)[None], y=None, bits=None)
    fixed = torch.from_numpy(by.pictures.latent(by.layers, width, height))[None].float() / 256
    with torch.no_grad():
        x, context = Shipped(model, [], 320)._picture(frame, under)
        y = model.picture.analysis(x, context)
        expected = model.picture.synthesis(fixed, context)[0, :, :height, :width]
    expected = (expected * 255).round().clamp(0, 255).permute(1, 2, 0).numpy()
    assert expected.std() > 5
    assert np.abs(by.pictures.decode(by.layers, width, height) - expected).max() <= 1
    assert (fixed - y).abs().mean() < 0.3


def test_preview_and_mask_are_the_trained_ones(coded):
    model, _, by = coded
    assert by.pictures.preview(by.layers, *by.size).shape == (by.size[1], by.size[0], 3)
    if model.middle is not None:
        assert set(np.unique(by.pictures.mask(by.layers, *by.size))) <= {0, 1, 2}


def test_the_manifest_says_which_layers_there_are(made):
    shipping, bundle = made
    middle = shipping.model.middle is not None
    assert [layer.name for layer in bundle.manifest.layers] == ["mask"] * middle + ["full"]
    assert bundle.manifest.layers[-1].context == 32
    assert bundle.manifest.codec["qualities"] == [BASE.qualities[0], BASE.qualities[-1]]
    assert (bundle.path / MANIFEST).exists()


def test_the_edge_needs_no_synthesis(made):
    _, bundle = made
    assert "full_synthesis.onnx" not in bundle.names("edge")
    assert "full_analysis.onnx" not in bundle.names("cloud")
    assert {"latent.npz", "base_lst.onnx"} <= set(bundle.names("edge")) & set(bundle.names("cloud"))


def test_a_checkpoint_says_what_family_it_is_of(tmp_path):
    model = Scalable(Family((16, 40, 40), conditional=True))
    torch.save({"ema": model.state_dict()}, tmp_path / "a.pt")
    found = loaded(tmp_path / "a.pt")
    assert found.family.conditional
    assert not found.family.middle
    torch.save({"ema": {"x": torch.zeros(1)}}, tmp_path / "b.pt")
    with pytest.raises(MidstreamError, match="no family"):
        loaded(tmp_path / "b.pt")
