"""Tracks: ids in results, events and exports, /v1/tracks, what a restart and a lost commit leave of them."""

import asyncio
import json
import uuid
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import func, select, text

from cloud import tracker
from cloud.frame import Result
from cloud.store import Filters, Store, StoreError
from cloud.store.tables import sightings, trackers, tracks
from cloud.tracker import Following, follow
from common.bundle import Bundle
from common.types import Detection
from common.wire import stream_pb2 as wire
from tests.cloud import tiny
from tests.cloud.conftest import Running, Start
from tests.cloud.speaker import Edge, packet
from tests.cloud.test_store import result

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
CAT, DOG = (0, 0, 0), (1, 2, 2)
ALL = Filters()


def at(seconds: float) -> int:
    return int((NOON + timedelta(seconds=seconds)).timestamp() * 1e6)


def sight(bundle: Bundle, seq: int, cells: Iterable[tuple[int, int, int]] = (CAT,), **fields: Any) -> wire.Packet:
    """A frame every 200 ms."""
    payload = tiny.payload(bundle, dict.fromkeys(cells, 1.0))
    return packet(seq, payload, **{"captured_unix_us": at(seq / 5), **fields})


async def ids(cloud: Running, **params: Any) -> list[list[int | None]]:
    body = await cloud.json("/v1/results", order="asc", limit=1000, **params)
    return [[d.get("track_id") for d in r["detections"]] for r in body["results"]]


async def test_a_cat_that_stays_is_one_track(cloud: Running) -> None:
    async with cloud.edge() as edge:
        await edge.deliver(*(sight(cloud.bundle, i) for i in range(10)))
    assert await ids(cloud) == [[None], *[[1]] * 9]
    (track,) = (await cloud.json("/v1/tracks"))["tracks"]
    assert track == {
        "id": 1,
        "camera": "door",
        "edge": "edge-1",
        "label": "cat",
        "votes": {"cat": 9},
        "first_seen": "2026-03-04T12:00:00.200000Z",
        "last_seen": "2026-03-04T12:00:01.800000Z",
        "dwell_s": 1.6,
        "frames": 9,
        "best_score": 1.0,
    }
    whole = await cloud.json("/v1/tracks/1")
    frames = (await cloud.json("/v1/results", order="asc"))["results"][1:]
    assert {k: v for k, v in whole.items() if k != "path"} == track
    assert whole["path"] == [
        {"frame": f["id"], "captured_at": f["captured_at"], "score": 1.0, "box": tiny.box(0, 0)} for f in frames
    ]


async def test_a_path_has_a_bound(cloud: Running) -> None:
    async with cloud.edge() as edge:
        await edge.deliver(*(sight(cloud.bundle, i) for i in range(24)))
    whole = (await cloud.json("/v1/tracks/1"))["path"]
    assert len(whole) == 23
    for points in (1, 2, 5, 22, 23, 100):
        some = (await cloud.json("/v1/tracks/1", points=points))["path"]
        assert 1 <= len(some) <= points and some[-1] == whole[-1]
        places = [whole.index(point) for point in some]
        assert len({b - a for a, b in pairwise(places)}) <= 1, "evenly spread"


async def test_every_camera_of_every_edge_has_its_own(cloud: Running) -> None:
    async with cloud.edge("one") as one, cloud.edge("two") as two:
        for seq in range(0, 6, 2):
            for edge in (one, two):
                await edge.deliver(*(sight(cloud.bundle, seq + i, camera="ab"[i]) for i in range(2)))
    every = (await cloud.json("/v1/tracks"))["tracks"]
    assert {(t["edge"], t["camera"]) for t in every} == {(e, c) for e in ("one", "two") for c in "ab"}
    assert {t["frames"] for t in every} == {2} and len({t["id"] for t in every}) == 4


