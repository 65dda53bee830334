"""The bundle: everything both sides must agree on, in a folder named by its digest.

`bundle.toml` says what the detector is, what goes in, where it is cut, how the cut is coded, what was measured,
and the SHA-256 and size of every other file. The digest of the bundle is the SHA-256 of `bundle.toml` itself, so
it covers everything. A bundle is data only (TOML, ONNX, NPZ without pickles): loading one runs no code of it.
"""

import hashlib
import math
import os
import shutil
import tempfile
import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from common.codec.container import PREFIX_BYTES
from common.codec.window import Window
from common.errors import BundleError
from common.geometry import Letterbox, letterbox_geometry, window
from common.types import Mode

MANIFEST = "bundle.toml"
SHARED = "shared"
"""A folder beside bundles: files that several of them have, each named by its SHA-256."""
MAX_MANIFEST_BYTES = 1 << 20
MAX_FILE_BYTES = 1 << 30
MAX_CUT_VALUES = 1 << 24

FRONT_FILE = "front.onnx"
BACK_FILES = {"onnx": "back.onnx", "torchvision": "back.npz"}
"""What the back half needs, by its runtime. Only ONNX Runtime runs at the edge."""

LAYERS: tuple[list[str], ...] = (
    [],
    ["full"],
    ["mask"],
    ["mask", "full"],
    ["low", "full"],
    ["clean"],
    ["clean", "noisy"],
)
"""Which layers a bundle may have, from the lowest kind up."""

