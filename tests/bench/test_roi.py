"""Regions beside area: bytes that grow, laws that are measured, and regions served by two real processes."""

import json

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("av")
pytest.importorskip("httpx")

from bench.roi import document, plot, served
from bench.roi.areas import FRACTIONS, PLACES, Areas, Row, largest, masks, places
from bench.roi.served import AGAIN, FIRST, NEXT, Served
from common.errors import MidstreamError
from common.scalable.regions import SEAM, Region, weights
from midstream.cli import main
from tests.scalable import tiny

SIZE = (301, 203)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("tiles"), tiny.FREQUENCY)


@pytest.fixture(scope="module")
def rows(bundle):
    ticks = []
    found = Areas(bundle).measure([("a.png", tiny.picture(*SIZE))], lambda: ticks.append(1))
    assert len(ticks) == 1
    return found


@pytest.mark.parametrize("fraction", [0.0001, *FRACTIONS])
def test_places_are_inside_the_picture_and_as_large_as_they_should_be(fraction):
    found = places("a.png", 640, 480, fraction)
    assert found == places("a.png", 640, 480, fraction)
    assert 1 <= len(found) <= PLACES
    for x, y, width, height in found:
        assert min(x, y) >= 0
        assert x + width <= 640
        assert y + height <= 480
        assert width * height == pytest.approx(fraction * 640 * 480, rel=0.02, abs=3)
    assert places("b.png", 640, 480, 0.05) != places("a.png", 640, 480, 0.05)
    assert places("a.png", 640, 480, 1.0) == [Region(0, 0, 640, 480)]


@pytest.mark.parametrize("region", [Region(40, 30, 100, 80), Region(0, 0, 50, 203), Region(5, 5, 2 * SEAM, 60)])
def test_what_is_inside_and_outside_is_what_the_seam_leaves(region):
    inner, outer = masks(region, *SIZE)
    share = weights([region], (slice(0, SIZE[1]), slice(0, SIZE[0])), *SIZE)
    assert (share[inner] == 1).all()
    assert (share[outer] == 0).all()
    assert not (inner & outer).any()
    assert inner.sum() > 0 or region.width <= 2 * SEAM


def test_differences_are_of_the_part_that_is_meant():
    one, other = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)
    other[1, 2, 0] = 200
    everywhere = np.ones((4, 4), bool)
    assert largest(one, other, everywhere) == 200
    everywhere[1, 2] = False
    assert largest(one, other, everywhere) == 0
    assert largest(one, other, np.zeros((4, 4), bool)) == 0


def test_bytes_grow_with_area_up_to_all_tiles(rows):
    assert [row.fraction for row in rows] == list(FRACTIONS)
    sizes = [row.region_bytes for row in rows]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] / 4
    assert rows[-1].share == 1
    assert (rows[-1].regions, rows[0].regions) == (1, PLACES)
    assert len({row.base_bytes for row in rows}) == 1


def test_regions_show_the_whole_picture_inside_and_the_base_picture_outside(rows):
    for row in rows:
        assert row.outside == 0
        assert row.inside <= 1  # networks that run on a part add in another order
        assert row.area == pytest.approx(row.fraction, rel=0.05)
    assert (rows[-1].inside, rows[-1].rounded) == (0, 0)


def test_a_bundle_without_tiles_is_refused(tmp_path):
    with pytest.raises(MidstreamError, match="in tiles"):
        Areas(tiny.write(tmp_path))


TIMES = [Served(f, what, 20, 100 * f + 50, 200.0, 9000.0) for f in (0.1, 1.0) for what in (FIRST, NEXT, AGAIN)]
AREAS = [Row(f, 4, f, 2000.0, 10_000 * f, f, 1.0, 0.001, 0.0, 80.0) for f in (0.1, 0.5, 1.0)]


def test_page_and_plot_show_both_tables(tmp_path):
    result = {"images": ["a.png"], "measured_by": "midstream bench roi", "digest": "0123456789abcdef"}
    (tmp_path / document.PAGE).write_text("# Page\n")
    document.write(tmp_path, result, AREAS, TIMES, "tiny, kodak")
    page = (tmp_path / document.PAGE).read_text()
    assert "## tiny, kodak, 1 pictures" in page
    assert "| 50.0% | 4 | 2,000 | 5,000 |" in page
    assert "| 10% | another region of it | 20 | 60 | 200 | 9,000 |" in page
    document.write(tmp_path, result, AREAS, [], "tiny, kodak")
    again = (tmp_path / document.PAGE).read_text()
    assert "Served" not in again
    plot.draw(AREAS, TIMES, tmp_path / "two.png", "x")
    plot.draw(AREAS, [], tmp_path / "one.png", "x")
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "two.png") as two:
        assert two.width > 1.5 * one.width


def test_the_command_writes_what_it_measured(bundle, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(tiny.picture(*SIZE)).save(folder / "a.png")
    path = tmp_path / "f.json"
    options = ["--bundle", str(bundle.path), "--images", str(folder), "--json", str(path), "--no-serve"]
    monkeypatch.setattr("sys.argv", ["midstream", "bench", "roi", *options])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    found = json.loads(path.read_text())
    assert found["images"] == ["a.png"]
    assert found["digest"] == bundle.digest
    assert len(found["rows"]) == len(FRACTIONS)
    assert found["served"] == []
    assert found["measured_by"] == f"midstream bench roi --bundle {bundle.path.name} --images photos --no-serve"
    assert "Regions of pictures" in capsys.readouterr().out


@pytest.mark.slow
def test_regions_are_served_by_both_services(bundle, monkeypatch):
    monkeypatch.setattr(served, "FRACTIONS", (0.1, 1.0))
    found = {(row.fraction, row.asked): row for row in served.measure(bundle, count=2)}
    assert set(found) == {(f, what) for f in (0.1, 1.0) for what in (FIRST, NEXT, AGAIN)}
    assert all(row.count == 2 and 0 < row.p50_ms <= row.p95_ms for row in found.values())
    tenth, whole = found[0.1, FIRST].tile_bytes, found[1.0, FIRST].tile_bytes
    assert 0 < tenth < whole / 2
    assert tenth < found[0.1, NEXT].tile_bytes == found[0.1, AGAIN].tile_bytes < whole