async def test_filters_and_pages(cloud: Running) -> None:
    async with cloud.edge() as edge:
        await edge.deliver(
            *(sight(cloud.bundle, i) for i in range(3)),
            *(sight(cloud.bundle, 300 + i, [DOG]) for i in range(3)),
            *(sight(cloud.bundle, 600 + i, [CAT, DOG], camera="yard") for i in range(3)),
        )
    stamp = "%Y-%m-%dT%H:%M:%SZ"
    for params, wanted in [
        ({}, [4, 3, 2, 1]),
        ({"order": "asc"}, [1, 2, 3, 4]),
        ({"camera": "yard"}, [4, 3]),
        ({"camera": ["yard", "door"], "label": "dog"}, [4, 2]),
        ({"edge": "nobody"}, []),
        ({"min_score": 0.9}, [4, 3, 2, 1]),
        ({"since": (NOON + timedelta(seconds=100)).strftime(stamp)}, [4, 3]),
        ({"until": (NOON + timedelta(seconds=60)).strftime(stamp)}, [1]),
        ({"since": "2026-03-04T12:00:30Z", "until": "2026-03-04T12:01:30Z"}, [2]),
        ({"limit": 1}, [4]),
    ]:
        body = await cloud.json("/v1/tracks", **params)
        assert [t["id"] for t in body["tracks"]] == wanted, params
    paged, cursor = [], {}
    while True:
        body = await cloud.json("/v1/tracks", limit=3, order="asc", **cursor)
        paged += [t["id"] for t in body["tracks"]]
        if body["next"] is None:
            break
        cursor = {"cursor": body["next"]}
    assert paged == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "path", ["/v1/tracks?camra=a", "/v1/tracks?limit=0", "/v1/tracks?cursor=x", "/v1/tracks/0", "/v1/tracks/x",
             "/v1/tracks/1?points=0", f"/v1/tracks/{2**63}"]
)  # fmt: skip
async def test_what_is_no_question_is_said_to_be_none(cloud: Running, path: str) -> None:
    answer = await cloud.http.get(path)
    assert answer.status_code == 422 and answer.headers["content-type"] == "application/problem+json"


async def test_a_track_that_is_not_here_is_not_found(cloud: Running) -> None:
    answer = await cloud.http.get("/v1/tracks/1")
    assert answer.status_code == 404 and "/v1/tracks" in answer.json()["detail"]


async def test_events_and_exports_say_whose_a_detection_is(cloud: Running) -> None:
    async with cloud.edge() as edge:
        await edge.deliver(*(sight(cloud.bundle, i, [CAT, DOG] if i != 2 else []) for i in range(5)))
    jsonl = (await cloud.http.get("/v1/export", params={"format": "jsonl"})).text.splitlines()
    last = json.loads(jsonl[-1])
    assert sorted((d["label"], d["track_id"]) for d in last["detections"]) == [("cat", 1), ("dog", 2)]
    coco = await cloud.json("/v1/export", format="coco")
    assert [a.get("track_id") for a in coco["annotations"]].count(None) == 2
    async with cloud.http.stream("GET", "/v1/events", params={"after": 4}) as stream:
        async for line in stream.aiter_lines():
            if line.startswith("data:"):
                assert json.loads(line.removeprefix("data:")) == last
                break
    mot = (await cloud.http.get("/v1/export", params={"format": "mot"})).text.splitlines()
    assert len(mot) == 6
    x1, y1, *_ = tiny.box(0, 0)
    assert f"2,1,{x1:.1f},{y1:.1f},80.0,80.0,1.0,-1,-1,-1" in mot
    assert {int(line.split(",")[0]) for line in mot} == {2, 4, 5}, "an empty frame counts"
    dogs = (await cloud.http.get("/v1/export", params={"format": "mot", "label": "dog"})).text.splitlines()
    assert [line.split(",")[:2] for line in dogs] == [["2", "2"], ["4", "2"], ["5", "2"]]


async def test_mot_is_of_one_camera(cloud: Running) -> None:
    async with cloud.edge() as edge:
        await edge.deliver(*(sight(cloud.bundle, i, camera="ab"[i % 2]) for i in range(4)))
    assert (await cloud.http.get("/v1/export", params={"format": "mot"})).status_code == 422
    assert len((await cloud.http.get("/v1/export", params={"format": "mot", "camera": "a"})).text.splitlines()) == 1


async def test_a_restart_amid_a_stream_changes_nothing(start: Start, bundle: Bundle) -> None:
    """Two frames get no answer before the cloud stops: they are sent again, and one that has its result is, too."""
    epoch = str(uuid.uuid4())
    sent = [sight(bundle, i, [CAT] if i % 4 else [CAT, DOG]) for i in range(20)]
    async with start() as cloud:
        async with cloud.edge(epoch=epoch) as edge:
            await edge.deliver(*sent[:9])
            await edge.send(*sent[9:11])
        before = await ids(cloud)
    async with start() as cloud:
        async with cloud.edge(epoch=epoch) as edge:
            await edge.deliver(*sent[7:])
        after = await ids(cloud)
        assert after[: len(before)] == before
        assert (await cloud.json("/v1/tracks/1"))["frames"] == 19
    async with start(data_dir=cloud.parts.settings.data_dir.parent / "other") as whole:
        async with whole.edge() as edge:
            await edge.deliver(*sent)
        assert await ids(whole) == after, "as if it had never stopped"


