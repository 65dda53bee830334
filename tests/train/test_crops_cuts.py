"""What learned codecs are trained on: crops that know where they lie, and features of photos and mirrored photos."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
cv2 = pytest.importorskip("cv2")

from bench.masks.labels import UNKNOWN, VEHICLE  # noqa: E402
from bench.networks import Split, placed, shipped  # noqa: E402
from common import bundle as bundles  # noqa: E402
from common.bundle import Bundle  # noqa: E402
from common.scalable.latent_features import LatentFeatures, mask_of  # noqa: E402
from tests.scalable import tiny  # noqa: E402
from tests.train import tiny_photos  # noqa: E402
from train.crops import SIZE, VARIED, Crops, Mix, crops  # noqa: E402
from train.cuts import VIEW, Cuts, cells, cuts, sizes  # noqa: E402
from train.masks import MaskTask, mask_head, masks  # noqa: E402


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_photos.write(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return bundles.load(shipped(), "both")


@pytest.fixture(scope="module")
def pool(root: Path) -> Crops:
    return crops(root, root / "cache")


@pytest.fixture(scope="module")
def cut(bundle: Bundle, root: Path) -> Cuts:
    return cuts(bundle, root, root / "cache")


def test_a_crop_shows_the_place_that_it_names(pool: Crops) -> None:
    """Red and green say where in the photo a pixel is; what is scaled is a grey level or so beside it."""
    listed = [size for size in tiny_photos.SIZES.values() for _ in range(2)]
    centre = np.arange(SIZE) + 0.5
    assert len({bool(one["mirror"]) for one in pool.where}) == 2 and (pool.where["scale"] > 1.01).any()
    for pixels, where in zip(pool.pixels, pool.where, strict=True):
        width, height = listed[where["photo"]]
        height -= where["photo"] % 2
        x, y = where["x"] + centre * where["scale"], where["y"] + centre * where["scale"]
        red = (width - x if where["mirror"] else x) * 255 / width
        assert np.abs(pixels[..., 0] - red).max() < 3
        assert np.abs(pixels[..., 1] - (y * 255 / height)[:, None]).max() < 3


def test_crops_are_cut_once(root: Path, pool: Crops) -> None:
    again = crops(root, root / "cache")
    assert np.array_equal(again.where, pool.where) and np.array_equal(again.pixels, pool.pixels)
    other = crops(root, root / "cache", Mix("other", 2, VARIED.shares))
    assert not np.array_equal(other.where[:20], pool.where[:20])


def test_a_mix_says_how_many_crops_a_photo_has(root: Path) -> None:
    some = crops(root, root / "cache", Mix("third", 3, {"bsds500_train": 7}))
    photos, counts = np.unique(some.where["photo"], return_counts=True)
    assert photos.tolist() == [0, 1] and counts.tolist() == [7, 7]


def test_photos_too_low_or_of_other_sources_have_no_crops(pool: Crops) -> None:
    sources = [source for source in tiny_photos.SIZES for _ in range(2)]
    drawn = {sources[photo] for photo in pool.where["photo"]}
    assert drawn == {"bsds500_train", "street", "camvid"}
    assert 5 not in pool.where["photo"]  # 255 pixels high


def test_rows_are_features_of_the_photo_and_of_its_mirror_image(bundle: Bundle, root: Path, cut: Cuts) -> None:
    split = Split(bundle)
    features, mask = cut.seen(np.array([2, 3]))
    path = root / "images" / "bsds500_train" / "bsds500_train-1.png"
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    for found, seen in zip(features, (picture, picture[:, ::-1]), strict=True):
        (expected,) = split.front.run(placed(np.ascontiguousarray(seen), bundle.manifest.input))
        assert np.allclose(found.numpy(), expected, rtol=1e-3, atol=1e-3)
    assert torch.equal(mask[0].flip(-1), mask[1])
    views = cut.views_of(np.array([2, 3]))
    assert views.shape == (2, 3, VIEW, VIEW) and torch.equal(views[0].flip(-1), views[1])
    assert sizes(cut).shape == (16,)


def test_what_is_made_is_not_made_again(bundle: Bundle, root: Path, cut: Cuts) -> None:
    path = next((root / "cache").glob("cuts-*.f16"))
    before = path.stat().st_mtime_ns
    assert np.array_equal(cuts(bundle, root, root / "cache").features, cut.features)
    assert path.stat().st_mtime_ns == before


@pytest.fixture(scope="module")
def coder(tmp_path_factory: pytest.TempPathFactory) -> LatentFeatures:
    return LatentFeatures.open(tiny.write(tmp_path_factory.mktemp("bundle"), ()))


@settings(deadline=None)
@given(width=st.integers(1, 4096), height=st.integers(1, 4096))
def test_training_masks_the_cells_that_are_coded(
    bundle: Bundle, coder: LatentFeatures, width: int, height: int
) -> None:
    window = bundle.manifest.input.window(width, height)
    np.testing.assert_array_equal(cells(window, 40), mask_of([coder.cells(window)], (10, 10))[0, 0])


def test_masks_are_those_of_training_drives(bundle: Bundle, root: Path) -> None:
    known = masks(root, bundle.manifest.input)
    assert known.photos.tolist() == [4]
    (labels,) = known.labels
    assert labels.shape == (VIEW, VIEW) and (labels[:19] == UNKNOWN).all()  # above the letterboxed photo
    assert (labels[30:130, :75] == VEHICLE).all()
    assert (labels[30:75, 85:] == UNKNOWN).all() and (labels[85:130, 85:] == 0).all()


def test_mirrored_features_come_with_mirrored_masks(bundle: Bundle, root: Path, cut: Cuts) -> None:
    known = masks(root, bundle.manifest.input)
    task = MaskTask(cut, known, mask_head(cut), 16, seed=0)
    features, labels = task.batch(0, 0.0)
    plain = torch.from_numpy(cut.features[8].astype(np.float32))
    straight = [bool(torch.equal(each, plain)) for each in features]
    assert 0 < sum(straight) < 16
    expected = torch.from_numpy(known.labels[0].astype(np.int64))
    for same, found in zip(straight, labels, strict=True):
        assert torch.equal(found, expected if same else expected.flip(-1))
    assert torch.isfinite(task.loss((features, labels), 0, 0.0)["entropy"])
