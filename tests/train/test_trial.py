"""Which photos tables are counted on."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("cv2")

from tests.train import tiny_photos
from train.crops import VARIED
from train.trial import training


def test_tables_are_counted_on_photos_that_crops_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every such source: those of camvid, too."""
    root = tiny_photos.write(tmp_path)
    monkeypatch.setenv("MIDSTREAM_DATA", str(root))
    images = json.loads((root / "instances_train.json").read_text())["images"]
    due = [
        (i["height"], i["width"])
        for i in images
        if i["source"] in VARIED.shares and min(i["width"], i["height"]) >= 256
    ]
    found = [picture.shape[:2] for picture in training(len(due))]
    assert sorted(found) == sorted(due) and (256, 340) in found
