"""Joint denoising beside cascades: noise that is what it says, denoisers that help, rows and deltas that follow."""

import json

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("av")
pytest.importorskip("cv2")
pytest.importorskip("torch")

import torch

from bench.denoise import document, evidence, plot, sheet
from bench.denoise.cascades import before, behind, cascades, remembered
from bench.denoise.compare import BEST, deltas, sorted_by_place, strongest
from bench.denoise.denoisers import DnCNN, deviation, means, told, windows
from bench.denoise.joint import Joint
from bench.denoise.known import Known
from bench.denoise.report import tables, titled
from bench.denoise.rows import Alone, Pair, Row, alone, measure
from bench.noise import REALISTIC, Noise
from bench.rd.layered import own
from bench.rd.metrics import psnr
from bench.rivals import RIVALS, Rival
from bench.settings import MissingDataError, data_root
from common.errors import MidstreamError
from midstream.cli import main
from tests.scalable import tiny

FLAT = np.full((200, 220, 3), 128, np.uint8)


def smooth(height=96, width=128, seed=0):
    return tiny.picture(width, height, seed)


def rows_of(codec, factor=1.0, sigma=25.0, count=6):
    """A codec whose bits double with every 3 dB, `factor` times as many as another's."""
    return [Row("set", sigma, 0.0, codec, i, factor * 0.1 * 2**i, 24.0 + 3 * i, 1 - 0.1 / 2**i) for i in range(count)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("denoise"), tiny.DENOISE)


@pytest.fixture(scope="module")
def network():
    try:
        return DnCNN()
    except MissingDataError as e:
        pytest.skip(str(e))


@pytest.fixture
def averaging(tmp_path):
    """A network file that takes the difference to the mean of 3x3 for noise: known, and anybody can make it."""
    centre = torch.zeros(1, 1, 3, 3)
    centre[0, 0, 1, 1] = 1
    weights = {"0.weight": centre - 1 / 9, "0.bias": torch.zeros(1)}
    torch.save(weights, tmp_path / "mean.pth")
    return DnCNN(tmp_path / "mean.pth")


# ---- noise


@pytest.mark.parametrize("sigma", [5.0, 15.0, 25.0])
def test_noise_has_its_deviation_and_is_of_the_name(sigma):
    found = Noise(sigma).on(FLAT, "a.png")
    assert np.std(found.astype(float) - 128) == pytest.approx(sigma, rel=0.02)
    np.testing.assert_array_equal(found, Noise(sigma).on(FLAT, "a.png"))
    assert (found != Noise(sigma).on(FLAT, "b.png")).mean() > 0.5


def test_noise_of_light_grows_with_the_level():
    dark, bright = (np.full_like(FLAT, level) for level in (40, 160))
    for picture in (dark, bright):
        wanted = np.sqrt(REALISTIC.sigma**2 + REALISTIC.gain * float(picture[0, 0, 0]))
        assert np.std(REALISTIC.on(picture, "x").astype(float)) == pytest.approx(wanted, rel=0.03)


def test_what_a_plane_shows_of_its_noise_is_its_deviation():
    noisy = FLAT[..., 0] + np.random.default_rng(0).normal(0, 12, FLAT.shape[:2]).astype(np.float32)
    assert deviation(noisy) == pytest.approx(12, rel=0.03)
    assert deviation(FLAT[..., 0].astype(np.float32)) == 0


# ---- denoisers


def test_windows_are_as_wide_as_the_network_s_range_and_leave_nothing_out():
    assert windows(0.5, 0.0, 1.0) == [0.5]
    found = windows(3.0, -0.1, 1.1)
    assert found[0] - 1 / 6 == pytest.approx(-0.1)
    assert found[-1] + 1 / 6 == pytest.approx(1.1)
    assert max(np.diff(found)) < 1 / 3


@pytest.mark.parametrize("sigma", [8.0, 25.0, 60.0])
def test_the_network_is_applied_at_its_own_strength_whatever_the_noise(averaging, sigma):
    """A linear network gives the same at any scale: what is left are the means of 3x3."""
    plane = smooth(40, 50)[..., 0].astype(np.float32)
    padded = np.pad(plane, 1)
    wanted = sum(padded[i : i + 40, j : j + 50] for i in range(3) for j in range(3)) / 9
    # Beyond the border a linear network sees the middle of its range, not 0; inside, bfloat16 has 8 bits.
    np.testing.assert_allclose(averaging.plane(plane, sigma)[1:-1, 1:-1], wanted[1:-1, 1:-1], atol=2.5)
    np.testing.assert_array_equal(averaging.plane(plane, 0.5), plane)


