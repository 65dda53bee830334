"""Which runtime a bundle's back half needs. Whichever it is, it has the interface of `common.network.back.Back`."""

from collections.abc import Sequence
from typing import Protocol

from common.bundle import Bundle
from common.codec import Features
from common.errors import BundleError
from common.network.back import Back, Raw
from common.types import Detection


class BackHalf(Protocol):
    """From the cut's tensors to detections."""

    batches: bool
    """Whether `run` takes more than one frame at a time."""

    def run(self, features: Sequence[Features]) -> list[Raw]:
        """The cut's tensors, each [N, ...], to scores [A, L] and boxes [A, 4] in network pixels of each frame."""
        ...

    def detections(self, raw: Raw, width: int, height: int) -> list[Detection]:
        """What is in a picture of this size, best first, in its own pixels."""
        ...


def open_back(bundle: Bundle, threads: int, min_score: float) -> BackHalf:
    """The bundle's back half, loaded. Raises BundleError if it is damaged or its runtime is not installed."""
    return RUNTIMES[bundle.manifest.back.runtime](bundle, threads, min_score)


def _torchvision(bundle: Bundle, threads: int, min_score: float) -> BackHalf:
    try:
        from cloud.torchvision_back import TorchvisionBack
    except ModuleNotFoundError as e:
        if (e.name or "").partition(".")[0] not in ("torch", "torchvision"):
            raise
        raise BundleError(f"the back half of {bundle!r} runs in torch: pip install 'midstream[torch]'") from e
    return TorchvisionBack(bundle, threads, min_score)


RUNTIMES = {"onnx": Back, "torchvision": _torchvision}
