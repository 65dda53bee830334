"""The front half of a detector: uint8 picture [height, width, 3] in, the tensors of the cut out."""

import numpy as np
from numpy.typing import NDArray

from common.bundle import Bundle
from common.codec import Features
from common.errors import BundleError
from common.network.session import shared_session

FILE = "front.onnx"
INPUT = "image"


class Front:
    """front.onnx of a bundle. `run` may be called from several threads at once."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self._tensors = bundle.manifest.cut.names
        self._session = shared_session(bundle, FILE, threads)
        names = {o.name for o in self._session.get_outputs()}, {i.name for i in self._session.get_inputs()}
        if not names[0].issuperset(self._tensors) or INPUT not in names[1]:
            raise BundleError(f"{FILE} takes {names[1]} and gives {names[0]}, not {INPUT!r} and {self._tensors}")

    def run(self, picture: NDArray[np.uint8]) -> list[Features]:
        """One picture [height, width, 3], RGB, to the cut's tensors without the batch."""
        return [tensor[0] for tensor in self._session.run(self._tensors, {INPUT: picture[None]})]
