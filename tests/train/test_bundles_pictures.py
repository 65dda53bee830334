"""Codecs of pictures as layers of a bundle: what edge and cloud make of them is what the networks make of them."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("cv2")

from onnx import TensorProto  # noqa: E402

from bench.networks import shipped  # noqa: E402
from bench.noise import noisy  # noqa: E402
from bench.pictures import fitted  # noqa: E402
from common import bundle as bundles  # noqa: E402
from common import feature_codec  # noqa: E402
from common.codec.latent import Cells, LatentCoder  # noqa: E402
from common.errors import MidstreamError  # noqa: E402
from common.scalable import PictureLayers  # noqa: E402
from common.scalable.regions import Region  # noqa: E402
from tests.train import tiny_photos  # noqa: E402
from train import latents  # noqa: E402
from train import shipped as shipped_weights  # noqa: E402
from train.bundles import families, pictures  # noqa: E402
from train.bundles.families import codec, loaded  # noqa: E402
from train.bundles.onnx_files import LARGE, plain  # noqa: E402
from train.nets import frequency, picture  # noqa: E402
from train.nets.blocks import Residual  # noqa: E402
from train.nets.denoise import Denoise  # noqa: E402
from train.nets.frequency import Frequency  # noqa: E402
from train.nets.latent import Latent  # noqa: E402
from train.nets.passes import grouped  # noqa: E402
from train.nets.picture import Depth  # noqa: E402
from train.nets.scalable import Family, PictureLayer, Scalable  # noqa: E402

# The exporter of plain graphs warns that a newer one exists, and of shapes that are constants here.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]

STEP = 13.9
"""Of the transforms, of 0..255: a quality of 512 is as fine as JPEG at 90."""
SIGMA = 20.0
SIZES = [(128, 128), (144, 130), (64, 200), (160, 160)]
FINE, COARSE = pictures.PICTURE.qualities[-1], pictures.PICTURE.qualities[0]


def photo(width, height, seed):
    """Smooth, with edges and some grain."""
    random = np.random.default_rng(seed)
    smooth = fitted(random.integers(0, 256, (6, 6, 3), np.uint8), max(width, height), "stretch", 0)[:height, :width]
    board = 30 * ((np.arange(width) // 24 + np.arange(height)[:, None] // 20) % 2)[..., None]
    return np.clip(smooth + board + random.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8)


PHOTOS = [photo(*size, seed) for seed, size in enumerate(SIZES)]
CROPS = torch.cat([pictures.planes(each)[..., :64, :64] for each in PHOTOS])


def patches(x):
    """[M,768] of x [N,3,H,W]."""
    unshuffled = torch.nn.functional.pixel_unshuffle(x, picture.STRIDE)
    return unshuffled.permute(0, 2, 3, 1).reshape(-1, picture.PATCH)


def awake(model):
    """Paths that start silent say a little, so that a path that is wired wrongly shows."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d) and not module.weight.any():
            torch.nn.init.normal_(module.weight, 0, 0.003)
        if isinstance(module, Residual) and module.thresholds is not None:
            torch.nn.init.normal_(module.thresholds, 0, 3)
        if isinstance(module, Latent):
            for head in (module.decoder.head, *(told.head for told in module.passes)):
                if head is not None:
                    head.weight.data *= 3
    return model.eval().requires_grad_(False)


def started(layer, x):
    """A picture layer that stands where the transform of x stands."""
    layer.latent.set_spread(picture.start(layer.analysis, layer.synthesis, patches(x), 255 / STEP))


def frequencies():
    """Small, at the transform of the bands."""
    torch.manual_seed(0)
    model = Frequency(low=40, high=48, passes=(grouped(6, 40), grouped(8, 48)))
    frequency.start(model, CROPS, 255 / STEP)
    return awake(model)


def denoising():
    """Small, at the transforms of pictures and of noise."""
    torch.manual_seed(0)
    model = Denoise(
        channels=48,
        noise_channels=picture.PATCH,
        depths=(Depth(3, 1), Depth(4, 3)),
        passes=grouped(6, 20, 48, checkered=2),
    )
    started(model.clean, CROPS)
    started(model.noisy, 0.5 + torch.randn_like(CROPS) * SIGMA / 255)
    return awake(model)


def alone():
    """Small, at the transform of pictures."""
    torch.manual_seed(0)
    layer = PictureLayer(48)
    started(layer, CROPS)
    return awake(layer)


