"""The bench of accuracy on a detector whose answers are known: what nothing changes, what finer coding brings."""

import json

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("faster_coco_eval")
pytest.importorskip("av")

from bench import accuracy, pages
from bench.accuracy import document
from bench.accuracy.compare import Draws, standings
from bench.accuracy.rows import SPAN, Row, measure, sweep
from bench.accuracy.scene import Scene, folder, listing
from bench.accuracy.ways import Coded, Way, ladder, names, papers, picture_way, way
from bench.clips import clips
from bench.networks import Split
from bench.plots import spread
from bench.rivals import RIVALS, Rival
from common import feature_codec
from common.codec import Container, Lightweight, pack
from common.errors import MidstreamError
from midstream.cli import main
from tests.bench import tiny

COUNT = 6


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return tiny.listing(tmp_path_factory.mktemp("photos"), COUNT)


@pytest.fixture(scope="module")
def scene(bundle, photos):
    return Scene(Split(bundle), listing(photos, bundle))


def unchanged(scene, i, quality):
    return Coded(100, scene.features[i], 0.001, 0.002)


def noisy(scene, name="noisy", factor=1.0, rungs=20):
    """Features with less noise at every rung, for ever more bytes."""

    def code(i, quality):
        rng = np.random.default_rng(i)
        noise = rng.normal(0, 1.5 * 0.75**quality, scene.features[i][0].shape).astype(np.float32)
        return Coded(int(factor * 100 * 1.2**quality), [scene.features[i][0] + noise], 0, 0)

    return Way(name, tuple(range(rungs)), code, features=True)


def test_of_a_listing_with_sources_the_wanted_one_is_taken(bundle, photos, tmp_path):
    content = json.loads(photos.read_text())
    assert len(listing(photos, bundle, "coco_val2017")) == len(listing(photos, bundle, "elsewhere")) == COUNT
    for image in content["images"]:
        image["file_name"] = str(photos.parent / image["file_name"])
    del content["images"][0]["source"]
    (tmp_path / "other.json").write_text(json.dumps(content))
    assert len(listing(tmp_path / "other.json", bundle, "coco_val2017")) == COUNT - 1
    assert len(listing(tmp_path / "other.json", bundle)) == COUNT
    assert len(listing(photos, bundle, limit=2)) == 2


def test_uncoded_features_agree_with_themselves(scene):
    row = measure(scene, Way("none", (0,), lambda i, q: unchanged(scene, i, q), features=True), 0).row
    assert row.agreement_ap50 == 1
    assert (row.bytes_mean, row.bytes_p95, row.encode_ms, row.decode_ms) == (100, 100, 1, 2)
    assert row.bits_per_element == 800 / np.prod(tiny.SHAPE)
    assert row.ap50 > 0.5  # the detector does see the blocks


def test_a_lossless_picture_changes_nothing_at_the_networks_size(scene):
    raw = Rival(
        lambda p, q: bytes(p.shape[:2]) + p.tobytes(),
        lambda data: np.frombuffer(data, np.uint8, offset=2).reshape(data[0], data[1], 3),
        len,
        (0,),
    )
    for small in (True, False):
        through = picture_way("raw", raw, scene, small)
        coded = [through.code(i, 0) for i in range(COUNT)]
        for one, features in zip(coded, scene.features, strict=True):
            np.testing.assert_array_equal(one.features[0], features[0])
        assert coded[0].bytes == 2 + 3 * (64 * 48 if small else 128 * 96)


def test_our_bytes_are_the_containers(scene):
    own, codec = way("lightweight", scene), feature_codec.of(scene.bundle)
    for quality in (2, 16):
        layers = codec.encode(scene.features[0], quality)
        data = pack(Container(scene.bundle.prefix, codec.id, quality, 128, 96, layers))
        assert own.code(0, quality).bytes == len(data)


def test_every_rival_is_there_at_both_sizes_and_can_be_named(scene):
    every = names(scene.bundle)
    assert every[:2] == ["lightweight", "mosaic"]
    assert set(every) >= {f"{rival}/{size}" for rival in RIVALS for size in ("network", "original")}
    assert [way(name, scene).name for name in every] == every
    assert names(scene.bundle, ["jpeg"]) == ["lightweight", "jpeg/network", "jpeg/original"]
    with pytest.raises(MidstreamError, match=r"jpg.*there are.*jpeg/network"):
        names(scene.bundle, ["jpg"])


def test_the_papers_codec_has_every_number_of_levels(scene):
    assert list(papers(scene).qualities) == list(range(2, 17))


