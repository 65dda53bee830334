"""The networks of a bundle's learned layers: opened when first needed, since neither side needs them all."""

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from common.bundle import Bundle
from common.codec import Features
from common.errors import BundleError
from common.network.session import open_session


class Networks:
    """May be used from several threads at once."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        self._bundle = bundle
        self._threads = threads
        self._sessions: dict[str, ort.InferenceSession] = {}
        self._opening = threading.Lock()

    def has(self, name: str) -> bool:
        """Whether the bundle lists this file."""
        return name in self._bundle.manifest.files

    def channels(self, name: str, tensor: str) -> int | None:
        """Of an input [N, C, ...] of `name`: 0 if it takes no such tensor, None if it leaves them open."""
        for taken in self._session(name).get_inputs():
            if taken.name == tensor:
                channels = taken.shape[1] if len(taken.shape) > 1 else None
                return channels if isinstance(channels, int) else None
        return 0

    def run(self, name: str, result: str, **tensors: NDArray[Any]) -> Features:
        """One output of `name`. It is given those of `tensors`, [N, ...], that it takes. Raises BundleError."""
        return self.run_all(name, (result,), **tensors)[0]

    def run_all(self, name: str, results: tuple[str, ...], **tensors: NDArray[Any]) -> list[Features]:
        """Several outputs of `name`."""
        return self._run(name, results, tensors, None)

    def run_last(self, name: str, results: tuple[str, ...], **tensors: NDArray[Any]) -> list[Features]:
        """The same. The memory that it worked in is given back, not kept for the next run."""
        options = ort.RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        return self._run(name, results, tensors, options)

    def _run(
        self,
        name: str,
        results: tuple[str, ...],
        tensors: Mapping[str, NDArray[Any]],
        options: ort.RunOptions | None,
    ) -> list[Features]:
        session = self._session(name)
        taken = {i.name for i in session.get_inputs()}
        fed = {key: np.ascontiguousarray(tensor, np.float32) for key, tensor in tensors.items() if key in taken}
        try:
            outputs: list[Features] = session.run(list(results), fed, options)
        except Exception as e:  # ONNX Runtime's errors have no common class; our tensors are of the sizes we agreed on
            raise BundleError(f"{name} of {self._bundle!r} does not fit: {e}") from e
        return outputs

    def _session(self, name: str) -> ort.InferenceSession:
        with self._opening:
            if name not in self._sessions:
                self._sessions[name] = open_session(self._bundle.file(name), self._threads, sizes_vary=True)
            return self._sessions[name]
