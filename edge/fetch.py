"""Bundles from the cloud to this edge's disk, verified before anything of them is used.

data_dir/bundles/<digest>/     verified content
data_dir/bundles/current       the digest to start with while the cloud cannot be asked
data_dir/bundles/codec-<name>  the same for each name that was chosen for a camera
data_dir/bundles/partial/      files of a bundle of which others have not come yet, by their SHA-256
"""

import asyncio
import contextlib
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import structlog

from common import bundle as bundles
from common.bundle import Bundle, File, Manifest
from common.errors import BundleError
from common.wire import stream_pb2 as pb
from common.wire import stream_pb2_grpc as rpc
from edge import kept

ASK_SECONDS = 5.0
SILENCE_S = 120.0
"""How long nothing may come of a file. A cloud sends 64 KiB at once: at LEAST_RATE that takes 32 s."""
LEAST_RATE = 2048
"""Bytes a second that a file must come with in the long run. A link that has less could not carry a frame a second."""
MAX_BUNDLE_BYTES = 256 << 20
"""Of the edge's files together: they pass through memory on their way to disk."""
_CODEC = "codec-"

log = structlog.get_logger(__name__)


class Cache:
    """The bundles on disk, and what each name stood for when the cloud was last asked. No name: the current bundle."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._partial = folder / "partial"

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
        if self._digest(pointer) != digest:
            kept.write(pointer, digest)

    def find(self, name: str, file: File) -> bytes | None:
        """This file, verified, from whichever bundle has it, or from one that did not come whole."""
        for path in self.folder.glob("*/*"):
            with contextlib.suppress(OSError, BundleError):
                if path.stat().st_size == file.bytes:
                    content = path.read_bytes()
                    bundles.verify_file(content, name, file)
                    return content
        return None

    def put_aside(self, content: bytes, file: File) -> None:
        """Keep a file for `find` until the rest of its bundle is here. Raises OSError."""
        self._partial.mkdir(parents=True, exist_ok=True)
        if sum(path.stat().st_size for path in self._partial.iterdir()) + file.bytes > MAX_BUNDLE_BYTES:
            self.tidy_up()
            self._partial.mkdir()
        (self._partial / file.sha256).write_bytes(content)  # cut short, it is not found

    def tidy_up(self) -> None:
        """Remove what was put aside."""
        shutil.rmtree(self._partial, ignore_errors=True)

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
    files = {name: await _file(channel, cache, offer.digest, name, file) for name, file in wanted.items()}
    log.info("bundle fetched", digest=offer.digest, name=offer.manifest.name, bytes=total)
    bundle = await asyncio.to_thread(bundles.store, cache.folder, offer.raw, files, offer.digest, offer.manifest)
    await asyncio.to_thread(cache.tidy_up)
    return bundle


async def _file(channel: grpc.aio.Channel, cache: Cache, digest: str, name: str, file: File) -> bytes:
    """Bundles share files, and a link may last for one file and not for all: what is here does not travel again."""
    if (known := await asyncio.to_thread(cache.find, name, file)) is not None:
        return known
    content = await _fetched(channel, digest, name, file)
    bundles.verify_file(content, name, file)
    await asyncio.to_thread(cache.put_aside, content, file)
    return content


async def _fetched(channel: grpc.aio.Channel, digest: str, name: str, file: File) -> bytes:
    """As it comes, however long that takes: not below LEAST_RATE, and never silent for longer than SILENCE_S."""
    content, clock = bytearray(), asyncio.get_running_loop()
    longest = clock.time() + SILENCE_S
    try:
        async with asyncio.timeout(SILENCE_S) as limit:
            async for part in rpc.BundleServiceStub(channel).FetchFile(pb.FetchFileRequest(digest=digest, name=name)):
                content += part.chunk
                if len(content) > file.bytes:
                    raise BundleError(f"{name} is longer than the {file.bytes} bytes its manifest says")
                limit.reschedule(min(clock.time() + SILENCE_S, longest + len(content) / LEAST_RATE))
    except TimeoutError:
        raise BundleError(f"{name} comes too slowly: {len(content)} of its {file.bytes} bytes are here") from None
    return bytes(content)