@pytest.mark.parametrize("noise", [Noise(20.0), REALISTIC], ids=lambda noise: noise.title)
@pytest.mark.parametrize("use", ["opponent", "rgb", "left", "means"])
def test_denoisers_bring_pictures_nearer_to_the_clean_one(averaging, noise, use):
    picture = smooth()
    noisy = noise.on(picture, "x")
    denoiser = means if use == "means" else getattr(averaging, use)
    found = told(denoiser, noisy, noise)[2:-2, 2:-2]  # beyond the border the network sees nothing
    assert psnr(picture[2:-2, 2:-2], found) > psnr(picture, noisy) + 3


def test_light_alone_leaves_the_colour_s_noise(averaging):
    picture, noise = smooth(), Noise(25.0)
    noisy = noise.on(picture, "x")
    light, all_ = (psnr(picture, told(one, noisy, noise)) for one in (averaging.luma, averaging.opponent))
    assert psnr(picture, noisy) < light < all_ - 3


@pytest.mark.parametrize("sigma", [15.0, 25.0, 50.0])
def test_the_real_network_denoises_photos_at_every_strength(network, sigma):
    with Image.open(data_root() / "cbsd68" / "0003.webp") as image:
        photo = np.asarray(image.convert("RGB"))[60:188, 60:220]
    noise = Noise(sigma)
    noisy = noise.on(photo, "x")
    found = psnr(photo, told(network.opponent, noisy, noise))
    assert found > psnr(photo, noisy) + 5
    assert found > psnr(photo, told(network.rgb, noisy, noise))


def test_weights_that_are_not_there_are_named(tmp_path):
    with pytest.raises(MissingDataError, match=r"nothing\.pth"):
        DnCNN(tmp_path / "nothing.pth")


# ---- cascades and rows