class Written:
    """A codec's bundle, opened as edge and cloud open it."""

    def __init__(self, model, folder):
        source = bundles.load(shipped(), "both")
        self.source, self.model = source, plain(model, True, ("noisy.",))
        manifest, files = pictures.assembled(codec(model, PHOTOS), source, "made")
        self.bundle = bundles.load(bundles.write(folder, manifest, files).path, "both")
        self.layers = PictureLayers.open(self.bundle)


@pytest.fixture(scope="module")
def by_frequency(tmp_path_factory):
    return Written(frequencies(), tmp_path_factory.mktemp("frequency"))


@pytest.fixture(scope="module")
def by_denoising(tmp_path_factory):
    return Written(denoising(), tmp_path_factory.mktemp("denoise"))


@pytest.fixture(scope="module")
def by_itself(tmp_path_factory):
    return Written(alone(), tmp_path_factory.mktemp("alone"))


def psnr(one, other):
    return 10 * np.log10(255**2 / np.square(one.astype(float) - other).mean())


def step_at(quality):
    """[1], as networks are told."""
    return torch.tensor([pictures.PICTURE.step(quality)])


def levels(x, height, width):
    """[1,3,h,w] in 0..1 as pixels, not rounded."""
    return (x[0, :, :height, :width] * 255).clamp(0, 255).permute(1, 2, 0).numpy()


def coded(made, image, name, quality=FINE):
    """A layer and those it needs, all at a quality."""
    layers = []
    for layer in made.layers.layers:
        layers.append(made.layers.encode(layer.name, image, layers, quality))
        if layer.name == name:
            return layers
    raise AssertionError(name)


def coder_of(made, prefix):
    """What codes the latent of a layer."""
    params = next(each.model_dump() for each in made.bundle.manifest.layers if each.prefix == prefix)
    with np.load(made.bundle.file("latent.npz")) as arrays:
        return LatentCoder.from_params(params, dict(arrays), prefix)


def latent_of(made, layers, name, image):
    """The latent of a layer, [1,C,rows,columns]."""
    fixed = made.layers.latent(layers, image.shape[1], image.shape[0], name)
    return torch.from_numpy(fixed)[None].float() / 256


def same(found, expected):
    """Whether pixels are those of x [1,3,h,w], as they are rounded."""
    height, width = found.shape[:2]
    return np.abs(found - levels(expected, height, width)).max() <= 1


# ---- frequencies


def test_the_base_picture_is_that_of_the_trained_networks(by_frequency):
    made, image = by_frequency, PHOTOS[1]
    height, width = image.shape[:2]
    layers = coded(made, image, "low")
    low, high = made.model.analysis(pictures.planes(image))
    found = latent_of(made, layers, "low", image)
    assert 0 < (found - low).abs().mean() < 0.3
    assert same(made.layers.decode(layers, width, height, "low"), made.model.synthesis(found, torch.zeros_like(high)))


def test_the_whole_picture_is_that_of_the_trained_networks(by_frequency):
    made, image = by_frequency, PHOTOS[1]
    height, width = image.shape[:2]
    layers = coded(made, image, "full")
    found, base = (made.layers.decode(layers, width, height, name) for name in ("full", "low"))
    low, high = (latent_of(made, layers, name, image) for name in ("low", "full"))
    assert 0 < (high - made.model.analysis(pictures.planes(image))[1]).abs().mean() < 0.3
    assert same(found, made.model.synthesis(low, high))
    assert psnr(found, image) > psnr(base, image) + 2


