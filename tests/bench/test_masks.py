"""Masks beside bytes: overlaps that are known, classes as they lie on disk, real containers, real networks."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("av")

from bench import pages
from bench.masks import coding, document, plot, rows
from bench.masks.coding import BASE, BOTH, UNCODED, Masks, Way, around
from bench.masks.labels import UNKNOWN, classes, held_out, sources
from bench.masks.score import confusion, estimate, mean_overlap, overlap
from bench.rd.layered import Layered
from bench.settings import data_root
from common.codec import unpack
from common.errors import MidstreamError
from common.scalable import PictureLayers
from midstream.cli import main
from tests.scalable import tiny


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("three"), tiny.THREE)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Three photos of CamVid, one of them of another drive, and two of Penn-Fudan, one of them without a mask."""
    root = tmp_path / "data"
    for folder in ("images", "masks/camvid", "masks/pennfudan"):
        (root / folder).mkdir(parents=True)
    train = [photo(root, "camvid", name, 120, 90) for name in ("0001TP_1", "0001TP_2", "0006R0_1")]
    val = [photo(root, "pennfudan", name, 61, 83) for name in ("Fudan1", "Fudan2")]
    (root / "masks" / "pennfudan" / "Fudan2.png").unlink()
    (root / "instances_train.json").write_text(json.dumps({"images": train}))
    (root / "instances_val.json").write_text(json.dumps({"images": val}))
    monkeypatch.setenv("MIDSTREAM_DATA", str(root))
    return root


