"""application/problem+json (RFC 9457): one shape for everything that goes wrong over HTTP."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
_BY_STATUS = {
    400: "malformed",
    404: "not-found",
    405: "method-not-allowed",
    408: "too-slow",
    413: "too-large",
    415: "unsupported-media-type",
    422: "unprocessable",
    429: "busy",
    500: "internal",
    502: "refused-by-cloud",
    503: "unavailable",
}


def problem(
    status: int, detail: str, kind: str | None = None, headers: Mapping[str, str] | None = None, **members: Any
) -> Response:
    """The answer for one problem. `kind` is the stable name in `type`; `detail` says what would help."""
    name = kind or _BY_STATUS.get(status, "error")
    title = HTTPStatus(status).phrase
    body = {"type": f"urn:midstream:problem:{name}", "title": title, "status": status, "detail": detail, **members}
    return Response(json.dumps(body), status, headers, MEDIA_TYPE)


SCHEMA: dict[str, Any] = {
    "description": "What went wrong and what would help (RFC 9457).",
    "content": {
        MEDIA_TYPE: {
            "schema": {
                "type": "object",
                "required": ["type", "title", "status", "detail"],
                "properties": {
                    "type": {"type": "string", "format": "uri"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                },
            }
        }
    },
}
"""For OpenAPI."""
