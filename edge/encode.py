"""picture → front → codec → container, with the time each took, at the operating point of the camera."""

import time
from dataclasses import dataclass

from common.bundle import Bundle, Manifest
from common.codec import CODECS
from common.codec.container import Container, pack
from common.errors import BundleError
from edge import picture
from edge.front import Front


@dataclass(frozen=True, slots=True)
class Encoded:
    """A coded frame. Width and height are those of the picture, upright; `timing` is in milliseconds."""

    container: bytes
    width: int
    height: int
    quality: int
    content_type: str
    layers: tuple[int, ...]
    """Bytes of each layer."""
    timing: dict[str, float]


class Encoder:
    """Everything one bundle needs on the edge. Immutable: another bundle is another Encoder."""

    def __init__(self, bundle: Bundle, threads: int = 1, max_pixels: int = 50_000_000) -> None:
        manifest = bundle.manifest
        if manifest.input.width != manifest.input.height:
            raise BundleError(
                f"the input is {manifest.input.width}x{manifest.input.height}; only squares are supported"
            )
        name = str(manifest.codec.get("name"))
        if name not in CODECS:
            raise BundleError(f"the bundle's codec is {name!r}; this program knows {sorted(CODECS)}: update it")
        try:
            self._codec = CODECS[name].from_params(manifest.codec)
        except (KeyError, TypeError, ValueError) as e:
            raise BundleError(f"the bundle's [codec] table does not fit codec {name!r}: {e!r}") from e
        self.bundle = bundle
        self.proposed = _proposed(manifest)
        self.qualities = tuple(sorted({p.quality for p in manifest.operating_points} | {self.proposed}))
        self._front = Front(bundle.file("front.onnx"), manifest.cut.tensor, threads)
        self._size, self._pad = manifest.input.width, manifest.input.pad
        self._max_pixels = max_pixels

    def __repr__(self) -> str:
        return f"<encoder of {self.bundle!r}>"

    def encode(self, data: bytes, quality: int) -> Encoded:
        """One compressed picture to one container. Raises FrameError if the picture is at fault."""
        start = time.perf_counter()
        header = picture.read_header(data, self._max_pixels)
        pixels = picture.decode(data, header, self._size, self._pad)
        decoded = time.perf_counter()
        features = self._front.run(pixels)
        fronted = time.perf_counter()
        layers = self._codec.encode(features, quality)
        width, height = header.seen
        container = pack(Container(self.bundle.prefix, self._codec.id, quality, width, height, layers))
        done = time.perf_counter()
        timing = {"decode_picture": decoded - start, "front": fronted - decoded, "code": done - fronted}
        return Encoded(
            container,
            width,
            height,
            quality,
            header.content_type,
            tuple(len(layer.payload) for layer in layers),
            {stage: round(seconds * 1e3, 3) for stage, seconds in timing.items()},
        )


class OperatingPoints:
    """Which quality each camera's frames are coded with: the camera's own, else everybody's, else the bundle's.

    Kept in memory: a restart begins with the settings again.
    """

    def __init__(self, quality: int | None, max_cameras: int) -> None:
        self.everybody = quality
        self.cameras: dict[str, int] = {}
        self._max_cameras = max_cameras

    def of(self, camera: str, encoder: Encoder) -> int:
        """The quality for this camera's next frame; what the bundle does not have becomes what it proposes."""
        quality = self.cameras.get(camera, self.everybody)
        return quality if quality in encoder.qualities else encoder.proposed

    def set(self, quality: int, camera: str | None = None) -> None:
        """Choose, for one camera or for all that have no choice of their own. Raises ValueError at the bound."""
        if camera is None:
            self.everybody = quality
        elif camera in self.cameras or len(self.cameras) < self._max_cameras:
            self.cameras[camera] = quality
        else:
            raise ValueError(f"{self._max_cameras} cameras have operating points of their own already")


def _proposed(manifest: Manifest) -> int:
    """The quality the bundle proposes: what its [codec] table calls the default, else the middle of its points."""
    for key in ("default_quality", "default_levels"):
        if isinstance(value := manifest.codec.get(key), int):
            return value
    points = sorted(p.quality for p in manifest.operating_points)
    if not points:
        raise BundleError("the bundle names no operating point and its [codec] table no default_quality")
    return points[len(points) // 2]