# ---- the store, on both databases


def cat(bundle: Bundle, seq: int, x: float = 0, **fields: object) -> Result:
    one = result(bundle, seq, captured_us=200_000 * seq, **fields)
    return replace(one, detections=[Detection("cat", 0.9, (100 + x, 100.0, 180 + x, 180.0))])


def given(rows: Iterable[Any]) -> list[int | None]:
    return [row.found()[0].get("track_id") for row in rows]


async def count(store: Store, table: Any) -> int:
    async with store._engine.connect() as connection:
        return int((await connection.execute(select(func.count()).select_from(table))).scalar_one())


async def test_a_frame_counts_once_however_often_it_comes(store: Store, bundle: Bundle) -> None:
    sent = [cat(bundle, i) for i in range(6)]
    first = await store.insert(sent[:3])
    again = await store.insert([*sent, sent[5]])
    assert given([*first.new, *again.new]) == [None, 1, 1, 1, 1, 1]
    (track,) = await store.tracks(ALL, 10)
    assert (track.frames, track.last_number, json.loads(track.votes)) == (5, 6, {"cat": 5})
    assert len(await store.path(1, 100)) == 5


async def test_a_commit_that_fails_leaves_no_trace(store: Store, bundle: Bundle) -> None:
    await store.insert([cat(bundle, i) for i in range(3)])
    async with store._engine.begin() as connection:
        await connection.execute(text("ALTER TABLE sightings RENAME TO gone"))
    with pytest.raises(StoreError):
        await store.insert([cat(bundle, 3)])
    async with store._engine.begin() as connection:
        await connection.execute(text("ALTER TABLE gone RENAME TO sightings"))
    done = await store.insert([cat(bundle, i) for i in (3, 4)])
    assert given(done.new) == [1, 1]
    (track,) = await store.tracks(ALL, 10)
    assert track.frames == 4 and len(await store.path(1, 100)) == 4


async def test_one_refused_frame_takes_no_track_with_it(store: Store, bundle: Bundle) -> None:
    a, b = cat(bundle, 0), cat(bundle, 1)
    thief, c = cat(bundle, 2, id=a.frame.id), cat(bundle, 3)
    done = await store.insert([a, b, thief, c])
    assert given(done.new) == [None, 1, 1] and done.clashes == [thief]
    assert (await store.tracks(ALL, 10))[0].frames == 2


async def test_tracks_go_with_their_results_and_ids_do_not_come_back(
    store: Store, bundle: Bundle, database: str
) -> None:
    gone = [cat(bundle, i) for i in range(3)]
    stays = [cat(bundle, 1000 + i, x=10.0 * i) for i in range(6)]
    await store.insert(gone)
    await store.insert(stays)
    assert [t.id for t in await store.tracks(ALL, 10)] == [2, 1]
    assert await store.delete_older(2**62, limit=5) == 5
    (left,) = await store.tracks(ALL, 10)
    assert (left.id, left.frames) == (2, 5), "what was seen of it stands, though the path is shorter"
    assert len(await store.path(2, 100)) == 4 == await count(store, sightings)
    await store.delete_older(2**62)
    other = Store(database, 1 << 20)
    await other.open()
    fresh = await other.insert([cat(bundle, 5000 + i) for i in range(3)])
    await other.close()
    assert given(fresh.new) == [None, 3, 3]


async def test_ids_are_new_even_when_all_tracks_are_gone(store: Store, bundle: Bundle, database: str) -> None:
    await store.insert([cat(bundle, i) for i in range(3)])
    async with store._engine.begin() as connection:
        await connection.execute(tracks.delete())
        await connection.execute(sightings.delete())
    other = Store(database, 1 << 20)
    await other.open()
    done = await other.insert([cat(bundle, 3), *(cat(bundle, 900 + i) for i in range(2))])
    await other.close()
    assert given(done.new) == [1, None, 2]


