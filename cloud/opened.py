"""The picture layers of bundles, opened when somebody first looks; their networks load when they are needed."""

import threading
from collections import OrderedDict

from common.bundle import Bundle
from common.scalable import PictureLayers

_MAX_BUNDLES = 3
"""Whose networks are in memory at once."""


class Opened:
    """May be used from several threads."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._layers: OrderedDict[str, PictureLayers] = OrderedDict()
        self._opening = threading.Lock()

    def of(self, bundle: Bundle) -> PictureLayers:
        """Those of this bundle. Raises BundleError."""
        with self._opening:
            if bundle.digest not in self._layers:
                self._layers[bundle.digest] = PictureLayers.open(bundle, self._threads)
            self._layers.move_to_end(bundle.digest)
            if len(self._layers) > _MAX_BUNDLES:
                self._layers.popitem(last=False)
            return self._layers[bundle.digest]
