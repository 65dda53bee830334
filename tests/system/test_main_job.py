"""POST a frame to the edge, read its detections from the cloud, look at its pixels."""

import json
import time

import httpx

from bench.stand import Stand
from tests.system.load import photo, pictures, post, post_until_accepted, wait_for_results


def test_a_photo_becomes_detections(stand: Stand) -> None:
    data = photo("astronaut.png")
    answer = post(stand.edge.url, data, "door", "k1", wait="20s")
    assert answer is not None and answer.status_code == 200, answer
    row = httpx.get(f"{stand.cloud.url}/v1/results/{answer.json()['id']}").json()
    person = max(row["detections"], key=lambda d: d["score"])
    assert person["label"] == "person" and person["score"] > 0.3
    x1, y1, x2, y2 = person["box"]
    assert 0 <= x1 < x2 <= row["width"] == 512 and 0 <= y1 < y2 <= row["height"] == 512
    assert row["bytes"]["source"] == len(data) > 5 * row["bytes"]["coded"]
    assert {"decode_picture", "front", "code", "back", "nms"} <= row["timing"].keys()
    assert answer.json()["detections"] == row["detections"] or answer.json()["detections"]


def test_the_same_key_gives_one_result(stand: Stand) -> None:
    (data,) = pictures(1)
    first, again = (post_until_accepted(stand.edge.url, data, "door", "same") for _ in range(2))
    assert first["id"] == again["id"]
    post_until_accepted(stand.edge.url, data, "door", "other")
    rows = wait_for_results(stand.cloud.url, 2)
    time.sleep(0.5)
    assert len(rows) == 2 == len(wait_for_results(stand.cloud.url, 2))


def test_pixels_come_when_asked_for(stand: Stand) -> None:
    (data,) = pictures(1)
    frame = post_until_accepted(stand.edge.url, data, "door", "k")["id"]
    wait_for_results(stand.cloud.url, 1)
    url = f"{stand.cloud.url}/v1/frames/{frame}/image?layer=full"
    for _ in range(100):
        answer = httpx.get(url)
        if answer.status_code != 202:
            break
        assert float(answer.headers["Retry-After"]) >= 0
        time.sleep(0.1)
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/jpeg"
    assert answer.content == data


def test_metrics_and_ledgers_agree(stand: Stand) -> None:
    for i, data in enumerate(pictures(5)):
        post_until_accepted(stand.edge.url, data, "door", f"k{i}")
    wait_for_results(stand.cloud.url, 5)
    for service in (stand.edge, stand.cloud):
        text = httpx.get(f"{service.url}/metrics").text
        assert "midstream_frames_total" in text and "midstream_stage_duration_seconds" in text
    exported = httpx.get(f"{stand.cloud.url}/v1/export", params={"format": "jsonl"}).text.splitlines()
    assert len({json.loads(line)["id"] for line in exported}) == 5


def test_both_leave_quietly_when_asked(stand: Stand) -> None:
    (data,) = pictures(1)
    post_until_accepted(stand.edge.url, data, "door", "k")
    assert stand.stop() == (0, 0), stand.edge.log_tail() + stand.cloud.log_tail()
