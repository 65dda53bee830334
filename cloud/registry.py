"""The bundles this cloud holds: verified when it starts, found by digest, prefix or name."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

from common import bundle as bundles
from common.bundle import Bundle
from common.errors import BundleError

_DIGEST = re.compile(r"^[0-9a-f]{64}$")
_DEFAULT_NAME = "embedded"


class Registry:
    """Bundles by digest, and which of them edges should use."""

    def __init__(self, held: Iterable[Bundle], current: str = "") -> None:
        self._by_digest = {bundle.digest: bundle for bundle in held}
        self._by_prefix = {bundle.prefix: bundle for bundle in self._by_digest.values()}
        if len(self._by_prefix) != len(self._by_digest):
            raise BundleError("two bundles share the first 8 bytes of their digests: packets could not tell them apart")
        self.current = self._choose(current)

    @classmethod
    def load(cls, folder: Path, current: str = "") -> Self:
        """All folders named by a digest, every file verified. Raises BundleError naming what is wrong and where."""
        try:
            paths = sorted(p for p in folder.iterdir() if _DIGEST.match(p.name))
        except OSError as e:
            raise BundleError(f"cannot read the bundles in {folder}: {e.strerror or e}") from e
        if not paths:
            raise BundleError(f"no bundle in {folder}: a bundle is a folder named by its digest, 64 hex digits")
        return cls([bundles.load(path, "both", expected=path.name) for path in paths], current)

    def __iter__(self) -> Iterator[Bundle]:
        return iter(self._by_digest.values())

    def get(self, digest: str) -> Bundle | None:
        """The bundle with this digest."""
        return self._by_digest.get(digest)

    def by_prefix(self, prefix: bytes) -> Bundle | None:
        """The bundle that a container names by the first bytes of its digest."""
        return self._by_prefix.get(prefix)

    def manifest(self, bundle: Bundle) -> bytes:
        """bundle.toml, byte for byte, as it was verified."""
        raw = (bundle.path / bundles.MANIFEST).read_bytes()
        bundles.parse_manifest(raw, expected=bundle.digest)
        return raw

    def file(self, bundle: Bundle, name: str) -> bytes:
        """A file of a bundle, verified again: what is sent is what the manifest says. Raises BundleError."""
        if name == bundles.MANIFEST:
            return self.manifest(bundle)
        content = bundle.file(name).read_bytes()
        bundles.verify_file(content, name, bundle.manifest.files[name])
        return content

    def _choose(self, wanted: str) -> Bundle:
        if not wanted:
            named = [b for b in self if b.manifest.name == _DEFAULT_NAME]
            fit = named if len(self._by_digest) > 1 else list(self)
        else:
            fit = [b for b in self if b.manifest.name == wanted or b.digest.startswith(wanted)]
        if len(fit) == 1:
            return fit[0]
        problem = "none" if not fit else "several"
        raise BundleError(
            f"{problem} of the bundles is {wanted or _DEFAULT_NAME!r}; set MIDSTREAM_CLOUD_BUNDLE to one of: "
            + ", ".join(f"{b.digest[:12]} ({b.manifest.name} {b.manifest.version})" for b in self)
        )
