"""Cameras with codecs of their own on one edge: results in order, each of its bundle, whoever is killed between."""

import time
from typing import Any

import httpx

from bench.stand import Stand
from cloud.registry import Registry
from cloud.settings import PACKAGED_BUNDLES
from tests.system.load import photo, post_until_accepted, wait_for_results

CODECS = {"door": "scalable2", "yard": "disentangled", "gate": "auto"}
CURRENT = "embedded"
MOST_RESIDENT_MB = 350


def choose(edge: str, camera: str, codec: str) -> None:
    answer = httpx.patch(f"{edge}/v1/operating-point", params={"camera": camera}, json={"codec": codec}, timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.json()["cameras"][camera]["chosen"]["codec"] == codec


def wait_for_codecs(edge: str, seconds: float = 60) -> dict[str, Any]:
    """What the cameras have, once all have what was chosen."""
    until = time.monotonic() + seconds
    while True:
        cameras: dict[str, Any] = httpx.get(f"{edge}/v1/operating-point", timeout=30).json()["cameras"]
        if (
            all(cameras[c]["codec_reason"] in ("chosen", "the current bundle") for c in CODECS)
            or time.monotonic() > until
        ):
            return cameras
        time.sleep(0.1)


def test_three_cameras_three_codecs(stand: Stand) -> None:
    named = {bundle.manifest.name: bundle.digest for bundle in Registry.load(PACKAGED_BUNDLES)}
    edge, cloud, data = stand.edge, stand.cloud, photo("astronaut.png")
    unknown = httpx.patch(f"{edge.url}/v1/operating-point", json={"codec": "nowhere"}, timeout=30)
    assert unknown.status_code == 422 and all(name in unknown.json()["detail"] for name in named)
    for camera, codec in CODECS.items():
        choose(edge.url, camera, codec)
    found = wait_for_codecs(edge.url)
    assert {c: found[c]["codec"] for c in CODECS} == CODECS | {"gate": CURRENT}
    sent = []
    for i in range(6):
        sent += [(camera, post_until_accepted(edge.url, data, camera, f"{camera}{i}")["id"]) for camera in CODECS]
        if i == 1:
            cloud.kill()
            cloud.start()
        if i == 3:
            edge.kill()
            edge.start()
    rows = wait_for_results(cloud.url, len(sent))
    for camera in CODECS:
        got = [row["id"] for row in rows if row["camera"] == camera]
        assert got == [frame for name, frame in sent if name == camera]
    for row in rows:
        assert row["bundle"] == named[{"auto": CURRENT}.get(CODECS[row["camera"]], CODECS[row["camera"]])]
        person = max(row["detections"], key=lambda d: d["score"])
        assert person["label"] == "person" and person["score"] > 0.3
    assert edge.rss_mb() < MOST_RESIDENT_MB
    print("edge", round(edge.rss_mb()), "MB, cloud", round(cloud.rss_mb()), "MB, three bundles in use")
