"""Is it alive, is it ready, what does it count."""

from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from cloud.api.problems import Problem, unavailable
from cloud.links import Links
from cloud.pipeline import Pipeline
from cloud.store import Store, StoreError
from common.telemetry import Metrics


def router(store: Store, pipeline: Pipeline, links: Links, metrics: Metrics) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["health"])

    @routes.get("/livez")
    @routes.get("/v2/health/live", include_in_schema=False)
    async def live() -> dict[str, str]:
        """Whether the process is worth keeping."""
        if not pipeline.alive:
            raise Problem(503, "not-alive", "The engine has stopped; restart the process.")
        return {"status": "ok"}

    @routes.get("/readyz")
    @routes.get("/healthz")
    @routes.get("/v2/health/ready", include_in_schema=False)
    async def ready() -> dict[str, Any]:
        """Whether frames get through: the engine runs and the database answers."""
        await live()
        try:
            await store.ping()
        except StoreError as e:
            raise unavailable("not-ready", f"{e}.", 5) from e
        return {"status": "ok", "edges": len(links), "results": store.last_number}

    @routes.get("/metrics", response_class=Response)
    async def prometheus() -> Response:
        """Prometheus text format."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return routes
