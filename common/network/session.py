"""An ONNX file in ONNX Runtime, on the CPU."""

import threading
from pathlib import Path
from weakref import WeakValueDictionary

import onnxruntime as ort

from common.bundle import Bundle
from common.errors import BundleError

_shared: "WeakValueDictionary[tuple[str, int], ort.InferenceSession]" = WeakValueDictionary()
_sharing = threading.Lock()


def shared_session(bundle: Bundle, name: str, threads: int) -> ort.InferenceSession:
    """A file of a bundle, loaded once for all bundles that have the same, as long as any of them is in use: bundles
    that code one detector in different ways share its halves. Raises BundleError if ONNX Runtime does not take it.
    """
    path = bundle.file(name)
    key = bundle.manifest.files[name].sha256, threads
    with _sharing:
        session = _shared.get(key)
        if session is None:
            session = _shared[key] = open_session(path, threads)
        return session


def open_session(path: Path, threads: int, *, sizes_vary: bool = False) -> ort.InferenceSession:
    """Load a network. Raises BundleError if ONNX Runtime does not take it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Whoever calls brings the parallelism; threads that spin while they wait would take its cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    # It lays all tensors out by the first sizes it sees; networks of many sizes need half as much memory without.
    options.enable_mem_pattern = not sizes_vary
    try:
        return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as e:  # ONNX Runtime's errors have no common class of their own
        raise BundleError(f"{path.name} is not a network that ONNX Runtime takes: {e}") from e
