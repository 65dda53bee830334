"""One camera through all modes at run time: results in order, each with its provenance, whatever is killed between."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.stand import Stand
from cloud.registry import Registry
from cloud.settings import PACKAGED_BUNDLES
from common import bundle as bundles
from common.bundle import FRONT_FILE
from tests.system.load import photo, post, post_until_accepted, wait_for_results

MODES = ("split", "image", "edge")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The packaged detector with both halves on both sides, in a folder of its own."""
    shipped = Registry.load(PACKAGED_BUNDLES).current
    manifest = shipped.manifest.model_dump(mode="json", exclude={"format", "files"}, exclude_none=True)
    files: dict[str, tuple[bundles.Side, bytes]] = {
        name: ("both" if name in (FRONT_FILE, "back.onnx") else file.side, shipped.file(name).read_bytes())
        for name, file in shipped.manifest.files.items()
    }
    bundles.write(tmp_path / "bundles", {**manifest, "version": "modes"}, files)
    return tmp_path / "bundles"


def choose(edge: str, **wanted: Any) -> dict[str, Any]:
    answer = httpx.patch(f"{edge}/v1/operating-point", json={"camera": "door", **wanted}, timeout=30)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["cameras"]["door"]
    return found


def test_one_camera_through_all_modes(tmp_path: Path, bundle: Path) -> None:
    folder = {"MIDSTREAM_CLOUD_BUNDLES_DIR": str(bundle)}
    with Stand(tmp_path, edge_env={"MIDSTREAM_EDGE_SHADOW": "1"}, cloud_env=folder) as stand:
        data, sent = photo("astronaut.png"), []
        for i in range(12):
            mode = MODES[i % 3]
            assert choose(stand.edge.url, mode=mode)["mode"] == mode
            sent.append((post_until_accepted(stand.edge.url, data, "door", f"k{i}")["id"], mode))
            if i == 6:
                stand.cloud.kill()
                stand.cloud.start()
            if i == 8:
                stand.edge.kill()
                stand.edge.start()  # with what was chosen last
                assert choose(stand.edge.url, quality="auto")["mode"] == mode
        rows = wait_for_results(stand.cloud.url, len(sent))
        assert [(row["id"], row["provenance"]) for row in rows] == sent
        for row in rows:
            person = max(row["detections"], key=lambda d: d["score"])
            assert person["label"] == "person" and person["score"] > 0.3
        coded = {row["provenance"]: row["bytes"]["coded"] for row in rows}
        assert coded["edge"] < 2_000, "the picture that went along is not the frame's"
        assert {row["provenance"]: row["expected_agreement"] for row in rows}["edge"] == 1
        checks = httpx.get(f"{stand.cloud.url}/metrics").text
        assert 'midstream_shadow_agreement_count{camera="door",of="reference"}' in checks


def test_detections_alone_are_a_few_bytes_and_come_back_to_who_waits(tmp_path: Path, bundle: Path) -> None:
    with Stand(tmp_path, cloud_env={"MIDSTREAM_CLOUD_BUNDLES_DIR": str(bundle)}) as stand:
        found = {}
        for mode in MODES:
            choose(stand.edge.url, mode=mode)
            answer = post(stand.edge.url, photo(), "door", mode, wait="20s")
            assert answer is not None and answer.status_code == 200
            found[mode] = answer.json()
        sizes = {mode: body["bytes"]["coded"] for mode, body in found.items()}
        assert sizes["edge"] < 1_300 < sizes["split"] < sizes["image"]
        best = {mode: max(body["detections"], key=lambda d: d["score"]) for mode, body in found.items()}
        for mode in MODES:
            assert best[mode]["label"] == "person"
            assert abs(best[mode]["score"] - best["edge"]["score"]) < 0.2


def test_the_usual_bundle_says_what_it_cannot_do(stand: Stand) -> None:
    """Which modes there are depends on the packaged bundle's files; the answer says so either way."""
    there = httpx.get(f"{stand.edge.url}/v1/operating-point").json()["modes"]
    for mode in MODES:
        answer = httpx.patch(f"{stand.edge.url}/v1/operating-point", json={"mode": mode})
        assert answer.status_code == (200 if mode in there else 422)
        if mode not in there:
            assert "none of this bundle's" in answer.json()["detail"]