def test_a_cascade_denoises_on_its_side_of_the_codec():
    raw = Rival(lambda p, q: bytes([q]) + p.tobytes(), lambda d: np.frombuffer(d, np.uint8, offset=1), len, (1, 2))
    picture = np.full((2, 2, 3), 9, np.uint8)
    front, back = before(lambda p: p // 3, raw), behind(lambda p: p * 2, raw)
    assert front.decode(front.encode(picture, 7)).tolist() == [3] * 12
    assert back.encode(picture, 7) == raw.encode(picture, 7)
    assert back.decode(raw.encode(picture, 7)).tolist() == [18] * 12
    assert set(cascades(np.copy, np.copy, {"raw": raw})) == {"dncnn>raw", "raw>dncnn"}


def test_what_is_remembered_is_done_once_for_each_picture():
    done = []
    once = remembered(lambda picture: done.append(1) or picture + 1)
    one, two = smooth(), smooth(seed=1)
    for _ in range(3):
        np.testing.assert_array_equal(once(one), one + 1)
        np.testing.assert_array_equal(once(two), two + 1)
    assert len(done) == 2


def test_rows_are_of_the_clean_picture_and_the_bytes_of_the_noisy_one():
    clean = smooth(180, 200)
    noisy = Noise(25.0).on(clean, "x")
    codec = RIVALS["jpeg"]._replace(ladder=(24, 68))
    coarse, fine = measure("set", Noise(25.0), [Pair(clean, noisy)], {"jpeg": codec}, lambda: None)
    data = codec.encode(noisy, 24)
    assert coarse.bpp == pytest.approx(8 * codec.counted(data) / (180 * 200))
    assert coarse.psnr == pytest.approx(psnr(clean, codec.decode(data)), abs=1e-6)
    assert coarse.ms_ssim is not None
    assert fine.bpp > coarse.bpp
    assert fine.where == ("set", Noise(25.0))


def test_denoisers_alone_are_beside_the_noisy_pictures():
    pair = Pair(smooth(), Noise(25.0).on(smooth(), "x"))
    nothing, perfect = alone("set", Noise(25.0), [pair], {"perfect": lambda picture: pair.clean}, lambda: None)
    assert (nothing.denoiser, perfect.denoiser) == ("none", "perfect")
    assert nothing.psnr == pytest.approx(psnr(*pair), abs=1e-6)
    assert perfect.psnr == 99


def test_deltas_are_to_each_cascade_and_to_the_best_of_all():
    mixed = [row for row in rows_of("dncnn>webp", 1.5) if row.quality < 3] + [
        row for row in rows_of("webp>dncnn", 2.0) if row.quality >= 3
    ]
    found = {d.cascade: d for d in deltas([*rows_of("ours"), *rows_of("dncnn>jpeg", 4.0), *mixed], "ours")}
    assert found["dncnn>jpeg"].psnr == pytest.approx(-75, abs=0.01)
    assert found["dncnn>jpeg"].ms_ssim == pytest.approx(-75, abs=0.01)
    assert -50 < found[BEST].psnr < -100 / 3
    assert found["dncnn>webp"].psnr is None  # three points are too few
    assert deltas(rows_of("dncnn>jpeg"), "ours") == []


def test_noises_are_compared_apart():
    rows = [*rows_of("ours"), *rows_of("dncnn>jpeg", 2.0), *rows_of("ours", 1, 50.0), *rows_of("dncnn>jpeg", 4.0, 50.0)]
    assert len(sorted_by_place(rows)) == 2
    found = {d.sigma: d.psnr for d in deltas(rows, "ours") if d.cascade == BEST}
    assert found == {25.0: pytest.approx(-50, abs=0.01), 50.0: pytest.approx(-75, abs=0.01)}


def test_the_strongest_cascade_is_that_of_the_bits_at_hand():
    rows = [*rows_of("ours", 0.1), *rows_of("dncnn>jpeg", 2.0), *rows_of("dncnn>webp")]
    assert strongest(rows, "ours", 0.5) == "dncnn>webp"
    assert strongest(rows, "ours", 0.01) is None


# ---- the bundle's layers


def test_both_layers_of_a_bundle_and_their_bytes(bundle):
    joint = Joint(bundle)
    picture = smooth(100, 130)
    pair = Pair(picture, Noise(15.0).on(picture, "x"))
    coarse, fine = (evidence.compared(pair, joint.both(pair.noisy, q)) for q in (joint.ladder()[0], joint.ladder()[-1]))
    assert coarse.clean_bpp == fine.clean_bpp < coarse.bpp < fine.bpp
    assert fine.psnr > coarse.psnr
    both = joint.both(pair.noisy, joint.default)
    name = bundle.manifest.name
    data = own([bundle])[name].encode(pair.noisy, joint.pictures.layer("clean").default_quality)
    assert len(data) == both.clean_bytes
    np.testing.assert_array_equal(own([bundle])[name].decode(data), both.clean)


def test_evidence_of_a_noise_that_came_back_whole_and_of_none():
    clean = smooth()
    pair = Pair(clean, Noise(20.0).on(clean, "x"))
    whole = evidence.compared(pair, evidence.Both(clean, pair.noisy, 10, 20))
    assert (whole.psnr, whole.sigma_error, whole.correlation) == (99, 0, pytest.approx(1))
    half = evidence.compared(pair, evidence.Both(clean, ((clean + 0.5 * pair.noisy) / 1.5).astype(np.uint8), 10, 20))
    assert half.sigma_error == pytest.approx(100 * 2 / 3, abs=1)
    assert half.correlation > 0.99


def test_a_bundle_without_these_layers_is_refused(tmp_path):
    with pytest.raises(MidstreamError, match="does not denoise"):
        Joint(tiny.write(tmp_path))


# ---- what is shown and kept


def everything():
    return Known(
        {"set": ["a.png"]},
        "ours",
        "d",
        {"set, sigma 25: ours": "midstream bench denoise --count 1", "other, sigma 25: ours": "midstream bench other"},
        [*rows_of("ours"), *rows_of("dncnn>jpeg", 2.0), *rows_of("x265>dncnn", 1.5)],
        [Alone("set", 25.0, 0.0, "none", 20.2, 0.8), Alone("set", 25.0, 0.0, "opponent", 31.0, 0.95)],
        [evidence.Evidence("set", 25.0, 0.0, 100, 0.2, 1.4, 30.0, 24.0, 4.0, 0.9)],
    )


def test_what_is_known_is_read_back_as_it_was(tmp_path):
    path = tmp_path / "known.json"
    path.write_text(json.dumps(everything().as_json()))
    found = Known.read(path, {"set": ["a.png"]})
    assert found == everything()
    assert found.as_json()["bd_rate"]
    with pytest.raises(MidstreamError, match="other pictures of set"):
        Known.read(path, {"set": ["b.png"]})
    path.write_text("{}")
    with pytest.raises(MidstreamError, match="is not what"):
        Known.read(path, {})


def test_only_what_lacks_is_measured_and_another_bundle_s_rows_go():
    known = everything()
    where = "set", Noise(25.0)
    assert known.lacks(where, ["ours", "dncnn>jpeg", "dncnn>av1"]) == ["dncnn>av1"]
    assert known.lacks(("set", Noise(50.0)), ["ours"]) == ["ours"]
    known.set_ours("ours", "d")
    assert known == everything()
    known.set_ours("ours", "another")
    assert known.lacks(where, ["ours", "dncnn>jpeg"]) == ["ours"]
    assert known.evidence == []


def test_new_rows_take_the_place_of_old_ones():
    known = everything()
    known.add(rows_of("dncnn>jpeg", 3.0, count=2))
    assert [row.bpp for row in known.rows if row.codec == "dncnn>jpeg"] == pytest.approx([0.3, 0.6])
    assert len(known.rows) == 14


def test_tables_page_and_plot_show_every_codec(tmp_path):
    known = everything()
    shown = tables(known.rows, deltas(known.rows, "ours"), known.alone, known.evidence)
    assert [len(table.lines) for table in shown] == [3, 2, 1, 18]
    assert titled("dncnn>x265") == "DnCNN, then x265, 4:2:0"
    assert titled("webp>dncnn") == "WebP, then DnCNN"
    (tmp_path / document.PAGE).write_text("# Page\n")
    document.write(tmp_path, known)
    page = (tmp_path / document.PAGE).read_text()
    assert "the best of all cascades" in page
    assert "20.20" in page
    assert "`midstream bench denoise --count 1`" in page
    assert "bench other" not in page
    assert page.count("<!-- set -->") == 1
    document.write(tmp_path, known)
    assert (tmp_path / document.PAGE).read_text() == page
    assert (tmp_path / "results-denoise-set.png").stat().st_size > 10_000


def test_the_plot_has_a_panel_for_each_noise_and_set(tmp_path):
    rows = [*rows_of("ours"), *rows_of("dncnn>jpeg", 2.0), *rows_of("dncnn>jpeg", 2.0, 50.0)]
    plot.draw(rows, [], "ours", tmp_path / "one.png")
    plot.draw([*rows, *[Row("other", *r.where[1], *list(r.as_json().values())[3:]) for r in rows]], [], "ours",
              tmp_path / "two.png")  # fmt: skip
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "two.png") as two:
        assert one.width == two.width > one.height
        assert two.height > one.height


