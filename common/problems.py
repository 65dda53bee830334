"""application/problem+json (RFC 9457): the one shape in which both services say over HTTP that something went wrong."""

from http import HTTPStatus
from typing import Any

MEDIA_TYPE = "application/problem+json"

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


def body(status: int, name: str, detail: str, **members: Any) -> dict[str, Any]:
    """A problem. `name` is the stable end of its type; `detail` says what would help."""
    title = HTTPStatus(status).phrase
    return {"type": f"urn:midstream:problem:{name}", "title": title, "status": status, "detail": detail, **members}
