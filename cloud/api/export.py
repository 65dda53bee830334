"""/v1/export: results as COCO, as JSON lines or in the form of the MOT Challenge, streamed a page at a time."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from cloud.api.problems import invalid
from cloud.api.query import KNOWN_ONLY, Filtered
from cloud.api.results import shown
from cloud.api.shapes import Shapes, timestamp
from cloud.registry import Registry
from cloud.store import Filters, Record, Store, to_json

_CHUNK = 64 * 1024


def router(store: Store, registry: Registry, shapes: Shapes) -> APIRouter:
    """The route."""
    routes = APIRouter(tags=["results"])

    @routes.get("/v1/export", response_class=StreamingResponse, dependencies=[KNOWN_ONLY])
    async def export(
        filters: Filtered,
        format: Annotated[Literal["coco", "jsonl", "mot"], Query()],  # noqa: A002 - the name in the URL
    ) -> StreamingResponse:
        """All results that match and are stored by now, oldest first; `mot` is the tracks of one camera."""
        upto = store.last_number
        if format == "jsonl":
            return _download(_jsonl(store, shapes, filters, upto), "application/jsonl", "results.jsonl")
        if format == "mot":
            await _check_one_camera(store, filters)
            return _download(_mot(store, filters, upto), "text/plain", "results.mot.txt")
        return _download(_coco(store, registry, filters, upto), "application/json", "results.coco.json")

    return routes


def _download(pieces: AsyncIterator[str], media_type: str, name: str) -> StreamingResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(_chunks(pieces), media_type=media_type, headers=headers)


async def _chunks(pieces: AsyncIterator[str]) -> AsyncIterator[bytes]:
    """Fewer, larger writes."""
    held: list[str] = []
    size = 0
    async for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= _CHUNK:
            yield "".join(held).encode()
            held, size = [], 0
    yield "".join(held).encode()


async def _jsonl(store: Store, shapes: Shapes, filters: Filters, upto: int) -> AsyncIterator[str]:
    async for row in store.every(filters, upto):
        yield shown(shapes, row, filters) + "\n"


async def _coco(store: Store, registry: Registry, filters: Filters, upto: int) -> AsyncIterator[str]:
    # Two passes over rows that never change, so that nothing is held but the categories. The oldest may be deleted
    # between the passes: then an image has no annotations, never the other way round.
    categories = Categories(registry)
    yield '{"info":{"description":"Results of Midstream","version":"1"},"images":['
    comma = ""
    async for row in store.every(filters, upto):
        yield comma + to_json(_image(row))
        comma = ","
    yield '],"annotations":['
    comma, number = "", 0
    async for row in store.every(filters, upto):
        for d in filter(filters.matches, row.found()):
            number += 1
            yield comma + to_json(_annotation(number, row.number, categories.id_of(d["label"]), d))
            comma = ","
    yield f'],"categories":{to_json(categories.table())}}}'


async def _check_one_camera(store: Store, filters: Filters) -> None:
    """Frames are numbered in this format: of two cameras they would be mixed. Raises Problem."""
    cameras = [
        camera
        for camera in await store.cameras()
        if (not filters.cameras or camera.camera in filters.cameras)
        and (not filters.edges or camera.edge in filters.edges)
    ]
    if len(cameras) > 1:
        raise invalid("camera", f"{len(cameras)} cameras match; format=mot is of one: name its camera and its edge")


async def _mot(store: Store, filters: Filters, upto: int) -> AsyncIterator[str]:
    # Frames are counted from 1 whether anything is found in them or not: filters for detections choose lines only.
    frame = 0
    async for row in store.every(replace(filters, labels=(), min_score=None), upto):
        frame += 1
        for d in filter(filters.matches, row.found()):
            if "track_id" in d:
                x1, y1, x2, y2 = d["box"]
                box = f"{x1},{y1},{round(x2 - x1, 2)},{round(y2 - y1, 2)}"
                yield f"{frame},{d['track_id']},{box},{d['score']},-1,-1,-1\n"


def _image(row: Record) -> dict[str, Any]:
    return {
        "id": row.number,
        "file_name": f"{row.id}.jpg",
        "width": row.width,
        "height": row.height,
        "date_captured": timestamp(row.captured_us),
        "coco_url": f"/v1/frames/{row.id}/image",
        "frame_id": row.id,
        "camera": row.camera,
        "edge": row.edge,
    }


def _annotation(number: int, image: int, category: int, d: dict[str, Any]) -> dict[str, Any]:
    x1, y1, x2, y2 = d["box"]
    width, height = round(x2 - x1, 2), round(y2 - y1, 2)
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": [x1, y1, width, height],
        "area": round(width * height, 2),
        "iscrowd": 0,
        "score": d["score"],
        **({"track_id": d["track_id"]} if "track_id" in d else {}),
    }


class Categories:
    """COCO's category ids: the bundles' own, else the next free number."""

    def __init__(self, registry: Registry) -> None:
        self._ids: dict[str, int] = {}
        for bundle in registry:
            detector = bundle.manifest.detector
            for label, number in zip(detector.labels, detector.coco_ids, strict=False):
                if number not in self._ids.values():  # two bundles may number differently; who comes first is right
                    self._ids.setdefault(label, number)
        for bundle in registry:
            for label in bundle.manifest.detector.labels:
                self.id_of(label)

    def id_of(self, label: str) -> int:
        """The id of a label, a new one if no bundle here knows it."""
        if label not in self._ids:
            self._ids[label] = max(self._ids.values(), default=0) + 1
        return self._ids[label]

    def table(self) -> list[dict[str, Any]]:
        """COCO's `categories`."""
        return [{"id": number, "name": label} for label, number in sorted(self._ids.items(), key=lambda x: x[1])]
