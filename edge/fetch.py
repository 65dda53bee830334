"""Bundles from the cloud to this edge's disk, verified before anything of them is used.

data_dir/bundles/<digest>/     verified content
data_dir/bundles/current       the digest to start with while the cloud cannot be asked
data_dir/bundles/codec-<name>  the same for each name that was chosen for a camera
"""

import asyncio
import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import structlog

from common import bundle as bundles
from common.bundle import Bundle, Manifest
from common.errors import BundleError
from common.wire import stream_pb2 as pb
from common.wire import stream_pb2_grpc as rpc

ASK_SECONDS = 5.0
FETCH_SECONDS = 120.0
MAX_BUNDLE_BYTES = 256 << 20
"""Of the edge's files together: they pass through memory on their way to disk."""
_CODEC = "codec-"

log = structlog.get_logger(__name__)


class Cache:
    """The bundles on disk, and what each name stood for when the cloud was last asked. No name: the current bundle."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, digest: str) -> Bundle | None:
        """This bundle, verified, or None. What does not verify is removed, so that it can be fetched again."""
        path = self.folder / digest
        if not path.exists():
            return None
        try:
            return bundles.load(path, "edge", digest)
        except BundleError as e:
            log.warning("the cached bundle is damaged and was removed", digest=digest, error=str(e))
            shutil.rmtree(path, ignore_errors=True)
            return None

    def by_prefix(self, prefix: bytes) -> Bundle | None:
        """The bundle whose digest begins so, verified, or None."""
        start = prefix.hex()
        names = [digest for digest in self.digests() if digest.startswith(start)]
        return self.get(names[0]) if names else None

    def digests(self) -> set[str]:
        """Of all bundles on disk."""
        return {path.name for path in self.folder.glob("*/") if len(path.name) == 64}

    def recall(self, name: str = "") -> Bundle | None:
        """The bundle that was remembered by this name."""
        digest = self._digest(self._pointer(name))
        return self.get(digest) if digest else None

    def remember(self, digest: str, name: str = "") -> None:
        """Use this one by this name as long as the cloud cannot be asked."""
        self.folder.mkdir(parents=True, exist_ok=True)
        pointer = self._pointer(name)
        if self._digest(pointer) == digest:
            return
        scratch = self.folder / f".{pointer.name}"
        with scratch.open("w") as f:
            f.write(digest)
            f.flush()
            os.fsync(f.fileno())
        scratch.replace(pointer)

    def keep(self, names: Collection[str]) -> set[str]:
        """Forget all names but these and the current bundle's. The digests that are still remembered."""
        kept = {self._pointer(name) for name in ("", *names)}
        for pointer in self.folder.glob(f"{_CODEC}*"):
            if pointer not in kept:
                pointer.unlink(missing_ok=True)
        return {self._digest(pointer) for pointer in kept} - {""}

    def drop(self, digests: Collection[str]) -> None:
        """Remove these bundles."""
        for digest in digests:
            log.info("a bundle that nobody needs any more is removed", digest=digest)
            shutil.rmtree(self.folder / digest, ignore_errors=True)

    def _pointer(self, name: str) -> Path:
        return self.folder / (f"{_CODEC}{name}" if name else "current")

    def _digest(self, pointer: Path) -> str:
        try:
            digest = pointer.read_text().strip()
        except (OSError, UnicodeDecodeError):
            return ""
        return digest if len(digest) == 64 and digest.isalnum() else ""


async def names(channel: grpc.aio.Channel) -> dict[str, str]:
    """The names of the bundles that the cloud holds, and their digests. Raises grpc.aio.AioRpcError."""
    answer = await rpc.BundleServiceStub(channel).ListBundles(pb.ListBundlesRequest(), timeout=ASK_SECONDS)
    return {each.name: each.digest for each in answer.bundles}


@dataclass(frozen=True, slots=True)
class Offer:
    """A bundle that the cloud holds; `raw` is the manifest, byte for byte."""

    digest: str
    manifest: Manifest
    raw: bytes


async def ask(channel: grpc.aio.Channel, name: str = "") -> Offer:
    """The cloud's current bundle, or the one of this name.

    Raises BundleError, or grpc.aio.AioRpcError: NOT_FOUND if the cloud holds none of this name.
    """
    request = pb.GetCurrentBundleRequest(name=name)
    answer = await rpc.BundleServiceStub(channel).GetCurrentBundle(request, timeout=ASK_SECONDS)
    digest, manifest = bundles.parse_manifest(answer.manifest, answer.digest)
    if name and manifest.name != name:  # a cloud that is older than names answers with its current bundle
        raise BundleError(f"asked for {name!r} the cloud gives {manifest.name!r}: it must be updated")
    return Offer(digest, manifest, answer.manifest)


async def download(channel: grpc.aio.Channel, cache: Cache, offer: Offer) -> Bundle:
    """What was offered, on disk now. Raises BundleError, OSError or grpc.aio.AioRpcError."""
    wanted = {n: f for n, f in offer.manifest.files.items() if f.side in ("edge", "both")}
    if (total := sum(f.bytes for f in wanted.values())) > MAX_BUNDLE_BYTES:
        raise BundleError(f"the bundle's edge files have {total} bytes, more than {MAX_BUNDLE_BYTES}")
    stub = rpc.BundleServiceStub(channel)
    files = {n: await _fetch_file(stub, offer.digest, n, f) for n, f in wanted.items()}
    log.info("bundle fetched", digest=offer.digest, name=offer.manifest.name, bytes=total)
    return await asyncio.to_thread(bundles.store, cache.folder, offer.raw, files, offer.digest, offer.manifest)


async def _fetch_file(stub: rpc.BundleServiceStub, digest: str, name: str, file: bundles.File) -> bytes:
    content = bytearray()
    async for part in stub.FetchFile(pb.FetchFileRequest(digest=digest, name=name), timeout=FETCH_SECONDS):
        content += part.chunk
        if len(content) > file.bytes:
            raise BundleError(f"{name} is longer than the {file.bytes} bytes its manifest says")
    bundles.verify_file(bytes(content), name, file)
    return bytes(content)
