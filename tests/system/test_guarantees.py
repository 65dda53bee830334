"""Nothing accepted is lost, nothing is stored twice, whoever dies and whenever."""

import random
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from bench.stand import Service, Stand
from tests.system.load import pictures, post_until_accepted, results, wait_for_results

FRAMES = 500
KILLS = 20
CAMERAS = ("north", "south")


@pytest.mark.slow
def test_kill_nine_at_random_points(stand: Stand) -> None:
    """500 frames from two cameras while cloud and edge are killed 20 times between them."""
    rng = random.Random(20)
    accepted: dict[str, list[str]] = {c: [] for c in CAMERAS}
    url = stand.edge.url
    kills = {"cloud": 0, "edge": 0}

    def camera(name: str) -> None:
        pause = random.Random(name)
        for i, data in enumerate(pictures(FRAMES // len(CAMERAS))):
            accepted[name].append(post_until_accepted(url, data, name, f"{name}-{i}")["id"])
            time.sleep(pause.uniform(0, 0.12))  # so that the run outlasts the kills

    def kill_one(service: Service) -> None:
        time.sleep(rng.uniform(0.05, 0.8))
        service.kill()
        kills[service.command] += 1
        service.start()

    threads = [threading.Thread(target=camera, args=(c,)) for c in CAMERAS]
    for thread in threads:
        thread.start()
    while sum(kills.values()) < KILLS or any(t.is_alive() for t in threads):
        kill_one(rng.choice([stand.cloud, stand.edge]))
    for thread in threads:
        thread.join()
    rows = wait_for_results(stand.cloud.url, FRAMES)
    print(f"kills: {kills}, accepted: {FRAMES}, results: {len(rows)}")
    assert_once_and_in_order(rows, accepted)
    assert min(kills.values()) > 0


def test_cloud_down_for_the_whole_send(tmp_path: Path) -> None:
    """The edge has run once; then it starts, accepts and keeps everything with the cloud away."""
    with Stand(tmp_path) as stand:
        stand.edge.stop()
        stand.cloud.stop()
        stand.edge.start()  # from its cached bundle
        accepted: dict[str, list[str]] = {c: [] for c in CAMERAS}
        for i, data in enumerate(pictures(40)):
            name = CAMERAS[i % 2]
            accepted[name].append(post_until_accepted(stand.edge.url, data, name, f"k{i}")["id"])
        state = httpx.get(f"{stand.edge.url}/v1/frames/{accepted['north'][0]}").json()
        assert state["state"] == "queued"
        stand.cloud.start()
        assert_once_and_in_order(wait_for_results(stand.cloud.url, 40), accepted)


def test_a_corrupt_packet_does_not_stop_the_stream(tmp_path: Path) -> None:
    """One bit flipped on the edge's disk: refused and counted; its neighbours arrive."""
    with Stand(tmp_path) as stand:
        stand.cloud.stop()
        ids = [post_until_accepted(stand.edge.url, data, "north", f"k{i}")["id"] for i, data in enumerate(pictures(5))]
        stand.edge.stop()
        flip_a_bit(next(stand.edge.data.glob("*.db")), ids[2])
        stand.cloud.start()
        stand.edge.start()
        rows = wait_for_results(stand.cloud.url, 4)
        assert [r["id"] for r in rows] == ids[:2] + ids[3:]
        ledger = wait_until_final(stand.edge.url, ids[2])
        assert ledger["state"] == "failed" and "corrupt" in ledger["reason"].lower()
        metrics = httpx.get(f"{stand.cloud.url}/metrics").text
        errors = [x for x in metrics.splitlines() if x.startswith("midstream_decode_errors_total{")]
        assert sum(float(x.rsplit(" ", 1)[1]) for x in errors) == 1


def test_an_edge_with_a_damaged_cache_fetches_again(tmp_path: Path) -> None:
    """A bit changed in the cached bundle is noticed before it is used."""
    with Stand(tmp_path) as stand:
        stand.edge.stop()
        (front,) = stand.edge.data.glob("bundles/*/front.onnx")
        whole = front.read_bytes()
        damaged = bytearray(whole)
        damaged[len(damaged) // 2] ^= 1
        front.write_bytes(damaged)
        stand.edge.start()
        assert front.read_bytes() == whole
        post_until_accepted(stand.edge.url, next(iter(pictures(1))), "north", "k")
        assert len(wait_for_results(stand.cloud.url, 1)) == 1


def assert_once_and_in_order(rows: list[dict[str, object]], accepted: dict[str, list[str]]) -> None:
    """Every accepted frame has one result, and each camera's came in the order they were accepted."""
    stored = [r["id"] for r in rows]
    wanted = {i for ids in accepted.values() for i in ids}
    assert len(stored) == len(set(stored)), "a result is there twice"
    assert set(stored) == wanted, f"{len(wanted - set(stored))} missing, {len(set(stored) - wanted)} strange"
    for name, ids in accepted.items():
        assert [r["id"] for r in rows if r["camera"] == name] == ids


def flip_a_bit(database: Path, frame_id: str) -> None:
    """Change one bit in the middle of a frame's coded bytes, behind the edge's back."""
    with closing(sqlite3.connect(database)) as db:
        (payload,) = db.execute("SELECT payload FROM frames WHERE frame_id = ?", (frame_id,)).fetchone()
        damaged = bytearray(payload)
        damaged[len(damaged) // 2] ^= 1
        db.execute("UPDATE frames SET payload = ? WHERE frame_id = ?", (bytes(damaged), frame_id))
        db.commit()


def wait_until_final(edge: str, frame_id: str) -> dict[str, str]:
    """The frame's ledger once it is not queued any more."""
    for _ in range(200):
        ledger: dict[str, str] = httpx.get(f"{edge}/v1/frames/{frame_id}").json()
        if ledger["state"] != "queued":
            return ledger
        time.sleep(0.05)
    raise AssertionError(f"{frame_id} is still queued")


def test_results_page_by_page_is_results(stand: Stand) -> None:
    """The helper above relies on it: paging in order loses nothing while frames arrive."""
    ids = [post_until_accepted(stand.edge.url, d, "north", f"k{i}")["id"] for i, d in enumerate(pictures(30))]
    wait_for_results(stand.cloud.url, 30)
    assert [r["id"] for r in results(stand.cloud.url)] == ids
