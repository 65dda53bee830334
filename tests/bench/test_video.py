"""`bench video` on a clip made here: rows, groups of cameras, what low delay means."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.networks import Split, shipped
from bench.video.clips import MOVING, STATIC, found
from bench.video.report import standings
from bench.video.rows import Row, bytes_at, measured
from bench.video.run import chosen
from bench.video.ways import ENCODERS, encoded, played, ways
from common import bundle as bundles
from common.errors import MidstreamError

PHOTO = np.random.default_rng(0).integers(0, 256, (9, 16, 3), np.uint8)


def folders(place: Path, count: int = 4) -> Path:
    """Two clips: one shows the same, one pans."""
    wide = np.asarray(Image.fromarray(PHOTO).resize((512, 288), Image.Resampling.BICUBIC))
    for name, step in (("still", 0), ("pan", 24)):
        (place / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(wide[:, i * step : i * step + 320]).save(place / name / f"{i:03}.jpg", quality=95)
    return place


def test_cameras_that_move_are_told_from_those_that_do_not(tmp_path: Path) -> None:
    clips = found([folders(tmp_path)], Split(bundles.load(shipped(), "both")), 3)
    assert {clip.name: (clip.camera, len(clip.scene.shots)) for clip in clips} == {
        "pan": (MOVING, 3),
        "still": (STATIC, 3),
    }
    with pytest.raises(MidstreamError, match="no clip in"):
        (tmp_path / "empty").mkdir()
        found([tmp_path / "empty"], clips[0].scene.split, None)


def test_what_stays_costs_less_after_another_frame(tmp_path: Path) -> None:
    bundle = bundles.load(shipped(), "both")
    clips = found([folders(tmp_path)], Split(bundle), None)
    alone, after = (way for way in ways(bundle) if way.name in ("transform", "transform after 1"))
    sizes = {}
    for way in (alone, after):
        for clip in clips:
            sizes[way.name, clip.name] = [coded.bytes for coded in way.code(clip.scene, 224)]
    assert sizes["transform after 1", "still"][0] == sizes["transform", "still"][0]
    assert max(sizes["transform after 1", "still"][1:]) < 0.2 * sizes["transform", "still"][0]
    assert sum(sizes["transform after 1", "pan"]) < sum(sizes["transform", "pan"])
    rows = list(measured(clips, after))
    assert {row.camera for row in rows} == {STATIC, MOVING}
    assert {row.frames for row in rows} == {4}


@pytest.mark.parametrize("name", list(ENCODERS))
def test_low_delay_gives_a_packet_a_frame_and_plays_back(name: str) -> None:
    shown = [np.roll(np.asarray(Image.fromarray(PHOTO).resize((160, 90))), i, axis=1) for i in range(5)]
    how = ENCODERS[name](30)
    packets = encoded(how, shown)
    assert len(packets) == len(shown)
    assert all(0 < how.counted(data) <= len(data) for data in packets)
    seen = played(how, packets)
    assert [picture.shape for picture in seen] == [(90, 160, 3)] * 5
    assert np.abs(seen[4].astype(int) - shown[4]).mean() < 12


def test_bytes_at_an_agreement_are_read_from_the_curve() -> None:
    rows = [
        Row(codec, quality, STATIC, size * factor, agreement, None, None, 1, 9)
        for codec, factor in (("ours", 1.0), ("theirs", 2.0))
        for quality, size, agreement in ((1, 100.0, 0.8), (2, 200.0, 0.9), (3, 400.0, 0.96))
    ]
    assert bytes_at(rows, "ours", STATIC, 0.9) == pytest.approx(200)
    assert bytes_at(rows, "ours", MOVING, 0.9) is None
    ours, theirs = standings(rows)
    assert ours["percent"]["0.9"] == 0 and theirs["percent"]["0.9"] == pytest.approx(100)


def test_unknown_codecs_are_named() -> None:
    every = ways(bundles.load(shipped(), "both"))
    assert [way.name for way in chosen(every, ["x265"])] == ["x265 low delay"]
    with pytest.raises(MidstreamError, match="no codec is called vp9; there are transform, transform after 1"):
        chosen(every, ["vp9"])
