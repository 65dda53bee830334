"""Scalable video beside the codec alone: rows that follow from the same bytes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.networks import Split, shipped
from bench.video import scalable
from bench.video.scalable import Row, bd_rates, delta, said
from common import bundle as bundles
from common.errors import MidstreamError
from common.video import chunks
from tests.video import shapes


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips") / "one"
    folder.mkdir()
    for i, picture in enumerate(shapes.moving(3, 192, 176)):
        Image.fromarray(picture).save(folder / f"{i}.png")
    return folder


def test_rows_are_of_the_same_bytes(clips, monkeypatch):
    monkeypatch.setattr(scalable, "QUANTISERS", (40,))
    monkeypatch.setattr(scalable, "shipped_fusion", lambda: None)
    result = scalable.run([clips])
    rows = {row["codec"]: row for row in result["rows"]}
    assert list(rows) == ["base", "av1", "fused", "scalable"]
    added = 2 * chunks.OPENING + chunks.ENHANCEMENT.size
    total = rows["base"]["bytes_per_frame"] + rows["av1"]["bytes_per_frame"] + added
    assert rows["scalable"]["bytes_per_frame"] == pytest.approx(total)
    assert rows["scalable"]["agreement_ap50"] == rows["base"]["agreement_ap50"]
    assert rows["scalable"]["psnr"] == rows["fused"]["psnr"] == rows["av1"]["psnr"]  # without a network
    assert rows["fused"]["fused"] == 0 and rows["base"]["psnr"] is None
    assert result["multiply_adds_per_pixel"] is None and "No network" in said(result)


def test_a_network_in_a_file_is_told_from_anything_else(tmp_path, clips):
    split = Split(bundles.load(shipped(), "both"))
    path = tmp_path / "fusion.npz"
    np.savez(path, **shapes.arrays(split.bundle.prefix))
    fusion = scalable.fusion_of(split, path)
    assert fusion is not None and fusion.bundle == split.bundle.prefix
    np.savez(path, **shapes.arrays(b"none"))
    with pytest.raises(MidstreamError, match="knows the features of bundle 6e6f6e65"):
        scalable.fusion_of(split, path)
    for damaged in (b"", b"PK\3\4 nothing", b"no network"):
        path.write_bytes(damaged)
        with pytest.raises(MidstreamError, match="is no network of"):
            scalable.fusion_of(split, path)
    line = scalable.command([clips, Path("a/b")], Path("c"), 24, path)
    assert line == "midstream bench scalable-video --frames one --frames a/b --bundle c --fusion fusion.npz --limit 24"


def curve(codec, factor):
    return [Row(codec, q, factor * 1000 * 2**i, 1.0, 30.0 + i, 0.9 + 0.02 * i, None) for i, q in enumerate("abcd")]


def test_bd_rates_are_beside_the_video_alone():
    rows = [*curve("av1", 1), *curve("fused", 0.9), *curve("scalable", 1.25)]
    found = bd_rates(rows)
    assert found["fused"]["psnr"] == pytest.approx(-10) and found["scalable"]["ms_ssim"] == pytest.approx(25)
    assert delta(rows[:6], "fused", "psnr") is None
    text = said({"bd_rates": found, "multiply_adds_per_pixel": 10_123.0})
    assert "fused -10.0 % at equal PSNR" in text and "10.1 kMAC" in text