def test_the_sheet_s_rival_has_no_more_bytes_than_ours(bundle):
    joint, picture = Joint(bundle), smooth(200, 240)
    pair = Pair(picture, Noise(25.0).on(picture, "x"))
    size = joint.both(pair.noisy, joint.default).clean_bytes
    for codec in (RIVALS["jpeg"], RIVALS["x265"]):
        quality, taken, found = sheet.equal(codec, pair.noisy, size)
        assert found.shape == picture.shape
        finer = quality + (1 if codec is RIVALS["jpeg"] else -1)
        assert taken <= size < codec.counted(codec.encode(pair.noisy, finer))
    row = sheet.tiles(pair, Noise(25.0), joint, ("dncnn>jpeg", RIVALS["jpeg"]))
    assert [tile.name.split(",")[0] for tile in row] == [
        "noisy", "clean layer", "DnCNN", "noisy layer", "original",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--sigma", "0"], "deviations of 1 to 100, got 0"),
        (["--sigma", "25", "--images", "b/photos"], "two have the same"),
        (["--sigma", "25", "--sheet", "s.png"], "--sheet is about a bundle's layers"),
        (["--sigma", "25", "--codecs", "dncnn>mp3"], "no codec is called dncnn>mp3"),
    ],
)
def test_what_cannot_be_used_is_said(network, options, words, tmp_path, monkeypatch, capsys):
    for folder in ("photos", "b/photos"):
        (tmp_path / folder).mkdir(parents=True)
        Image.fromarray(smooth(20, 20)).save(tmp_path / folder / "a.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["midstream", "bench", "denoise", "--images", "photos", *options])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_the_command_measures_writes_and_goes_on_where_it_was(network, bundle, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(smooth(64, 80)).save(folder / "a.png")
    path, drawn = tmp_path / "f.json", tmp_path / "f.png"
    line = ["midstream", "bench", "denoise", "--images", str(folder), "--sigma", "25", "--json", str(path)]
    monkeypatch.setattr("sys.argv", [*line, "--codecs", "dncnn>jpeg,jpeg>dncnn"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    rivals = json.loads(path.read_text())["rows"]
    assert {row["codec"] for row in rivals} == {"dncnn>jpeg", "jpeg>dncnn"}
    name = bundle.manifest.name
    more = ["--bundle", str(bundle.path), "--codecs", name, "--plot", str(drawn), "--sheet", str(tmp_path / "s.png")]
    monkeypatch.setattr("sys.argv", [*line, *more])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    found = json.loads(path.read_text())
    assert [row for row in found["rows"] if row["codec"] != name] == rivals
    assert {row["codec"] for row in found["rows"]} == {"dncnn>jpeg", "jpeg>dncnn", name}
    assert found["digest"] == bundle.digest
    assert len(found["evidence"]) == 6
    assert {row["denoiser"] for row in found["alone"]} == {"none", "opponent", "rgb", "luma", "means"}
    assert drawn.stat().st_size > 10_000
    assert "DnCNN, then JPEG" in capsys.readouterr().out
