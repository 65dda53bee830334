"""How an edge that knows only this address learns what to run (BundleService of stream.proto)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from cloud.registry import Registry
from common.bundle import Bundle
from common.errors import BundleError
from common.wire import stream_pb2 as wire
from common.wire import stream_pb2_grpc

_CHUNK = 1 << 16


class BundleService(stream_pb2_grpc.BundleServiceServicer):  # type: ignore[misc]
    """Serves what the registry has verified."""

    def __init__(self, registry: Registry, asked: Callable[[Bundle], None] = lambda bundle: None) -> None:
        self._registry = registry
        self._asked = asked
        """Hears which bundle an edge asks for by its name: frames of it are about to come."""

    async def GetCurrentBundle(self, request: Any, context: Any) -> wire.GetCurrentBundleResponse:  # noqa: N802
        """Digest and manifest of the bundle that new frames should be coded with, or of the one with this name."""
        registry = self._registry
        bundle = registry.by_name.get(request.name) if request.name else registry.current
        if bundle is None:
            there = ", ".join(sorted(registry.by_name))
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no bundle {request.name!r:.80} here; there are {there}")
        assert bundle is not None
        try:
            manifest = await asyncio.to_thread(registry.manifest, bundle)
        except (BundleError, OSError) as e:
            await context.abort(grpc.StatusCode.DATA_LOSS, str(e))
            raise AssertionError("unreachable") from e
        if request.name:
            self._asked(bundle)
        return wire.GetCurrentBundleResponse(digest=bundle.digest, manifest=manifest)

    async def ListBundles(self, _: Any, context: Any) -> wire.ListBundlesResponse:  # noqa: N802
        """What can be asked for by name."""
        found = self._registry.by_name
        named = [
            wire.BundleName(name=name, version=found[name].manifest.version, digest=found[name].digest)
            for name in sorted(found)
        ]
        return wire.ListBundlesResponse(bundles=named)

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
