"""picture → front → codec → container, with the time each took, at the operating point of the camera."""

import time
from dataclasses import dataclass

from common import feature_codec, geometry
from common.bundle import Bundle
from common.codec.container import Container, pack
from common.network.front import Front
from edge import picture


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
        self._codec = feature_codec.of(bundle)
        self.bundle = bundle
        self.qualities = self._codec.qualities
        self.proposed = self._codec.default_quality
        self._front = Front(bundle, threads)
        self._input = manifest.input
        self._max_pixels = max_pixels

    def __repr__(self) -> str:
        return f"<encoder of {self.bundle!r}>"

    def encode(self, data: bytes, quality: int) -> Encoded:
        """One compressed picture to one container. Raises FrameError if the picture is at fault."""
        start = time.perf_counter()
        header = picture.read_header(data, self._max_pixels)
        taken = self._input
        pixels = picture.decode(data, header, taken.width, taken.pad, taken.fit)
        decoded = time.perf_counter()
        features = self._front.run(pixels)
        fronted = time.perf_counter()
        width, height = header.seen
        window = geometry.window(geometry.letterbox_geometry(width, height, taken.width, taken.fit), taken.width)
        layers = self._codec.encode(features, quality, window)
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
        return encoder.proposed if quality is None or quality not in encoder.qualities else quality

    def set(self, quality: int, camera: str | None = None) -> None:
        """Choose, for one camera or for all that have no choice of their own. Raises ValueError at the bound."""
        if camera is None:
            self.everybody = quality
        elif camera in self.cameras or len(self.cameras) < self._max_cameras:
            self.cameras[camera] = quality
        else:
            raise ValueError(f"{self._max_cameras} cameras have operating points of their own already")