Side = Literal["edge", "cloud", "both"]
Quality = Annotated[int, Field(ge=0, le=65535)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Label = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Input(_Part):
    """What the front half takes: uint8 [N, height, width, 3] RGB, the picture letterboxed and centred, or stretched."""

    width: int = Field(gt=0, le=4096)
    height: int = Field(gt=0, le=4096)
    fit: Literal["letterbox", "stretch"] = "letterbox"
    pad: int = Field(ge=0, le=255, default=114)

    @model_validator(mode="after")
    def _square(self) -> Self:
        if self.width != self.height:
            raise ValueError(f"the input is {self.width}x{self.height}; only squares are supported")
        return self

    def box(self, width: int, height: int) -> Letterbox:
        """Where a picture of this size lies in it."""
        return letterbox_geometry(width, height, self.width, self.fit)

    def window(self, width: int, height: int) -> Window:
        """The same for codecs, which leave the border out."""
        return window(self.box(width, height), self.width)


class Detector(_Part):
    """The network and how its raw output becomes detections."""

    name: str = Field(max_length=64)
    labels: tuple[Label, ...] = Field(min_length=1, max_length=1000)
    coco_ids: tuple[int, ...] = Field(max_length=1000, default=())
    score_threshold: float = Field(ge=0, le=1)
    nms_iou: float = Field(gt=0, le=1)
    max_detections: int = Field(gt=0, le=1000)


class Tensor(_Part):
    """A tensor that travels: its name in front.onnx and in the back half, its shape without the batch."""

    name: str = Field(min_length=1, max_length=256)
    shape: tuple[Annotated[int, Field(gt=0)], ...] = Field(min_length=1, max_length=4)


class Cut(_Part):
    """Where the network is cut: the tensors that travel, in their order, and the multiply-adds of both halves."""

    tensors: tuple[Tensor, ...] = Field(min_length=1, max_length=8)
    macs_front: int = Field(ge=0)
    macs_back: int = Field(ge=0)

    @field_validator("tensors")
    @classmethod
    def _bounded(cls, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        # Both sides allocate them before they have seen any data.
        values = sum(math.prod(tensor.shape) for tensor in tensors)
        if values > MAX_CUT_VALUES:
            raise ValueError(f"has {values} values, more than {MAX_CUT_VALUES}")
        return tensors

    @property
    def names(self) -> list[str]:
        """Of the tensors."""
        return [tensor.name for tensor in self.tensors]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of the tensors, without the batch."""
        return [tensor.shape for tensor in self.tensors]


class BackHalf(_Part):
    """What runs the back half: ONNX Runtime its back.onnx, or torchvision a `model` of its own with back.npz."""

    runtime: Literal["onnx", "torchvision"] = "onnx"
    model: str = Field(max_length=64, default="")
    classes: int = Field(ge=0, le=1001, default=0)
    """Of the torchvision model, its background included."""
    kept: tuple[int, ...] = Field(max_length=1000, default=())
    """Which of those classes the labels are, in the labels' order."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        complete = self.model and self.kept and 0 <= min(self.kept) <= max(self.kept) < self.classes
        if self.runtime == "torchvision" and not complete:
            raise ValueError("torchvision needs a model, its classes and which of them the labels are")
        return self


class PictureLayer(_Part):
    """A layer made on demand (common/scalable): what refines a mask, or the picture, whole or by its frequencies or
    without its noise.
    """

    name: Literal["full", "mask", "low", "clean", "noisy"]
    kind: int = Field(ge=1, le=15)
    """Of the container's layer; a layer needs those of lower kinds."""
    prefix: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,15}$")]
    """Of its arrays in latent.npz and of its networks' files."""
    unit: int = Field(ge=0, le=65535)
    """The quality at which the latent's step is 1; 64 qualities halve it."""
    qualities: tuple[Quality, Quality]
    """The lowest and the highest."""
    default_quality: Quality
    stride: int = Field(gt=0, le=64, default=16)
    """Of all but `mask`: pixels in a cell of the latent, each way."""
    pad: int = Field(gt=0, le=1024, default=64)
    """Of all but `mask`: the latent is that of a picture continued to a multiple of so many pixels."""
    context: int = Field(ge=0, le=256, default=0)
    """Of `full`: how many channels of decoded features its networks see beside it."""
    tile: int = Field(ge=0, le=64, default=0)
    """Of `full` above `low`: cells of a tile that is coded by itself, each way; 0 where all is coded at once."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        lowest, highest = self.qualities
        if not lowest <= self.default_quality <= highest:
            raise ValueError(f"qualities: expected lowest <= default <= highest, got {self.qualities}")
        return self


class OperatingPoint(_Part):
    """One quality and what was measured there on real coded bytes."""

    quality: int = Field(ge=0, le=65535)
    bytes_mean: float = Field(gt=0)
    bytes_p95: float = Field(gt=0)
    ap50: float | None = Field(ge=0, le=1, default=None)
    """None where the calibration photos had no labels."""
    agreement_ap50: float = Field(ge=0, le=1)
    images: int = Field(gt=0)


class File(_Part):
    """One file of the bundle and who needs it."""

    sha256: Digest
    bytes: int = Field(ge=0, le=MAX_FILE_BYTES)
    side: Side


class Manifest(_Part):
    """bundle.toml."""

    format: Literal[1]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    version: str = Field(max_length=32)
    description: str = Field(max_length=2000, default="")
    detector: Detector
    input: Input
    cut: Cut
    back: BackHalf = BackHalf()
    codec: dict[str, object]
    layers: tuple[PictureLayer, ...] = Field(max_length=4, default=())
    """What can be had of a frame beyond its detections, rising; nothing with most bundles."""
    operating_points: tuple[OperatingPoint, ...] = ()
    picture_points: tuple[OperatingPoint, ...] = ()
    """The same of the picture as mode `image` sends it; empty where nobody measured it."""
    files: dict[FileName, File]

    @field_validator("layers")
    @classmethod
    def _rising(cls, layers: tuple[PictureLayer, ...]) -> tuple[PictureLayer, ...]:
        kinds = [layer.kind for layer in layers]
        if kinds != sorted(set(kinds)):
            raise ValueError(f"kinds: expected rising, got {kinds}")
        if len({layer.name for layer in layers}) + len({layer.prefix for layer in layers}) != 2 * len(layers):
            raise ValueError("expected names and prefixes of their own")
        return layers

    @model_validator(mode="after")
    def _layers_upon_latents(self) -> Self:
        names = [layer.name for layer in self.layers]
        if any(layer.name == "mask" or layer.context for layer in self.layers) and self.codec.get("name") != "latent":
            raise ValueError(f"layers: expected codec 'latent' below them, got {self.codec.get('name')!r}")
        if names not in LAYERS:
            raise ValueError(f"layers: expected one of {[list(known) for known in LAYERS]}, rising, got {names}")
        if names[:1] == ["low"] and len({(layer.stride, layer.pad) for layer in self.layers}) > 1:
            raise ValueError("layers: expected the cells of full to be those of low")
        if [layer.name for layer in self.layers if layer.tile] != (["full"] if names == ["low", "full"] else []):
            raise ValueError("layers: expected tiles of full above low, and of no other")
        return self

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The ways to share the work that the files allow, by which side has which half; the first is the usual one."""
        back = BACK_FILES[self.back.runtime]
        runs_at_edge = self._at("edge", FRONT_FILE) and self.back.runtime == "onnx"
        allowed = {
            Mode.SPLIT: self._at("edge", FRONT_FILE) and self._at("cloud", back),
            Mode.IMAGE: self._at("cloud", FRONT_FILE) and self._at("cloud", back),
            Mode.EDGE: runs_at_edge and self._at("edge", back),
        }
        return tuple(mode for mode, has_files in allowed.items() if has_files)

    def _at(self, side: Side, name: str) -> bool:
        return name in self.files and self.files[name].side in (side, "both")


class Bundle:
    """A verified bundle on disk. `manifest` says everything; `file(name)` is a path whose content was checked."""

    def __init__(self, path: Path, digest: str, manifest: Manifest) -> None:
        self.path = path
        self.digest = digest
        self.manifest = manifest

    def __repr__(self) -> str:
        m = self.manifest
        return f"<bundle {m.name} {m.version} {self.digest[:12]}: {m.detector.name} cut at {', '.join(m.cut.names)}>"

    @property
    def prefix(self) -> bytes:
        """What a container carries of the digest."""
        return bytes.fromhex(self.digest)[:PREFIX_BYTES]

    def file(self, name: str) -> Path:
        """The path of one of the files that `load` verified."""
        if name not in self.manifest.files:
            raise BundleError(f"bundle {self.digest[:12]} has no file {name!r}; it has {sorted(self.manifest.files)}")
        own = self.path / name
        shared = self.path.parent / SHARED / self.manifest.files[name].sha256
        return own if own.exists() or not shared.exists() else shared

    def names(self, side: Side) -> list[str]:
        """The files that this side needs."""
        return [n for n, f in self.manifest.files.items() if f.side in (side, "both")]


def digest_of(manifest: bytes) -> str:
    """The digest of the bundle with this bundle.toml, 64 hex digits."""
    return hashlib.sha256(manifest).hexdigest()


def parse_manifest(raw: bytes, expected: str | None = None) -> tuple[str, Manifest]:
    """(digest, manifest) of the bytes of a bundle.toml. Raises BundleError if they are not `expected`."""
    if len(raw) > MAX_MANIFEST_BYTES:
        raise BundleError(f"{MANIFEST} has {len(raw)} bytes, more than {MAX_MANIFEST_BYTES}")
    digest = digest_of(raw)
    if expected is not None and digest != expected:
        raise BundleError(f"{MANIFEST} has digest {digest[:12]}…, expected {expected[:12]}…: it was changed or damaged")
    try:
        manifest = Manifest.model_validate(tomllib.loads(raw.decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValidationError) as e:
        raise BundleError(f"{MANIFEST} is not a bundle manifest of format 1: {e}") from e
    # Stored, it would take the manifest's place; some file systems do not tell the case of letters.
    if any(name.lower() == MANIFEST for name in manifest.files):
        raise BundleError(f"{MANIFEST} lists a file called {MANIFEST}: the manifest cannot be one of its own files")
    return digest, manifest


def load(path: Path, side: Side, expected: str | None = None) -> Bundle:
    """The bundle in this folder, after verifying every file that `side` needs.

    A folder named by a digest must have that digest even if none is `expected`. Raises BundleError naming the file,
    what was expected and what was found.
    """
    if expected is None and len(path.name) == 64:
        expected = path.name
    digest, manifest = parse_manifest(_read(path / MANIFEST), expected)
    bundle = Bundle(path, digest, manifest)
    for name in bundle.names(side) if side != "both" else manifest.files:
        verify_file(_read(bundle.file(name)), name, manifest.files[name])
    return bundle


def verify_file(content: bytes, name: str, file: File) -> None:
    """Raise BundleError unless these are the bytes the manifest names."""
    if len(content) != file.bytes:
        raise BundleError(f"{name} has {len(content)} bytes, the manifest says {file.bytes}")
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise BundleError(f"{name} has SHA-256 {found[:12]}…, the manifest says {file.sha256[:12]}…")


def write(parent: Path, manifest: dict[str, object], files: dict[str, tuple[Side, bytes]]) -> Bundle:
    """Write a bundle below `parent` and return it. `manifest` lacks only `format` and `files`.

    The folder appears complete or not at all; one that is there already is left as it is.
    """
    table = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "side": side}
        for name, (side, data) in sorted(files.items())
    }
    raw = tomli_w.dumps({"format": 1, **manifest, "files": table}).encode()
    digest, parsed = parse_manifest(raw)
    return store(parent, raw, {name: data for name, (_, data) in files.items()}, digest, parsed)


def store(parent: Path, raw: bytes, files: dict[str, bytes], digest: str, manifest: Manifest) -> Bundle:
    """Put verified content at parent/digest, atomically."""
    target = parent / digest
    if target.exists():
        return Bundle(target, digest, manifest)
    parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".incoming-", dir=parent))
    try:
        for name, data in {MANIFEST: raw, **files}.items():
            _write(scratch / name, data)
        scratch.chmod(0o755)
        scratch.rename(target)
    except OSError:
        shutil.rmtree(scratch, ignore_errors=True)
        if not target.exists():  # else another process was first, with the same content
            raise
    # A new name is on the disk when its folder is: after a power cut the edge has nobody to ask for it again.
    for folder in (target, parent):
        _sync(folder)
    return Bundle(target, digest, manifest)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BundleError(f"{path.name} is larger than {MAX_FILE_BYTES} bytes")
        return path.read_bytes()
    except OSError as e:
        raise BundleError(f"cannot read {path}: {e.strerror or e}") from e
