"""/v1/frames/{id}/image: pixels on demand."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from cloud.api.problems import Problem, not_found, unavailable
from cloud.api.results import find, json_response
from cloud.layers import LAYERS, Asked, Gone, Layers
from cloud.store import Picture, Store, to_json

_RETRY_SECONDS = 1
_OFFLINE_RETRY_SECONDS = 10


def router(store: Store, layers: Layers) -> APIRouter:
    """The route."""
    routes = APIRouter(tags=["pixels"])

    @routes.get(
        "/v1/frames/{id}/image",
        response_class=Response,
        responses={
            200: {"content": {"image/jpeg": {}, "image/png": {}, "image/webp": {}}},
            202: {"description": "the edge has been asked; come again"},
            410: {"description": "the edge does not have it any more"},
            503: {"description": "the edge is not connected"},
        },
    )
    async def image(
        id: str,  # noqa: A002 - the name in the path
        layer: Annotated[str, Query(max_length=32)] = "full",
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> Response:
        """The picture as the edge received it. It is fetched when somebody asks: 202 until it is here."""
        if layer not in LAYERS:
            raise not_found(f"There is no layer {layer!r}; there is {', '.join(LAYERS)}.")
        # Looked at first: what is being fetched now may arrive just after the store said that it is not there.
        fetching = layers.fetching(id.lower(), layer)
        picture = await store.picture(id.lower(), layer)
        if picture:
            return _shown(picture, if_none_match)
        row = await find(store, id)
        if fetching:
            return _pending(row.edge)
        state = layers.want(row.edge, row.id, layer)
        if isinstance(state, Gone):
            raise Problem(410, "pixels-gone", f"Layer {layer} of frame {row.id} is gone: {state.reason}.")
        if isinstance(state, Asked):
            return _pending(row.edge)
        raise unavailable("edge-unavailable", f"Cannot fetch it now: {state.reason}.", _OFFLINE_RETRY_SECONDS)

    return routes


def _shown(picture: Picture, if_none_match: str | None) -> Response:
    etag = f'"{picture.sha256}"'
    # A frame never changes, so whoever has it need not ask again.
    headers = {
        "ETag": etag,
        "Cache-Control": "private, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
    }
    if if_none_match and etag in if_none_match:
        return Response(status_code=304, headers=headers)
    return Response(picture.data, media_type=picture.content_type, headers=headers)


def _pending(edge: str) -> Response:
    response = json_response(to_json({"status": "fetching", "edge": edge, "retry_after": _RETRY_SECONDS}))
    response.status_code = 202
    response.headers["Retry-After"] = str(_RETRY_SECONDS)
    response.headers["Cache-Control"] = "no-store"
    return response