def test_the_papers_clips_follow_one_rule(scene, capsys):
    """tiny's cut comes out of a division: no model is known for it, and the least error is taken, ends and all."""
    sample = np.concatenate([tensor.ravel()[::7] for shot in scene.features for tensor in shot])
    found, source = clips(scene.bundle, sample, range(2, 17))
    assert "least error" in source
    ours = papers(scene)
    assert ours.clips == Lightweight(ours.shapes, found).clips
    assert "clipped by least error" in capsys.readouterr().err
    negative, _ = clips(scene.bundle, sample - 1, [4])
    assert negative[4][0] < 0


def test_a_ladder_of_a_continuous_codec_keeps_both_ends():
    class Continuous:
        qualities = range(1024)

    rungs = ladder(Continuous())
    assert rungs[0] == 0
    assert rungs[-1] == 1023
    assert len(set(rungs)) == len(rungs) <= 24


def test_a_sweep_covers_the_span_without_a_gap(scene):
    ever_less = noisy(scene)
    found = {m.row.quality: m.row.agreement_ap50 for m in sweep(scene, ever_less)}
    every = {q: measure(scene, ever_less, q).row.agreement_ap50 for q in ever_less.ladder}
    assert found == {q: every[q] for q in found}
    low = max(q for q in found if found[q] <= SPAN[0])
    high = min(q for q in found if found[q] >= SPAN[1])
    assert set(range(low, high + 1)) <= set(found)
    assert len(found) < len(every)


def test_a_sweep_of_a_codec_that_never_suffices_ends_with_the_ladder(scene):
    for rungs, quality in ((1, 0), (2, 1)):
        rows = [m.row.quality for m in sweep(scene, noisy(scene, rungs=rungs))]
        assert quality in rows
        assert len(rows) == len(set(rows)) <= rungs


def test_twice_the_bytes_is_twice_ours_for_every_draw(scene):
    measured = [
        measure(scene, noisy(scene, name, factor), q) for name, factor in (("a", 1), ("b", 2)) for q in range(20)
    ]
    ours, other = standings(measured, Draws(measured))
    for target in ours.bytes_at:
        assert other.times_ours[target] == pytest.approx((2, 2, 2), rel=0.02)
        assert ours.bytes_at[target].low <= ours.bytes_at[target].value <= ours.bytes_at[target].high
    assert other.delta.percent == pytest.approx(-50, abs=1)
    assert ours.delta is None


def test_equal_rows_differ_by_nothing_and_worse_ones_by_less(scene):
    bad, good, again = (measure(scene, noisy(scene), q) for q in (3, 15, 15))
    draws = Draws([bad, good, again])
    assert draws.difference(good, again) == (0, 0, 0)
    worse = draws.difference(bad, good)
    assert worse.low <= worse.value <= worse.high < 0


def test_labels_are_placed_apart_in_their_order():
    rng = np.random.default_rng(0)
    for _ in range(50):
        wanted = np.sort(rng.random(8)).tolist()
        placed = spread(wanted, 0.1)
        assert np.all(np.diff(placed) >= 0.1 - 1e-9)
        assert np.mean(placed) == pytest.approx(np.mean(wanted))
    assert spread([0.1, 0.5, 0.9], 0.1) == pytest.approx([0.1, 0.5, 0.9])


def test_everything_at_once(bundle, photos, tmp_path, capsys):
    plot, figures = tmp_path / "plot.png", tmp_path / "figures.json"
    chosen = ["lightweight", "mosaic", "jpeg/network"]
    result = accuracy.run(bundle.path, coco=photos, codecs=chosen, images=4, json_path=figures, plot_path=plot)
    assert json.loads(figures.read_text()) == result
    assert [r["codec"] for r in result["rows"]] == sorted((r["codec"] for r in result["rows"]), key=chosen.index)
    assert set(result["rows"][0]) == set(Row.__annotations__)
    assert all(r["images"] == 4 for r in result["rows"])
    assert {s["codec"] for s in result["standings"]} == set(chosen)
    with Image.open(plot) as image:
        assert image.width > 600
    assert "bytes at .90" in capsys.readouterr().out


