"""/v1/bundles: what edges run, for people and for edges behind HTTP."""

import asyncio
from typing import Any

from fastapi import APIRouter, Response

from cloud.api.problems import Problem, not_found
from cloud.registry import Registry
from common.bundle import MANIFEST, Bundle
from common.errors import BundleError


def router(registry: Registry) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["bundles"])

    @routes.get("/v1/bundles")
    async def bundles() -> dict[str, Any]:
        """All bundles here. Edges are told to use `current`."""
        return {"current": registry.current.digest, "bundles": [_summary(bundle) for bundle in registry]}

    @routes.get("/v1/bundles/{digest}")
    async def bundle(digest: str) -> dict[str, Any]:
        """The manifest of one bundle."""
        found = _find(registry, digest)
        return {"digest": found.digest, **found.manifest.model_dump(mode="json")}

    @routes.get("/v1/bundles/{digest}/{file}", response_class=Response)
    async def content(digest: str, file: str) -> Response:
        """One file of a bundle, byte for byte; `bundle.toml` is the manifest that the digest is of."""
        found = _find(registry, digest)
        if file != MANIFEST and file not in found.manifest.files:
            there = ", ".join((MANIFEST, *found.manifest.files))
            raise not_found(f"No file {file[:64]!r} in this bundle; it has {there}.")
        try:
            data = await asyncio.to_thread(registry.file, found, file)
        except (BundleError, OSError) as e:
            raise Problem(500, "bundle-damaged", f"{e}. Restore the bundle's folder.") from e
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(data, media_type="application/octet-stream", headers=headers)

    return routes


def _find(registry: Registry, digest: str) -> Bundle:
    found = registry.get(digest)
    if found is None:
        raise not_found(f"No bundle {digest[:64]!r} here; /v1/bundles lists those there are, by their whole digest.")
    return found


def _summary(bundle: Bundle) -> dict[str, Any]:
    m = bundle.manifest
    return {
        "digest": bundle.digest,
        "name": m.name,
        "version": m.version,
        "description": m.description,
        "detector": m.detector.name,
        "labels": len(m.detector.labels),
        "modes": m.modes,
        "operating_points": [point.model_dump() for point in m.operating_points],
    }