def photo(root, source, name, width, height):
    """A photo with bars of every class that its set has."""
    Image.fromarray(tiny.picture(width, height, len(name))).save(root / "images" / f"{name}.png")
    bars = np.tile(np.arange(width) * (12 if source == "camvid" else 3) // width, (height, 1)).astype(np.uint8)
    Image.fromarray(bars).save(root / "masks" / source / f"{name}.png")
    return {"file_name": f"images/{name}.png", "source": source}


# ---- scores


def test_overlap_of_known_masks():
    truth = np.array([[0, 0, 1, 1], [0, 0, 1, 2]], np.uint8)
    found = np.array([[0, 1, 1, 1], [0, 0, 1, 0]], np.uint8)
    counted = confusion(truth, found)
    assert counted.tolist() == [[3, 1, 0], [0, 3, 0], [1, 0, 0]]
    assert overlap(counted).tolist() == [3 / 5, 3 / 4, 0]
    assert mean_overlap(counted) == pytest.approx((3 / 5 + 3 / 4) / 3)
    assert mean_overlap(confusion(truth, truth)) == 1


def test_a_class_that_is_nowhere_does_not_count():
    truth, found = np.zeros((2, 2), np.uint8), np.array([[0, 0], [0, 1]], np.uint8)
    by_class = overlap(confusion(truth, found))
    assert by_class[:2].tolist() == [3 / 4, 0] and np.isnan(by_class[2])
    assert mean_overlap(confusion(truth, found)) == 3 / 8
    assert mean_overlap(confusion(np.full((2, 2), UNKNOWN, np.uint8), found)) == 0


def test_what_is_unknown_or_unmarked_is_no_error():
    truth = np.array([[0, 1, UNKNOWN, UNKNOWN]], np.uint8)
    found = np.array([[2, 1, 2, 0]], np.uint8)
    assert confusion(truth, found, unmarked=(2,)).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert confusion(truth, found).tolist() == [[0, 0, 1], [0, 1, 0], [0, 0, 0]]
    missed = confusion(np.array([[1]], np.uint8), np.array([[2]], np.uint8), unmarked=(2,))
    assert missed[1].tolist() == [1, 0, 0]  # a person taken for a vehicle is missed all the same


@pytest.mark.parametrize("found", [np.zeros((2, 3), np.uint8), np.full((2, 2), 3, np.uint8)])
def test_masks_that_cannot_be_compared_are_refused(found):
    with pytest.raises(MidstreamError, match="expected a mask"):
        confusion(np.zeros((2, 2), np.uint8), found)


def test_confidence_is_of_the_choice_of_photos():
    good, bad = np.diag([80, 10, 10]), np.array([[40, 20, 20], [10, 0, 0], [10, 0, 0]])
    same = estimate(np.stack([good] * 8), ["camvid"] * 8)
    assert same == (1, 1, 1)
    mixed = estimate(np.stack([good, bad] * 8), ["camvid"] * 16)
    assert mixed.low < mixed.value < mixed.high
    assert mixed.value == pytest.approx(float(mean_overlap(8 * good + 8 * bad)))
    # Where a set's photos are all alike, drawing within the sets changes nothing.
    apart = estimate(np.stack([good, bad] * 8), ["camvid", "pennfudan"] * 8)
    assert apart.low == apart.value == apart.high


# ---- photos


def test_classes_as_they_lie_on_disk():
    assert classes(np.arange(12, dtype=np.uint8)[None], "camvid").tolist() == [[0] * 8 + [2, 1, 1, UNKNOWN]]
    assert classes(np.arange(4, dtype=np.uint8)[None], "pennfudan").tolist() == [[0, 1, 1, 1]]


def test_photos_are_those_held_out(data):
    photos = held_out(data)
    assert [p.path.stem for p in photos] == ["0001TP_1", "0001TP_2", "Fudan1"]
    assert sources(photos) == {"camvid": 2, "pennfudan": 1}
    assert [p.path.stem for p in held_out(data, 2)] == ["0001TP_1", "Fudan1"]
    for one in photos:
        assert one.labels().shape == one.picture().shape[:2]
    assert set(np.unique(photos[0].labels())) == {0, 1, 2, UNKNOWN}
    assert set(np.unique(photos[2].labels())) == {0, 1}


def test_a_folder_without_masks_is_named(data):
    for path in (data / "masks").rglob("*.png"):
        path.unlink()
    with pytest.raises(MidstreamError, match="no photos with masks"):
        held_out(data)
    (data / "instances_train.json").write_text('{"images": [{}]}')
    with pytest.raises(MidstreamError, match="not a listing"):
        held_out(data)


def test_a_file_that_is_no_mask_is_named(data):
    (one, *_) = held_out(data)
    one.mask.write_bytes(b"none")
    with pytest.raises(MidstreamError, match=r"0001TP_1\.png is no mask"):
        one.labels()


def test_the_photos_of_the_shared_data():
    try:
        root = data_root()
    except MidstreamError as e:
        pytest.skip(str(e))
    if not (root / "masks").is_dir():
        pytest.skip(f"no masks in {root}")
    assert sources(held_out(root)) == {"camvid": 62, "pennfudan": 40}


# ---- coding


def test_ways_to_a_mask_and_the_bytes_they_take(three):
    masks, picture = Masks(three), tiny.picture(120, 90)
    found = list(masks.of(picture, [100, 300], [50, 450]))
    expected = [Way(UNCODED, None, None)]
    for base in (100, 300):
        expected += [Way(BASE, base, None), Way(BOTH, base, 50), Way(BOTH, base, 450)]
    assert [shown.way for shown in found] == expected
    assert found[0].bytes is None
    sizes = [shown.bytes for shown in found[1:]]
    assert sizes[0] < sizes[1] < sizes[2] and sizes[0] < sizes[3] < sizes[4] < sizes[5]
    assert all(shown.mask.shape == (90, 120) and shown.mask.dtype == np.uint8 for shown in found)
    again = list(masks.of(picture, [300], [450]))
    assert np.array_equal(again[-1].mask, found[-1].mask)


def test_a_mask_is_that_of_the_bytes_that_are_counted(three):
    picture, ours = tiny.picture(120, 90), Layered(three)
    shown = list(Masks(three).of(picture, [200], [300]))[-1]
    base = ours.base(picture, 200)
    sent = ours.packed(picture, [*base, ours.pictures.encode("mask", picture, base, 300)], 200)
    assert shown.bytes == len(sent)
    container = unpack(sent)
    cloud = PictureLayers.open(three).mask(container.layers, container.width, container.height)
    assert np.array_equal(cloud, shown.mask)


def test_fine_features_show_what_uncoded_ones_show(three):
    """The tiny transform keeps the means of 2x2 features: of those the head sees nearly the same."""
    uncoded, base, both = Masks(three).of(tiny.picture(320, 240), [tiny.HIGHEST], [tiny.HIGHEST])
    assert (base.mask == uncoded.mask).mean() > 0.5
    assert (both.mask == uncoded.mask).mean() >= (base.mask == uncoded.mask).mean() - 0.05


def test_qualities_are_those_of_the_layers(three):
    masks = Masks(three)
    base, mask = masks.ladders(None, None)
    assert base == [128, 256, 384]
    assert (len(mask), mask[0], mask[-1]) == (coding.RUNGS, tiny.LOWEST, tiny.HIGHEST)
    assert masks.ladders([300, 100, 300], [7]) == ([100, 300], [7])
    assert around(range(5), 0) == [0, 0, 2] and around(range(5), 4) == [2, 4, 4]
    with pytest.raises(MidstreamError, match=r"'mask' has qualities 0\.\.511, not \[512\]"):
        masks.ladders(None, [3, 512])
    with pytest.raises(MidstreamError, match="'base' has qualities"):
        masks.ladders([-1], None)


def test_a_bundle_without_a_mask_layer_is_refused(tmp_path):
    with pytest.raises(MidstreamError, match="has no layer 'mask'"):
        Masks(tiny.write(tmp_path))


# ---- rows and what is made of them


def test_a_row_is_over_all_pixels(three, data):
    masks, photos = Masks(three), held_out(data)
    ticks = []
    found = rows.measure(masks, photos, [256], [256], lambda: ticks.append(1))
    assert len(ticks) == 3 and [row.way for row in found] == [UNCODED, BASE, BOTH]
    both = [list(masks.of(one.picture(), [256], [256]))[-1] for one in photos]
    assert found[2].bytes_mean == pytest.approx(np.mean([shown.bytes for shown in both]))
    unmarked = [(), (), (2,)]
    counted = [confusion(p.labels(), s.mask, u) for p, s, u in zip(photos, both, unmarked, strict=True)]
    assert found[2].mean_iou == pytest.approx(float(mean_overlap(sum(counted))))
    assert found[2].camvid_mean_iou == pytest.approx(float(mean_overlap(counted[0] + counted[1])))
    assert found[2].pennfudan_person_iou == pytest.approx(overlap(counted[2])[1])
    assert found[2].images == 3 and found[0].bytes_mean is None


def test_figures_that_there_are_not_are_none(three, data):
    (one,) = rows.measure(Masks(three), held_out(data)[:1], [256], [256])[:1]
    assert one.pennfudan_person_iou is None and one.camvid_mean_iou is not None
    assert rows.plain(np.nan) is None


def command(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["midstream", "bench", "masks", *map(str, words)])
    try:
        main()
    except SystemExit as leaving:
        return leaving.code or 0
    return 0


def test_everything_at_once(three, data, tmp_path, monkeypatch, capsys):
    docs = tmp_path / "docs"
    docs.mkdir()
    shutil.copy(pages.DOCS / document.PAGE, docs)
    before = (docs / document.PAGE).read_text()
    monkeypatch.setattr(pages, "DOCS", docs)
    figures, drawn = tmp_path / "masks.json", tmp_path / "masks.png"
    usual = "--bundle", three.path, "--qualities", "100,400", "--json", figures, "--plot", drawn, "--docs"
    assert command(monkeypatch, *usual) == 0
    result = json.loads(figures.read_text())
    assert result["digest"] == three.digest and result["photos"] == {"camvid": 2, "pennfudan": 1}
    assert len(result["rows"]) == 1 + 3 * (1 + 2)
    assert {row["base_quality"] for row in result["rows"]} == {None, 128, 256, 384}
    for row in result["rows"]:
        assert 0 <= row["low"] <= row["mean_iou"] <= row["high"] <= 1
    text = (docs / document.PAGE).read_text()
    assert text.count("<!-- tiny-latent -->") == text.count("![") - before.count("![") == 1
    assert "--qualities 100,400`" in text and "| base + mask | 256 | 400 |" in text
    assert (docs / "results-masks-tiny-latent.png").stat().st_size > 10_000
    with Image.open(drawn) as image:
        assert image.width > 700
    assert "uncoded features" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--qualities", "1,x"], "integers with commas"),
        (["--qualities", "600"], "'mask' has qualities 0..511, not [600]"),
        (["--plot", "masks.txt"], "cannot be drawn"),
        (["--json", "/nowhere/masks.json"], "its folder does not exist"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_measured(three, data, words, complaint, monkeypatch, capsys):
    assert command(monkeypatch, "--bundle", three.path, *words) == 2
    assert complaint in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_a_line_for_each_quality_of_the_base_layer():
    def made(way, base, mask, size, mean):
        return rows.Row(way, base, mask, size, mean, mean - 0.1, mean + 0.1, {}, None, None, 1)

    every = [made(UNCODED, None, None, None, 0.9)]
    for base in (300, 100):
        every += [made(BASE, base, None, 500, 0.5), made(BOTH, base, 50, 900, 0.7), made(BOTH, base, 80, 990, 0.8)]
    (axes,) = plot.figure(every, "title").axes
    lines = {line.get_label(): line for line in axes.get_lines() if not line.get_label().startswith("_")}
    assert set(lines) == {UNCODED, "base 100, then + mask", "base 300, then + mask"}
    coarse, fine = (lines[f"base {base}, then + mask"] for base in (100, 300))
    assert list(coarse.get_xdata()) == [500, 900, 990] and list(coarse.get_ydata()) == [0.5, 0.7, 0.8]
    assert coarse.get_color() != fine.get_color()
    assert set(lines[UNCODED].get_ydata()) == {0.9}