def test_a_section_is_replaced_and_nothing_else(bundle, photos, tmp_path):
    page = tmp_path / "results.md"
    page.write_text("# Results\n\n<!-- other -->\nkept\n<!-- /other -->\n")
    scene = Scene(Split(bundle), listing(photos, bundle))
    measured = [measure(scene, noisy(scene, name, f), q) for name, f in (("a", 2), ("b", 1)) for q in range(4, 16)]
    result = accuracy.run(bundle.path, coco=photos, codecs=["lightweight"], images=2)
    for _ in range(2):
        document.write(tmp_path, result, measured, standings(measured, Draws(measured)), Draws(measured), "midstream x")
    text = page.read_text()
    assert text.startswith("# Results\n\n<!-- other -->\nkept\n<!-- /other -->\n")
    assert text.count("<!-- tiny -->") == text.count("<!-- /tiny -->") == 1
    assert "**At an agreement of .90 b wins**" in text
    assert (tmp_path / "results-tiny.png").stat().st_size > 1000


def test_a_page_with_half_a_section_is_left_alone():
    with pytest.raises(MidstreamError, match="restore it"):
        pages.replaced("# Results\n<!-- tiny -->\nhalf", "tiny", "new\n")


def test_a_broken_picture_is_named_and_left_out(tmp_path, capsys):
    Image.new("RGB", (20, 10), "red").save(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("not asked for")
    assert [shot.name for shot in folder(tmp_path)] == ["a.png"]
    assert "skipped 1 of 2 pictures: b.jpg" in capsys.readouterr().err


def test_pictures_of_a_folder_are_upright_and_those_of_a_listing_as_they_are_marked(bundle, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (20, 10), "red").save(tmp_path / "a.jpg", exif=exif)
    (shot,) = folder(tmp_path)
    assert shot.picture.shape == (20, 10, 3)
    content = {"images": [{"id": 1, "file_name": "a.jpg", "width": 20, "height": 10}], "annotations": []}
    (tmp_path / "listing.json").write_text(json.dumps(content))
    (shot,) = listing(tmp_path / "listing.json", bundle)
    assert shot.picture.shape == (10, 20, 3)


def test_a_listing_of_which_no_photo_can_be_read_is_refused(bundle, photos, tmp_path):
    (tmp_path / "listing.json").write_text(photos.read_text())
    with pytest.raises(MidstreamError, match=r"none of the 6 pictures can be read: 1\.png"):
        accuracy.run(bundle.path, coco=tmp_path / "listing.json")


def test_frames_of_a_video_are_spread_over_it(tmp_path):
    import av

    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for value in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * value, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    shots = folder(path, 4)
    assert [shot.name for shot in shots] == [f"clip.mp4#{i}" for i in (0, 3, 6, 9)]
    assert shots[0].marks is None
    assert np.all(np.diff([shot.picture.mean() for shot in shots]) > 30)


def test_frames_without_boxes_give_agreement_only(bundle, photos):
    result = accuracy.run(bundle.path, frames=photos.parent, codecs=["lightweight"], images=3)
    assert result["uncoded"]["ap50"] is None
    assert all(row["ap"] is None and 0 <= row["agreement_ap50"] <= 1 for row in result["rows"])


@pytest.mark.parametrize(
    ("content", "message"),
    [("{}", "not a listing"), ("nonsense", "not a listing"), ('{"images": [], "annotations": []}', "lists no photos")],
)
def test_a_bad_listing_says_so(bundle, tmp_path, content, message):
    path = tmp_path / "listing.json"
    path.write_text(content)
    with pytest.raises(MidstreamError, match=message):
        accuracy.run(bundle.path, coco=path)


def test_what_cannot_be_used_is_refused_before_anything_is_measured(bundle, photos, tmp_path):
    with pytest.raises(MidstreamError, match="exclude each other"):
        accuracy.run(bundle.path, coco=photos, frames=tmp_path)
    with pytest.raises(MidstreamError, match="its folder does not exist"):
        accuracy.run(bundle.path, coco=photos, json_path=tmp_path / "no" / "where.json")
    with pytest.raises(MidstreamError, match="is a folder"):
        accuracy.run(bundle.path, coco=photos, json_path=tmp_path)
    with pytest.raises(MidstreamError, match="must end in"):
        accuracy.run(bundle.path, coco=photos, plot_path=tmp_path / "x.xyz")
    with pytest.raises(MidstreamError, match="no picture that can be read"):
        accuracy.run(bundle.path, frames=tmp_path)
    with pytest.raises(MidstreamError, match="neither a folder"):
        accuracy.run(bundle.path, frames=tmp_path / "nothing")


def test_the_command_says_what_to_do_in_one_line(bundle, photos, monkeypatch, capsys):
    arguments = ["bench", "accuracy", "--bundle", str(bundle.path), "--coco", str(photos), "--codecs", "webm"]
    monkeypatch.setattr("sys.argv", ["midstream", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(said) == 1
    assert "webp/network" in said[0]
