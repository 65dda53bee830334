"""The front half of the detector: uint8 picture [height, width, 3] in, float32 features [C, H, W] out."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from common.errors import BundleError

INPUT = "image"


class Front:
    """front.onnx in ONNX Runtime. `run` may be called from several threads at once."""

    def __init__(self, path: Path, tensor: str, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # The pool of encoders is the parallelism; threads that spin while they wait would take its cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as e:  # ONNX Runtime's errors have no common class of their own
            raise BundleError(f"{path.name} is not a model ONNX Runtime loads: {e}") from e
        names = {o.name for o in self._session.get_outputs()}, {i.name for i in self._session.get_inputs()}
        if tensor not in names[0] or INPUT not in names[1]:
            raise BundleError(f"{path.name} takes {names[1]} and gives {names[0]}, not {INPUT!r} and {tensor!r}")
        self._tensor = tensor

    def run(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One picture through the front half."""
        (features,) = self._session.run([self._tensor], {INPUT: picture[None]})
        out: NDArray[np.float32] = features[0]
        return out
