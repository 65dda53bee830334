"""A network cut in two, wherever it came from: all that a bundle needs but what pictures tell."""

import re
import tomllib
from dataclasses import dataclass
from typing import Any

from common.bundle import MANIFEST, Bundle, Side, Tensor
from common.errors import BundleError

Files = dict[str, tuple[Side, bytes]]


@dataclass(frozen=True)
class Halves:
    """Both halves as files, and what the manifest says of them."""

    name: str
    detector: dict[str, Any]
    input: dict[str, Any]
    cut: dict[str, Any]
    back: dict[str, Any]
    files: Files
    description: str = ""
    version: str = "1"

    def manifest(self) -> dict[str, object]:
        """Everything bundle.toml says but the files, the codec and the operating points."""
        return {
            "name": bundle_name(self.name),
            "version": self.version,
            "description": self.description,
            "detector": self.detector,
            "input": self.input,
            "cut": self.cut,
            **({"back": self.back} if self.back else {}),
        }


def bundle_name(words: str) -> str:
    """A name as the manifest wants it."""
    name = re.sub(r"[^a-z0-9.-]+", "-", words.lower()).strip("-.")[:64]
    if not name:
        raise BundleError(f"{words!r} cannot be a bundle's name: give one of letters and digits with --name")
    return name


def copied(bundle: Bundle) -> tuple[dict[str, Any], Files]:
    """The manifest and the files of a bundle, to write it again with more of both."""
    table = tomllib.loads((bundle.path / MANIFEST).read_text(encoding="utf-8"))
    for key in ("format", "files"):
        table.pop(key)
    files: Files = {n: (f.side, bundle.file(n).read_bytes()) for n, f in bundle.manifest.files.items()}
    return table, files


def described(bundle: Bundle) -> tuple[dict[str, Any], Files]:
    """The same without its codec and what was measured with it, to write it again with another codec."""
    table, files = copied(bundle)
    for key in ("codec", "operating_points", "picture_points"):
        table.pop(key, None)
    return table, files


def tensors(names: list[str], shapes: list[tuple[int, ...]]) -> list[dict[str, Any]]:
    """The manifest's cut.tensors, shapes without the batch."""
    return [Tensor(name=n, shape=s).model_dump(mode="json") for n, s in zip(names, shapes, strict=True)]