def test_bytes_are_what_training_estimates(by_frequency):
    made, image = by_frequency, PHOTOS[0]
    shown = made.model(pictures.planes(image), torch.ones(1))
    for layer, bits in zip(coded(made, image, "full"), (shown.low_bits, shown.high_bits), strict=True):
        assert 0.5 * float(bits) < 8 * len(layer.payload) < 1.1 * float(bits) + 8 * 8 * (128 // 64) ** 2


def test_the_finer_the_more_bytes(by_frequency):
    sizes = [len(coded(by_frequency, PHOTOS[3], "full", q)[-1].payload) for q in (COARSE, 432, FINE)]
    assert sizes[0] < sizes[1] < sizes[2]


def test_tables_of_tiles_are_counted_beside_the_low_frequencies(by_frequency):
    """Wherever the context says something else, the rows do: counting without it would give other tables."""
    made = by_frequency
    net = coder_of(made, "high").context_net
    assert net is not None and net.outputs == frequency.CONTEXT and net.inputs == 40
    flat, loud = (net(np.full((40, 4, 4), value, np.int32)) for value in (0, 20_000))
    assert flat.shape == (frequency.CONTEXT, 4, 4) and (flat != loud).any()


def test_context_in_integers_is_that_of_the_floats(by_frequency):
    made, image = by_frequency, PHOTOS[3]
    found = latent_of(made, coded(made, image, "low"), "low", image)
    fixed = (found[0].numpy() * 256).round().astype(np.int32)
    said = coder_of(made, "high").context_net(fixed)
    expected = made.model.below(found)[0].numpy()
    units = np.median(said[expected > 0.1] / expected[expected > 0.1])
    np.testing.assert_allclose(said / units, expected, atol=0.05 * expected.max())


# ---- denoising


@pytest.mark.parametrize(("below", "above", "least"), [(FINE, FINE, 33), (COARSE, FINE, 33), (FINE, COARSE, 20)])
def test_both_pictures_are_those_of_the_trained_networks(by_denoising, below, above, least):
    made = by_denoising
    seen = noisy(PHOTOS[1], SIGMA, np.random.default_rng(3))
    height, width = seen.shape[:2]
    layers = coded(made, seen, "clean", below)
    layers.append(made.layers.encode("noisy", seen, layers, above))
    clean = made.model.clean.synthesis(latent_of(made, layers, "clean", seen), step=step_at(below))
    rest = made.model.noisy.synthesis(latent_of(made, layers, "noisy", seen)) - 0.5
    assert same(made.layers.decode(layers, width, height, "clean"), clean)
    found = made.layers.decode(layers, width, height, "noisy")
    assert same(found, clean + rest)
    assert psnr(found, seen) > least
    corner = made.layers.decode(layers, width, height, "noisy", [Region(0, 0, 64, 64)])
    assert np.array_equal(corner[:48, :48], found[:48, :48])


@pytest.mark.parametrize(("quality", "other"), [(COARSE, 400), (400, FINE), (FINE, COARSE)])
def test_networks_are_told_of_the_step(by_denoising, quality, other):
    made, seen = by_denoising, noisy(PHOTOS[1], SIGMA, np.random.default_rng(3))
    height, width = seen.shape[:2]
    layers = coded(made, seen, "clean", quality)
    found = latent_of(made, layers, "clean", seen)
    there = made.layers.decode(layers, width, height, "clean")
    assert same(there, made.model.clean.synthesis(found, step=step_at(quality)))
    assert not same(there, made.model.clean.synthesis(found, step=step_at(other)))
    layer, y = made.layers._pixels["clean"], np.empty((48, *found.shape[2:]), np.float32)
    layer.analysis(seen, quality, np.empty((0, *found.shape[2:]), np.float32), y)
    here, there = (made.model.clean.analysis(pictures.planes(seen), step=step_at(q))[0] for q in (quality, other))
    assert np.allclose(y, here, atol=1e-3) and not np.allclose(y, there, atol=1e-2)


def test_weights_come_back_from_the_files_of_networks_that_are_told(by_denoising):
    made = by_denoising
    for end in ("analysis", "synthesis"):
        found = shipped_weights.network(made.bundle, f"clean_{end}.onnx")
        wanted = {n: weight for n, weight in getattr(made.model.clean, end).state_dict().items() if weight.any()}
        wanted["linear.fixed"] = wanted.pop("linear.weight")[..., 0, 0]
        assert any(name.endswith(".thresholds") for name in wanted)
        for name in wanted.keys() - {"reach"}:
            assert torch.allclose(found[name], wanted[name]), name


def test_what_is_left_is_coded_above_what_comes_back(by_denoising):
    """A coarse clean picture leaves more for the noisy layer."""
    made, seen = by_denoising, noisy(PHOTOS[0], 5.0, np.random.default_rng(3))
    sizes = []
    for quality in (COARSE, FINE):
        (clean,) = coded(made, seen, "clean", quality)
        sizes.append(len(made.layers.encode("noisy", seen, [clean], FINE).payload))
    assert sizes[0] > sizes[1]


def test_the_edge_can_show_the_clean_picture_to_itself(by_denoising):
    bundle = by_denoising.bundle
    assert "clean_synthesis.onnx" in bundle.names("edge")
    assert "noisy_synthesis.onnx" not in bundle.names("edge")


def test_only_the_transforms_of_noise_are_in_eight_bits(by_denoising):
    def kinds(name):
        weights = onnx.load(by_denoising.bundle.file(name)).graph.initializer
        return {weight.data_type for weight in weights if np.prod(weight.dims) >= LARGE}

    for end in ("analysis", "synthesis"):
        assert kinds(f"noisy_{end}.onnx") == {TensorProto.INT8}
        assert kinds(f"clean_{end}.onnx") == {TensorProto.INT8, TensorProto.FLOAT16}


# ---- a layer by itself, and what they all share


def test_a_layer_by_itself_is_the_trained_one(by_itself):
    made, image = by_itself, PHOTOS[2]
    height, width = image.shape[:2]
    layers = coded(made, image, "full")
    found = latent_of(made, layers, "full", image)
    assert same(made.layers.decode(layers, width, height), made.model.synthesis(found))


@pytest.mark.parametrize("name", ["by_frequency", "by_denoising", "by_itself"])
def test_the_detector_and_its_codec_are_as_they_were(name, request):
    made = request.getfixturevalue(name)
    manifest, before = made.bundle.manifest, made.source.manifest
    assert (manifest.codec, manifest.operating_points) == (before.codec, before.operating_points)
    assert manifest.picture_points == before.picture_points
    assert {n: f for n, f in manifest.files.items() if n in before.files} == before.files
    features = [np.random.default_rng(0).normal(0, 1, shape).astype(np.float32) for shape in manifest.cut.shapes]
    ours, theirs = (feature_codec.of(bundle).encode(features) for bundle in (made.bundle, made.source))
    assert ours == theirs


def test_the_manifest_says_which_layers_there_are(by_frequency, by_denoising, by_itself):
    said = [
        [(layer.name, layer.prefix, layer.tile, layer.context) for layer in made.bundle.manifest.layers]
        for made in (by_frequency, by_denoising, by_itself)
    ]
    assert said[0] == [("low", "low", 0, 0), ("full", "high", 4, 0)]
    assert said[1] == [("clean", "clean", 0, 0), ("noisy", "noisy", 0, 0)]
    assert said[2] == [("full", "full", 0, 0)]


@pytest.mark.parametrize(
    "make",
    [
        frequencies,
        denoising,
        alone,
        lambda: awake(PictureLayer(32, depths=(Depth(3), Depth(4, 1)))),
        lambda: awake(PictureLayer(32, told=True)),
        lambda: awake(Denoise(32, told=False)),
    ],
)
def test_a_checkpoint_says_what_it_is_of(make, tmp_path):
    model = make()
    torch.save({"ema": model.state_dict()}, tmp_path / "a.pt")
    found = loaded(tmp_path / "a.pt")
    assert type(found) is type(model)
    for name, weight in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], weight)


