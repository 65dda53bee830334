"""The bundles this cloud holds: verified when it starts, found by digest, prefix or name.

Edges are told to use one of those the operator chose. Those that come with the program are held too: after a change
of bundle, frames coded with the one before are still in spools and on their way.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

from common import bundle as bundles
from common.bundle import Bundle
from common.codec.container import PREFIX_BYTES
from common.errors import BundleError

_DIGEST = re.compile(r"^[0-9a-f]{64}$")
_DEFAULT_NAME = "embedded"


class Registry:
    """Bundles by digest, and which of them edges should use."""

    def __init__(self, chosen: Iterable[Bundle], current: str = "", others: Iterable[Bundle] = ()) -> None:
        self._chosen = {bundle.digest: bundle for bundle in chosen}
        self._by_digest = self._chosen | {b.digest: b for b in others if b.digest not in self._chosen}
        self._by_prefix = {bundle.prefix: bundle for bundle in self._by_digest.values()}
        if len(self._by_prefix) != len(self._by_digest):
            raise BundleError(
                f"two bundles share the first {PREFIX_BYTES} bytes of their digests, so packets could not tell them "
                "apart: build one of them again with another version"
            )
        self.current = self._choose(current)
        self.by_name = self._named()
        """The bundle that each name stands for, when somebody chooses a codec for a camera."""

    @classmethod
    def load(cls, folder: Path, current: str = "", packaged: Path | None = None) -> Self:
        """All folders named by a digest, every file verified; of `packaged`, if it is there, for decoding only.

        Raises BundleError naming what is wrong and where.
        """
        chosen = _in(folder)
        if not chosen:
            raise BundleError(f"no bundle in {folder}: a bundle is a folder named by its digest, 64 hex digits")
        others = packaged if packaged and packaged.is_dir() and not packaged.samefile(folder) else None
        return cls(chosen, current, _in(others) if others else ())

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

    def _named(self) -> dict[str, Bundle]:
        """The current bundle of its name, then those of the chosen folder; there the highest version, then the newest.

        The older ones beside them are for frames that were coded before.
        """
        rising = sorted(self, key=lambda b: (b.digest in self._chosen, *_age(b)))
        return {bundle.manifest.name: bundle for bundle in [*rising, self.current]}

    def _choose(self, wanted: str) -> Bundle:
        chosen = list(self._chosen.values())
        if wanted:  # a name in both folders is no doubt: the chosen folder is looked at first
            fit = _fitting(chosen, wanted) or _fitting(self, wanted)
        else:
            fit = [b for b in chosen if b.manifest.name == _DEFAULT_NAME] if len(chosen) > 1 else chosen
        if len(fit) == 1:
            return fit[0]
        problem = "none" if not fit else "several"
        raise BundleError(
            f"{problem} of the bundles is {wanted or _DEFAULT_NAME!r}; set MIDSTREAM_CLOUD_BUNDLE to one of: "
            + ", ".join(f"{b.digest[:12]} ({b.manifest.name} {b.manifest.version})" for b in self)
        )


def _in(folder: Path) -> list[Bundle]:
    try:
        paths = sorted(p for p in folder.iterdir() if _DIGEST.match(p.name))
    except OSError as e:
        raise BundleError(f"cannot read the bundles in {folder}: {e.strerror or e}") from e
    return [bundles.load(path, "both", expected=path.name) for path in paths]


def _age(bundle: Bundle) -> tuple[list[tuple[int, str]], float]:
    """Rises with the version, 1.10 above 1.9, and then with the time at which the manifest was written."""
    parts = re.findall(r"\d+|[^\d.]+", bundle.manifest.version)
    version = [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
    return version, (bundle.path / bundles.MANIFEST).stat().st_mtime


def _fitting(held: Iterable[Bundle], wanted: str) -> list[Bundle]:
    return [b for b in held if b.manifest.name == wanted or b.digest.startswith(wanted)]
