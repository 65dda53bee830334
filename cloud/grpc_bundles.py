"""How an edge that knows only this address learns what to run (BundleService of stream.proto)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from cloud.registry import Registry
from common.errors import BundleError
from common.wire import stream_pb2 as wire
from common.wire import stream_pb2_grpc

_CHUNK = 1 << 20


class BundleService(stream_pb2_grpc.BundleServiceServicer):  # type: ignore[misc]
    """Serves what the registry has verified."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def GetCurrentBundle(self, _: Any, context: Any) -> wire.GetCurrentBundleResponse:  # noqa: N802
        """Digest and manifest of the bundle that new frames should be coded with."""
        current = self._registry.current
        try:
            return wire.GetCurrentBundleResponse(digest=current.digest, manifest=self._registry.manifest(current))
        except (BundleError, OSError) as e:
            await context.abort(grpc.StatusCode.DATA_LOSS, str(e))
            raise AssertionError("unreachable") from e

    async def FetchFile(self, request: Any, context: Any) -> AsyncIterator[wire.FetchFileResponse]:  # noqa: N802
        """One file in chunks. An empty file is one empty chunk."""
        content = await self._content(request, context)
        for start in range(0, max(1, len(content)), _CHUNK):
            yield wire.FetchFileResponse(chunk=content[start : start + _CHUNK])

    async def _content(self, request: Any, context: Any) -> bytes:
        bundle = self._registry.get(request.digest)
        if bundle is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no bundle {request.digest!r:.80} here")
        elif request.name not in bundle.manifest.files:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"{bundle!r} has no file {request.name!r:.80}")
        try:
            assert bundle is not None
            return await asyncio.to_thread(self._registry.file, bundle, request.name)
        except (BundleError, OSError) as e:
            await context.abort(grpc.StatusCode.DATA_LOSS, str(e))
            raise AssertionError("unreachable") from e