async def test_an_id_is_new_though_its_track_came_and_went_in_one_commit(
    store: Store, bundle: Bundle, database: str
) -> None:
    passing = [cat(bundle, 0), cat(bundle, 1), replace(cat(bundle, 200), detections=[])]
    nobody = replace(cat(bundle, 201, camera="hall"), detections=[])
    assert given((await store.insert([*passing, nobody])).new[:2]) == [None, 1]
    assert await count(store, trackers) == 1, "photos without anybody beside them write no state"
    other = Store(database, 1 << 20)
    await other.open()
    assert given((await other.insert([cat(bundle, 300 + i, camera="yard") for i in range(2)])).new) == [None, 2]
    await other.close()
    assert [(t.id, t.camera) for t in await store.tracks(ALL, 10)] == [(2, "yard"), (1, "door")]


async def test_a_database_that_lost_count_of_its_ids_finds_it_again(
    store: Store, bundle: Bundle, database: str
) -> None:
    """As it was left once, when a track came and went in one commit."""
    await store.insert([cat(bundle, i) for i in range(3)])
    async with store._engine.begin() as connection:
        await connection.execute(trackers.delete())
    other = Store(database, 1 << 20)
    await other.open()
    assert given((await other.insert([cat(bundle, 300 + i, camera="yard") for i in range(2)])).new) == [None, 2]
    await other.close()


async def test_photos_without_anybody_write_no_state(store: Store, bundle: Bundle) -> None:
    await store.insert([replace(cat(bundle, i), detections=[]) for i in range(4)])
    assert await count(store, trackers) == 0


async def test_a_tracker_that_fails_costs_no_result(
    store: Store, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.insert([cat(bundle, i) for i in range(3)])

    def fail(*_: object) -> None:
        raise ArithmeticError

    with monkeypatch.context() as patched:
        patched.setattr(tracker, "step", fail)
        assert given((await store.insert([cat(bundle, 3)])).new) == [None]
    assert given((await store.insert([cat(bundle, 4), cat(bundle, 5)])).new) == [None, 2]


async def test_a_tracker_that_fails_for_one_camera_costs_the_others_nothing(
    store: Store, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def both(second: int) -> list[Result]:
        return [cat(bundle, 2 * second), cat(bundle, 2 * second + 1, x=500, camera="yard")]

    step = tracker.step

    def fail(state: Any, seen: Any, *others: Any) -> Any:
        if seen.boxes[0][0] > 500:
            raise ArithmeticError
        return step(state, seen, *others)

    for second in range(3):
        await store.insert(both(second))
    with monkeypatch.context() as patched:
        patched.setattr(tracker, "step", fail)
        assert given((await store.insert([*both(3), *both(4)])).new) == [1, None, 1, None]
    assert given((await store.insert([*both(5), *both(6)])).new) == [1, None, 1, 3]


async def test_a_camera_of_which_nothing_can_be_read_begins_anew(store: Store, bundle: Bundle) -> None:
    await store.insert([cat(bundle, i) for i in range(3)])
    async with store._engine.begin() as connection:
        await connection.execute(trackers.update().values(state='{"other": "version"}'))
    store._trackers._known.clear()
    assert given((await store.insert([cat(bundle, 3), cat(bundle, 4)])).new) == [None, 2]


# ---- what is known of a camera


def test_what_is_known_survives_as_text(bundle: Bundle) -> None:
    results = [cat(bundle, i, x=3.7 * i) for i in range(8)]
    place = tracker.place(results[0])
    whole = follow({}, results, 1)
    half = follow({}, results[:4], 1)
    there = Following.from_text(half.known[place].to_text())
    rest = follow({place: there}, results[4:], half.next_id)
    assert rest.known[place].to_text() == whole.known[place].to_text()
    assert rest.sightings == whole.sightings[4:]
    assert rest.known[place].votes == {1: {"cat": 7}}


def test_a_label_is_what_most_frames_say() -> None:
    assert tracker.label({"truck": 1, "car": 3}) == "car"
    assert tracker.label({"truck": 2, "car": 2}) == "truck"


async def test_frames_of_one_camera_wait_for_each_other(cloud: Running) -> None:
    """Many at once, as after an outage: in order all the same."""
    async with cloud.edge() as edge:
        assert isinstance(edge, Edge)
        sent = [sight(cloud.bundle, i, captured_unix_us=at(i / 25)) for i in range(60)]
        await asyncio.wait_for(edge.deliver(*sent), 60)
    assert await ids(cloud) == [[None], *[[1]] * 59]
