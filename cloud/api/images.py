"""/v1/frames/{id}/image: pixels on demand."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, Field

from cloud import regions
from cloud.api import formats
from cloud.api.problems import Problem, invalid, unavailable
from cloud.api.query import KNOWN_ONLY
from cloud.api.results import find, json_response
from cloud.encoded import MEDIA_TYPES, fitting
from cloud.frame import Original
from cloud.layers import Asked, Unavailable
from cloud.offers import Offer
from cloud.pixels import Held, Pixels, Ready
from cloud.replies import Refusal, unusable
from cloud.store import Record, Store, to_json
from cloud.synthesis import BusyError
from common.errors import BitstreamError, BundleError
from common.layers import BASE, MASK, NAMES

_RETRY_SECONDS = 1
_MOST_WAIT_SECONDS = 30.0
_WAIT = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(ms|s|)")
DAMAGED = "Midstream-Damaged-Tiles"
_OFFLINE_RETRY_SECONDS = 10
_UNLESS_BETTER_CAME = "private, no-cache"
_FOR_EVER = "private, max-age=31536000, immutable"


class HeldTiles(BaseModel):
    """How many tiles of a layer are here, of how many."""

    here: int
    of: int


class HeldLayer(BaseModel):
    """One layer of a frame: `here`, or at its edge until somebody asks."""

    name: str = Field(description=f"one of {', '.join(NAMES)}")
    here: bool = Field(description="all of it")
    bytes: int = Field(description="of what is here, 0 if nothing is")
    tiles: HeldTiles | None = Field(description="of a layer of which parts can be fetched, if any are here")


class HeldLayers(BaseModel):
    """All layers of a frame."""

    layers: list[HeldLayer]


ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {media_type: {} for media_type in MEDIA_TYPES.values()},
        "headers": {
            DAMAGED: {
                "description": "how many tiles of what is shown are damaged; what is below them is shown there",
                "schema": {"type": "integer"},
            }
        },
    },
    202: {"description": "the edge has been asked; come again"},
    304: {"description": "it is still what If-None-Match names"},
    404: {"description": "no such frame, or the frame has no such layer, track or label"},
    406: {"description": "none of the formats that are asked for, or the picture is too large for them"},
    409: {"description": "the frame's bundle is not here, or does not work, or the edge used another"},
    410: {"description": "the edge does not have it any more"},
    422: {"description": "a parameter is invalid, or what the edge sent is damaged: that may be asked for again"},
    502: {"description": "the edge failed to code the layer; it may be asked again"},
    503: {"description": "the edge is away, or too many pictures are being fetched, kept or made; come again"},
}


LayerName = Annotated[str, Query(max_length=32, description=f"one of {', '.join(NAMES)}")]
Form = Annotated[str | None, Query(max_length=32, description="jpeg, png or webp; without it, as Accept says")]
Quality = Annotated[
    int | None, Query(ge=1, le=65535, description="the least, on the scale of the layer; else its usual one")
]
Roi = Annotated[
    str | None,
    Query(
        max_length=128,
        description="the part of the picture to be shown in this layer, of one in tiles: x,y,width,height in pixels, "
        "track:ID, or label:NAME: around what was found; elsewhere what is below is shown",
    ),
]
MinScore = Annotated[float, Query(ge=0, le=1, description="of the detections that roi names")]
Wait = Annotated[str, Query(max_length=16, description="5s or 500ms, at most 30s: how long to wait before a 202")]


def router(store: Store, pixels: Pixels) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["pixels"])

    @routes.get("/v1/frames/{id}/layers", response_model=HeldLayers)
    async def layers(id: str) -> dict[str, Any]:  # noqa: A002 - the name in the path
        """Which layers a frame has, and which of them are here."""
        held = await pixels.held(await find(store, id))
        return {"layers": [_held(name, one) for name, one in held.items()]}

    @routes.get(
        "/v1/frames/{id}/image",
        response_class=Response,
        dependencies=[KNOWN_ONLY],
        responses=ANSWERS,
    )
    async def image(
        id: str,  # noqa: A002 - the name in the path
        layer: LayerName = "full",
        format: Form = None,  # noqa: A002 - the name in the query
        quality: Quality = None,
        roi: Roi = None,
        min_score: MinScore = 0.0,
        wait: Wait = "0",
        accept: Annotated[str | None, Header()] = None,
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> Response:
        """A frame as a picture. What is not here is fetched from the edge when somebody asks: 202 until it is.

        `base`: the least that shows something. `full`: the picture as the frame's codec has it; with a bundle that has
        no such layer, the original. `low`: the low frequencies of `full`. `clean`: without its noise, `noisy`: with it.
        `mask`: people and vehicles. `original`: the picture as the edge received it, byte for byte unless another
        format is asked for.
        """
        row = await find(store, id)
        offer = pixels.offer(row, layer, quality)
        if isinstance(offer, Refusal):
            raise refused(offer)
        # Of an original nobody knows yet what it came in: that needs no making over.
        form = _form(offer.name, format, accept, fitting(row.width, row.height) if offer.kinds else tuple(MEDIA_TYPES))
        ready = await pixels.wait(row, layer, quality, _regions(roi, row, offer, min_score), seconds(wait))
        if isinstance(ready, Asked):
            return _pending(row.edge)
        if isinstance(ready, Unavailable):
            raise unavailable("edge-unavailable", f"Cannot fetch it now: {ready.reason}.", _OFFLINE_RETRY_SECONDS)
        if isinstance(ready, Refusal):
            raise refused(ready, f"Layer {offer.name} of frame {row.id}: ")
        if isinstance(ready.made_of, Original):
            native = _native(ready.made_of, format, accept)
            form = native or _form(offer.name, format, accept, fitting(row.width, row.height))
        return await _shown(pixels, row, ready, form, if_none_match)

    return routes


def _held(name: str, held: Held) -> dict[str, Any]:
    tiles = None if held.tiles is None else {"here": held.tiles[0], "of": held.tiles[1]}
    return {"name": name, "here": held.whole, "bytes": held.bytes, "tiles": tiles}


def _regions(roi: str | None, row: Record, offer: Offer, min_score: float) -> regions.Regions | None:
    if roi is None:
        return None
    # Of a layer without tiles there are no parts, wherever they are.
    wanted = regions.wanted(roi, row, min_score) if offer.tiled else ()
    if isinstance(wanted, Refusal):
        raise refused(wanted)
    return wanted


def seconds(text: str) -> float:
    """What `wait` says, no more than it may be. Raises Problem."""
    if not (found := _WAIT.fullmatch(text)):
        raise invalid("wait", f"a duration such as 5s or 500ms, at most {_MOST_WAIT_SECONDS:.0f}s")
    return min(_MOST_WAIT_SECONDS, float(found[1]) / (1000 if found[2] == "ms" else 1))


def _form(name: str, named: str | None, accept: str | None, possible: tuple[str, ...]) -> str:
    preferred = formats.DRAWING if name == MASK else formats.PHOTO
    return formats.choose(named, accept, [form for form in preferred if form in possible])


def _native(original: Original, named: str | None, accept: str | None) -> str | None:
    """The form of an original that may be sent as it is."""
    form = next((form for form, media_type in MEDIA_TYPES.items() if media_type == original.content_type), None)
    if named is None:
        return form if formats.admitted(accept, original.content_type) else None
    return form if form == named else None


async def _shown(pixels: Pixels, row: Record, ready: Ready, form: str, if_none_match: str | None) -> Response:
    # Weak: another build of the decoder may differ in the last bit of a pixel.
    etag = f'W/"{ready.digest[:32]}-{form}"'
    # An original and a base layer never change; of another layer a better one may come.
    fixed = isinstance(ready.made_of, Original) or ready.offer.name == BASE
    headers = {
        "ETag": etag,
        "Cache-Control": _FOR_EVER if fixed else _UNLESS_BETTER_CAME,
        "Vary": "Accept",
        "X-Content-Type-Options": "nosniff",
    }
    if ready.damaged:
        headers[DAMAGED] = str(ready.damaged)
    if if_none_match and etag.removeprefix("W/") in if_none_match:
        return Response(status_code=304, headers=headers)
    return Response(await _file(pixels, row, ready, form), media_type=MEDIA_TYPES[form], headers=headers)


async def _file(pixels: Pixels, row: Record, ready: Ready, form: str) -> bytes:
    try:
        return await pixels.file(row, ready, form)
    except BusyError as e:
        raise unavailable("too-many-pictures", f"{e}.", _RETRY_SECONDS) from e
    except BundleError as e:
        raise refused(unusable(e)) from e
    except BitstreamError as e:
        again = " Ask again, and its edge is asked again." if ready.offer.kinds else ""
        detail = f"Layer {ready.offer.name} of frame {row.id} is damaged: {e}.{again}"
        raise Problem(422, "layer-damaged", detail) from e


def refused(refusal: Refusal, subject: str = "") -> Problem:
    """The problem that says so."""
    again = {} if refusal.final or not subject else {"Retry-After": str(_RETRY_SECONDS + 1)}
    reason = refusal.reason if refusal.reason.endswith(".") else f"{refusal.reason}."
    return Problem(refusal.status, refusal.name, subject + reason, headers=again)


def _pending(edge: str) -> Response:
    response = json_response(to_json({"status": "fetching", "edge": edge, "retry_after": _RETRY_SECONDS}))
    response.status_code = 202
    response.headers["Retry-After"] = str(_RETRY_SECONDS)
    response.headers["Cache-Control"] = "no-store"
    return response
