"""`midstream bench stream` on a small video: the figures belong together."""

import json
from pathlib import Path

import pytest

from bench import stream
from tests.edge import videos


@pytest.mark.slow
def test_the_figures_of_a_stream_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "WARM_S", 1.0)
    clip = videos.write(tmp_path / "clip.mp4", videos.changing(50))
    figures = stream.run(clip, fps=5, seconds=5, json_path=tmp_path / "figures.json")
    assert json.loads((tmp_path / "figures.json").read_text()) == figures
    frames = figures["frames"]
    assert frames["read"] > frames["sent"] > 0 and frames["undecodable"] == 0
    assert figures["resolution"] == {"width": 160, "height": 120}
    # Some may be on their way when it begins and when it ends.
    assert abs(figures["results"] - frames["sent"]) <= 4
    assert figures["p99_ms"] >= figures["p50_ms"] > 0 and figures["bytes_mean"] > 0
    assert {"decode_picture", "front", "code", "back", "store"} <= figures["stages"].keys()


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(stream.MidstreamError, match=r"there is no file .*nothing\.mp4"):
        stream.run(tmp_path / "nothing.mp4", fps=5, seconds=5, json_path=None)