def test_a_checkpoint_of_nothing_is_refused(tmp_path):
    torch.save({"ema": {"x": torch.zeros(1)}}, tmp_path / "a.pt")
    with pytest.raises(MidstreamError, match="of no layers"):
        loaded(tmp_path / "a.pt")


def test_layers_upon_features_must_be_measured(tmp_path):
    torch.save({"ema": Scalable(Family((16, 40, 40))).state_dict()}, tmp_path / "a.pt")
    source = bundles.load(shipped(), "both")
    with pytest.raises(MidstreamError, match="--validate"):
        families.build(tmp_path / "a.pt", source, "a", None, tmp_path)


def test_from_a_checkpoint_to_a_bundle_by_command(tmp_path, monkeypatch, capsys):
    from midstream.cli import main

    root = tiny_photos.write(tmp_path / "data")
    monkeypatch.setenv("MIDSTREAM_DATA", str(root))
    torch.save({"ema": alone().state_dict()}, tmp_path / "a.pt")
    words = ["bundle", "layers", str(tmp_path / "a.pt"), "--name", "plain", "--photos", "8", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["midstream", *words])
    with pytest.raises(SystemExit) as leaving:
        main()
    assert not leaving.value.code
    (path,) = (folder for folder in tmp_path.iterdir() if (folder / bundles.MANIFEST).exists())
    assert bundles.load(path, "both").manifest.name == "plain"
    assert "MB" in capsys.readouterr().out


def test_latents_in_tiles_are_counted_each_by_itself():
    """Many of one size at once are what they are one by one."""
    torch.manual_seed(0)
    latent = Latent(6, hyper=4, width=8, context=3).eval().requires_grad_(False)
    torch.nn.init.normal_(latent.decoder.head.weight, 0, 0.2)
    y, context = torch.randn(5, 6, 4, 4) * 8, torch.randint(0, 100, (5, 3, 4, 4))
    whole = Cells(0, 0, 4, 4)
    together = [latents.Example(y, whole, context, level=2)]
    apart = [latents.Example(y[n], whole, context[n], level=2) for n in range(5)]
    model = latents.Model.of(latent, pictures.PICTURE, together, 64.0)
    one, other = (latents.counted(model, examples) for examples in (together, apart))
    assert one.y.sum() == y.numel() and not one.z[[0, 1, 3]].any()
    for part in ("y", "z", "dropped"):
        np.testing.assert_allclose(getattr(one, part), getattr(other, part))
