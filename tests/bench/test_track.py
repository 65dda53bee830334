"""`bench track` on sequences that a small detector finds whole: what is measured, written, and refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.networks import shipped
from bench.sfu import files
from bench.sfu.files import Mark, Sequence
from bench.track import document, follow, plot, report, run, study
from bench.track.speed import speed
from common import bundle as bundles
from common.bundle import Bundle
from common.errors import MidstreamError
from common.geometry import Detections
from tests.bench import tiny

CAT, DOG, BIRD = 15, 16, 14
"""The dataset's classes of the detector's two, and one it does not know."""
SIZE = (128, 96)
FRAMES = 12


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny.write(tmp_path_factory.mktemp("bundle"))


def block(number: int, kind: int, name: int, column: int, row: int) -> tuple[Mark, tuple[int, int]]:
    """A cell of 16 pixels; its mark."""
    return Mark(kind, name, (column + 0.5) / 8, (row + 0.5) / 6, 1 / 8, 1 / 6), (column, row)


def sequence(root: Path, name: str = "Blocks") -> Sequence:
    """A red block that walks along a row a cell a second, one that stays, a green one that stays."""
    marked, folder = {}, root / "video" / name
    folder.mkdir(parents=True)
    for number in range(FRAMES):
        placed = [
            block(number, CAT, 0, number // 4, 1),
            block(number, CAT, 1, 6, 4),
            block(number, DOG, 0, 3, 3),
        ]
        picture = np.zeros((96, 128, 3), np.uint8)
        for mark, (column, row) in placed:
            picture[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16, mark.kind - CAT] = 230
        Image.fromarray(picture).save(folder / f"{number}.png")
        marked[number] = tuple(mark for mark, _ in placed)
    one = Sequence(name, f"{name}_128x96_4_seq", marked)
    files.write(one, root / "tracks")
    return one


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    sequence(root)
    return root


def test_a_row_for_each_codec_and_quality(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    file, picture = tmp_path / "track.json", tmp_path / "track.png"
    bundles = [bundle.path]
    result = run.run(data / "tracks", data / "video", bundles, ["jpeg"], json_path=file, plot_path=picture)
    assert json.loads(file.read_text()) == result
    assert picture.stat().st_size > 10_000
    rows = result["rows"]
    assert {"codec", "quality", "bytes_per_frame", "mota", "idf1", "hota"} <= rows[0].keys()
    assert [r["codec"] for r in rows] == ["uncoded", *["lightweight/tiny"] * 6, *["jpeg"] * 6]
    uncoded = rows[0]
    # What is seen once has no id yet: three boxes at the start. A cell's step is found by its speed or as somebody new.
    assert (uncoded["bytes_per_frame"], uncoded["quality"], uncoded["wrong"]) == (None, None, 0)
    assert 3 <= uncoded["missed"] <= 5 and uncoded["mota"] >= 0.8
    own = [r for r in rows if r["codec"] == "lightweight/tiny"]
    assert own[-1]["hota"] == pytest.approx(uncoded["hota"], abs=0.05)
    assert all(r["bytes_per_frame"] > 0 for r in rows[1:])
    assert (result["sequences"], result["frames"]) == (["Blocks"], FRAMES)


def test_frames_are_coded_after_others_where_the_codec_can(data: Path) -> None:
    (one,) = files.read_all(data / "tracks")
    clip = study.Clip(one, data / "video" / one.name)
    embedded = bundles.load(shipped(), "both")
    rows = study.measure([embedded], [clip], ["x265"], 6)
    sizes: dict[str, list[float]] = {}
    for row in rows[1:]:
        assert row.bytes_per_frame
        sizes.setdefault(row.codec, []).append(row.bytes_per_frame)
    alone, after, x265 = sizes
    assert (alone, after, x265) == ("transform/embedded", "transform after 1/embedded", "x265 low delay")
    assert [len(some) for some in sizes.values()] == [6, 6, 6]
    assert all(less < 0.8 * more for less, more in zip(sizes[after], sizes[alone], strict=True))


def test_what_a_score_needs_is_read_from_the_curve() -> None:
    uncoded = study.Row(study.UNCODED, None, None, 0.8, 0.9, 0.6, 0.9, 0.5, 0.7, 0, 0, 0)
    rows = [uncoded]
    for size in (100.0, 200.0, 400.0, 800.0):
        got = size / 800
        rows.append(study.Row("x265 low delay", 1, size, 0.8 * got, 0.45, 0.6 * got, 0.9, 0.5, 0.7, 0, 0, 0))
    needed = report.needs(rows)["x265 low delay"]
    assert needed["idf1"] == {"0.9": None, "0.95": None}
    fewer, more = needed["hota"].values()
    assert needed["mota"] == needed["hota"] and 650 < (fewer or 0) < (more or 0) < 790
    ((name, *told),) = report.needs_cells({"x265 low delay": needed})
    assert (name, told) == ("picture, x265", [f"{fewer:,.0f}", f"{more:,.0f}", "", "", *told[:2]])
    assert report.needs_heads()[:3] == ["codec", "HOTA, 90 %", "HOTA, 95 %"]
    below = report.needs([replace(uncoded, mota=-0.1), *rows[1:]])["x265 low delay"]
    assert set(below["mota"].values()) == {None}


def test_frames_may_be_fewer_and_rivals_none(bundle: Bundle, data: Path) -> None:
    result = run.run(data / "tracks", data / "video", [bundle.path], ["none"], frames=5)
    assert result["frames"] == 5 and {r["codec"] for r in result["rows"]} == {"uncoded", "lightweight/tiny"}
    assert result["rows"][0]["missed"] >= 3


def test_chunks_change_nothing(bundle: Bundle, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = study.Clip(files.read_all(data / "tracks")[0], data / "video" / "Blocks")
    whole = study.measure([bundle], [clip], ["none"], None)
    monkeypatch.setattr(study, "CHUNK", 5)
    assert study.measure([bundle], [clip], ["none"], None) == whole


def test_two_sequences_are_added(bundle: Bundle, data: Path) -> None:
    clip = study.Clip(files.read_all(data / "tracks")[0], data / "video" / "Blocks")
    (one, *_), (two, *_) = (study.measure([bundle], [clip] * n, ["none"], None) for n in (1, 2))
    assert (two.missed, two.hota, two.mota) == (2 * one.missed, pytest.approx(one.hota), pytest.approx(one.mota))


def test_what_is_followed_is_judged_class_by_class(bundle: Bundle, data: Path) -> None:
    (one,) = files.read_all(data / "tracks")
    assert follow.known(bundle, one) == {CAT: 0, DOG: 1}
    boxes = [np.array([[16 * (n // 4), 16, 16 * (n // 4) + 16, 32], [48, 48, 64, 64]], float) for n in range(FRAMES)]
    told = [(Detections(b, np.ones(2), np.array([0, 1])), np.array([1, 1])) for b in boxes]
    counted = follow.judged(one, told, SIZE, {CAT: 0, DOG: 1})
    assert (counted.truth, counted.found, counted.hit, counted.switches) == (36, 24, 24, 0)
    swapped = [(Detections(d.boxes, d.scores, 1 - d.labels), ids) for d, ids in told]
    assert follow.judged(one, swapped, SIZE, {CAT: 0, DOG: 1}).hit == 0


def test_frames_that_nobody_labelled_are_not_judged(data: Path) -> None:
    (one,) = files.read_all(data / "tracks")
    gappy = Sequence(one.name, one.stem, {n: marks for n, marks in one.frames.items() if n % 2})
    nothing = [(Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int)), np.zeros(0, int))] * FRAMES
    assert follow.judged(gappy, nothing, SIZE, {CAT: 0, DOG: 1}).truth == 18


def test_what_cannot_be_measured_is_said(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    tracks, video = data / "tracks", data / "video"
    with pytest.raises(MidstreamError, match="no rival is called webm"):
        run.run(tracks, video, [bundle.path], ["webm"])
    with pytest.raises(MidstreamError, match="Blocks"):
        run.run(tracks, tmp_path, [bundle.path])
    with pytest.raises(MidstreamError, match="cannot be drawn"):
        run.run(tracks, video, [bundle.path], plot_path=tmp_path / "a.txt")
    files.write(Sequence("Blocks", "Blocks_seq", {0: (Mark(BIRD, 0, 0.5, 0.5, 0.1, 0.1),)}), tmp_path)
    with pytest.raises(MidstreamError, match="nothing that tiny can find"):
        run.run(tmp_path, video, [bundle.path])
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(tmp_path / "Blocks" / "0.png")
    Image.fromarray(np.zeros((48, 66, 3), np.uint8)).save(tmp_path / "Blocks" / "1.png")
    files.write(Sequence("Blocks", "Blocks_seq", {n: (Mark(CAT, 0, 0.5, 0.5, 0.1, 0.1),) for n in (0, 1)}), tmp_path)
    with pytest.raises(MidstreamError, match="several sizes"):
        run.run(tmp_path, tmp_path, [bundle.path])


def test_the_section_names_what_measured_it(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    result = run.run(data / "tracks", data / "video", [bundle.path], ["none"], frames=5)
    (tmp_path / document.PAGE).write_text("# Tracks\n")
    rows = [study.Row(**row) for row in result["rows"]]
    for _ in range(2):
        document.write(tmp_path, result, rows, "tracks: one sequence")
    page = (tmp_path / document.PAGE).read_text()
    assert page.count("## tracks: one sequence") == 1 and (tmp_path / "results-track-tracks.png").exists()
    assert f"--dataset tracks --video video --bundle {bundle.path.name} --codecs none --frames 5 --docs`" in page
    assert "lightweight (tiny)" in page and "| HOTA, 95 % |" in page


def test_plots_need_no_uncoded_row(tmp_path: Path) -> None:
    row = study.Row("transform/x", 3, 100.0, 0.5, 0.5, 0.5, 0.8, 0.5, 0.5, 1, 2, 3)
    plot.draw([row, row], tmp_path / "a.svg", "one point")
    assert (tmp_path / "a.svg").stat().st_size > 1000


def test_a_crowd_is_followed_in_less_time_than_there_is() -> None:
    took = speed(objects=20, frames=10)
    assert 0 < took.median <= took.p95
