"""Rate and distortion: metrics whose values are known, rows that count real bytes, deltas that follow from them."""

import json

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("av")

from bench.bd import Curve, bd_rate
from bench.rd import document, plot, published, run, sheet
from bench.rd.codecs import OTHERS, chosen
from bench.rd.compare import by_psnr, conclusions
from bench.rd.metrics import LEAST_SIDE, MsSsim, decibels, halved, psnr
from bench.rd.rows import LOSSLESS, Row, ladders, measure
from bench.rivals import Rival
from common.errors import MidstreamError
from midstream.cli import main


def pattern(height=192, width=256):
    """Ramps, products and a board: every scale has something to lose."""
    y, x = np.mgrid[:height, :width]
    planes = (x * 3 + y * 5) % 256, (x * y // 7) % 256, (x // 16 + y // 16) % 2 * 200 + 20
    return np.stack(planes, -1).astype(np.uint8)


def rows_of(name, factor=1.0, start=0):
    """A codec whose bits double with every 3 dB, `factor` times as many as another's."""
    return [Row(name, i, factor * 0.1 * 2**i, 28.0 + 3 * i, 1 - 0.1 / 2**i, 1, 1) for i in range(start, start + 6)]


RAW = Rival(
    lambda p, q: bytes(divmod(p.shape[0], 256) + divmod(p.shape[1], 256)) + (p >> q << q).tobytes(),
    lambda d: np.frombuffer(d, np.uint8, offset=4).reshape(d[0] << 8 | d[1], d[2] << 8 | d[3], 3),
    lambda d: len(d) - 4,
    (4, 0),
)
"""Keeps all but some low bits, and always takes 24 bits a pixel."""


def test_psnr_of_a_known_error():
    dark = np.full((20, 30, 3), 100, np.uint8)
    assert psnr(dark, dark + np.uint8(5)) == pytest.approx(20 * np.log10(255 / 5))
    one = dark.copy()
    one[3, 4, 1] += 90
    assert psnr(dark, one) == pytest.approx(10 * np.log10(255**2 / (90**2 / dark.size)))
    assert psnr(dark, dark) == float("inf")


@pytest.mark.parametrize(
    ("change", "theirs"),
    [
        (lambda p: p, 1.0),
        (lambda p: p // 32 * 32 + 16, 0.9900038750834145),
        (lambda p: np.roll(p, 3, 1), 0.6887906503799907),
        (lambda p: p // 2, 0.79016789147807),
        (lambda p: 255 - p, 0.0),
    ],
    ids=["same", "coarse", "moved", "dark", "negative"],
)
def test_ms_ssim_is_that_of_the_package_that_learned_codecs_are_measured_with(change, theirs):
    """pytorch-msssim 1.0.0 on the same pictures, in float64."""
    assert MsSsim(pattern()).to(change(pattern())) == pytest.approx(theirs, abs=2e-6)


def test_ms_ssim_of_flat_pictures_is_the_coarsest_luminance():
    a, b = (np.full((LEAST_SIDE, LEAST_SIDE + 30, 3), value, np.uint8) for value in (60, 90))
    c1 = 2.55**2
    luminance = (2 * 60 * 90 + c1) / (60**2 + 90**2 + c1)
    # What float32 leaves of a variance that is 0 is a thousandth of the constant beside it.
    assert MsSsim(a).to(b) == pytest.approx(luminance**0.1333, abs=1e-3)


def test_ms_ssim_takes_odd_sizes_and_no_small_ones():
    odd = pattern(LEAST_SIDE, 203)
    noisy = np.clip(odd + np.random.default_rng(0).normal(0, 20, odd.shape), 0, 255).astype(np.uint8)
    assert MsSsim(odd).to(odd) == pytest.approx(1, abs=1e-6)
    assert 0.3 < MsSsim(odd).to(noisy) < 0.99
    assert halved(np.ones((3, 5, 7), np.float32)).shape == (3, 2, 3)
    with pytest.raises(ValueError, match="at least 176"):
        MsSsim(pattern(LEAST_SIDE - 1, 300))


def test_similarity_in_decibels():
    assert decibels(0.99) == pytest.approx(20)
    assert decibels(0.0) == 0
    assert decibels(1.0) > 100  # and no error


def test_a_row_is_the_mean_of_each_pictures_own_figures():
    large, small = pattern(200, 300), pattern(40, 31)
    wide = Rival(lambda p, q: bytes(600), lambda d: np.zeros((201, 301, 3), np.uint8), len, (1,))
    (row,) = measure([large, small], {"wide": wide}, {"wide": (1,)})
    assert row.bpp == pytest.approx((8 * 600 / 60_000 + 8 * 600 / 1240) / 2)
    black = [psnr(p, np.zeros_like(p)) for p in (large, small)]
    assert row.psnr == pytest.approx(np.mean(black))
    assert row.ms_ssim == pytest.approx(MsSsim(large).to(np.zeros_like(large)))  # the other is too small


def test_what_counts_is_what_the_codec_counts_and_equal_pictures_have_a_figure():
    small = pattern(30, 40)
    fine, coarse = sorted(measure([small], {"raw": RAW}, ladders({"raw": RAW}, None)), key=lambda row: row.quality)
    assert fine.bpp == coarse.bpp == 24
    assert fine.psnr == LOSSLESS
    assert coarse.psnr == pytest.approx(psnr(small, small >> 4 << 4))
    assert fine.ms_ssim is None
    cut = RAW._replace(decode=lambda d: RAW.decode(d)[:, :-1])
    with pytest.raises(MidstreamError, match="cut at 0: 40x30"):
        measure([small], {"cut": cut}, {"cut": (0,)})


def test_every_codec_takes_odd_sizes_and_gets_finer():
    for name, codec in OTHERS.items():
        coarse, fine = measure([pattern(67, 101)], {name: codec}, {name: (codec.ladder[2], codec.ladder[-3])})
        assert coarse.bpp < fine.bpp
        assert coarse.psnr < fine.psnr


def test_colour_at_full_size_keeps_more_of_it():
    found = {name: measure([pattern()], {name: OTHERS[name]}, {name: (11,)})[0] for name in ("x265", "x265-444")}
    assert found["x265-444"].psnr > found["x265"].psnr + 3


def test_deltas_say_how_many_bits_more():
    result = conclusions([*rows_of("a"), *rows_of("b", 1.5), *rows_of("short")[:3]], [])
    assert result["bd_rate"]["b"]["a"] == pytest.approx(50, abs=0.01)
    assert result["bd_rate"]["a"]["b"] == pytest.approx(-100 / 3, abs=0.01)
    assert result["bd_rate"]["short"] == {}  # too few points for a delta
    assert result["bd_rate_ms_ssim"]["b"]["a"] == pytest.approx(50, abs=0.01)


def test_deltas_below_a_ceiling_are_of_what_lies_below():
    anchor = Curve([(row.bpp, row.psnr) for row in rows_of("a")])
    mixed = Curve([(row.bpp * (2 if row.psnr < 36 else 1), row.psnr) for row in rows_of("b")])
    assert bd_rate(anchor, mixed, ceiling=33).percent == pytest.approx(100, abs=8)
    assert bd_rate(anchor, mixed).percent < 70
    assert bd_rate(anchor, mixed, ceiling=33).high == 33
    assert bd_rate(anchor, mixed, ceiling=20) is None


def test_the_published_curve_is_for_the_pictures_it_is_about():
    assert published.curves(["kodim01", "kodim02"]) == []
    (curve,) = published.curves([f"kodim{n:02}" for n in range(24, 0, -1)])
    points = np.array(curve.points)
    assert points.shape == (8, 3)
    assert np.all(np.diff(points, axis=0) > 0)
    found = by_psnr(rows_of("a"), [curve])
    assert found["mbt2018-mean"].rate_at(32.93884746233622) == pytest.approx(0.46061197916666674)


def test_names_are_chosen_from_what_there_is():
    assert list(chosen(OTHERS, ["webp", "jpeg"])) == ["jpeg", "webp"]
    assert chosen(OTHERS, None) == OTHERS
    with pytest.raises(MidstreamError, match=r"jpg.*there are jpeg"):
        chosen(OTHERS, ["jpg"])


@pytest.fixture
def folder(tmp_path):
    """Two pictures of different sizes, and a file that is none."""
    path = tmp_path / "pictures"
    path.mkdir()
    for name, size in (("a.png", (180, 210)), ("b.png", (50, 61))):
        Image.fromarray(pattern(*size)).save(path / name)
    (path / "about.txt").write_text("two pictures")
    return path


def command(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["midstream", "bench", "rd", *map(str, words)])
    try:
        main()
    except SystemExit as leaving:
        return leaving.code or 0
    return 0


def test_codecs_are_added_to_what_was_measured(folder, tmp_path, monkeypatch, capsys):
    figures, drawn = tmp_path / "rd.json", tmp_path / "rd.png"
    usual = "--images", folder, "--qualities", "10,30,60,90", "--json", figures
    for codec, more in (("jpeg", ()), ("webp", ()), ("jpeg", ()), ("none", ("--plot", drawn))):
        assert command(monkeypatch, *usual, "--codecs", codec, *more) == 0
    result = json.loads(figures.read_text())
    assert result["images"] == ["a.png", "b.png"]
    assert result["measured_by"].keys() == {"jpeg", "webp"}
    assert result["measured_by"]["webp"].endswith("--codecs webp --qualities 10,30,60,90")
    contract = {"codec", "quality", "bpp", "psnr", "ms_ssim", "encode_ms", "decode_ms"}
    assert all(set(row) == contract for row in result["rows"])
    counts = {name: sum(row["codec"] == name for row in result["rows"]) for name in ("jpeg", "webp")}
    assert counts == {"jpeg": 4, "webp": 4}
    assert set(result["bd_rate"]["webp"]) == {"jpeg"}
    assert result["bd_rate"]["webp"]["jpeg"] * result["bd_rate"]["jpeg"]["webp"] < 0
    with Image.open(drawn) as image:
        assert image.width > 1000
    shown = capsys.readouterr().out
    assert "JPEG" in shown and "Rate at equal PSNR" in shown


def test_qualities_can_be_named(folder):
    result = run.run(folder, codecs=["jpeg"], qualities=[10, 90])
    assert [row["quality"] for row in result["rows"]] == [10, 90]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--codecs", "gif"], "no codec is called gif"),
        (["--qualities", "1,x"], "integers with commas"),
        (["--timing", "--codecs", "jpeg"], "name one with --bundle"),
        (["--sheet", "sheet.png", "--codecs", "jpeg"], "name one with --bundle"),
        (["--plot", "plot.txt"], "cannot be drawn"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_measured(folder, words, complaint, monkeypatch, capsys):
    assert command(monkeypatch, "--images", folder, *words) == 2
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert complaint in said


def test_figures_of_other_pictures_are_not_added_to(folder, tmp_path):
    figures = tmp_path / "rd.json"
    run.run(folder, codecs=["jpeg"], qualities=[30], json_path=figures)
    (folder / "b.png").unlink()
    with pytest.raises(MidstreamError, match="other pictures"):
        run.run(folder, codecs=["webp"], qualities=[30], json_path=figures)
    figures.write_text('{"photos": 1}')
    with pytest.raises(MidstreamError, match="not what"):
        run.run(folder, codecs=["webp"], qualities=[30], json_path=figures)
    with pytest.raises(MidstreamError, match="no pictures"):
        run.found(tmp_path)
    with pytest.raises(MidstreamError, match="no folder"):
        run.found(figures)


def test_a_section_of_the_page_is_replaced(tmp_path):
    page = tmp_path / document.PAGE
    page.write_text("# Results\n\nkept\n")
    rows = [*rows_of("ours"), *rows_of("jpeg", 2)]
    by = {"ours": "midstream bench rd --bundle b", "webp": "midstream bench rd", "jpeg": "midstream bench rd"}
    result = {"images": ["a", "b"], "measured_by": by, "timing": {}, **conclusions(rows, [])}
    for _ in range(2):
        document.write(tmp_path, "My pictures", result, rows, [])
    text = page.read_text()
    assert text.startswith("# Results\n\nkept\n")
    assert text.count("<!-- my-pictures -->") == text.count("![") == 1
    assert "`midstream bench rd --bundle b`\n`midstream bench rd`\n\n!" in text
    assert "| ours |  | -50.0 % |" in text
    assert (tmp_path / "results-rd-my-pictures.png").stat().st_size > 10_000


def test_ours_stand_out_and_what_is_published_is_dashed():
    (curve,) = published.curves([f"kodim{n:02}" for n in range(1, 25)])
    drawn = plot.styles(by_psnr([*rows_of("one"), *rows_of("two"), *rows_of("jpeg")], [curve]), [curve])
    assert drawn["one"].colour != drawn["two"].colour
    assert drawn["one"].width > drawn["jpeg"].width
    assert drawn["mbt2018-mean"].line == "--"


def test_jpeg_is_as_large_as_allowed_and_no_larger():
    picture = pattern()
    sizes = [OTHERS["jpeg"].counted(OTHERS["jpeg"].encode(picture, q)) for q in (1, 30, 31)]
    for allowed, expected in ((sizes[1], sizes[1]), (sizes[2] - 1, sizes[1]), (10, sizes[0])):
        name, original, decoded, size = sheet.jpeg(picture, allowed)
        assert size == expected
        assert decoded.shape == original.shape
        assert name.startswith("JPEG")


def test_a_sheet_shows_the_middle_of_each_picture():
    large, small = pattern(400, 500), pattern(20, 30)
    np.testing.assert_array_equal(sheet.middle(large), large[50:350, 100:400])
    np.testing.assert_array_equal(sheet.middle(small), small)
    row = [sheet.tile("a", large, large[::-1], 1000), sheet.tile("b", large, large // 2, 2000)]
    drawn = sheet.pasted([row, row[:1]])
    assert drawn.size == (2 * 308 + 8, 2 * (300 + 38 + 8) + 8)
    assert row[0].figures.startswith("1,000 B, 0.04 bpp")
