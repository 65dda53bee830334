"""What was measured of a bundle's operating points, as a curve: bytes and agreement over quality."""

from bisect import bisect_left
from collections.abc import Callable, Sequence

from common.bundle import Manifest, OperatingPoint
from common.types import Mode


class Curve:
    """Piecewise linear between the measured points, unknown outside them."""

    def __init__(self, points: Sequence[OperatingPoint]) -> None:
        self._points = sorted(points, key=lambda point: point.quality)
        self.qualities = tuple(point.quality for point in self._points)

    def bytes_mean(self, quality: int) -> float | None:
        """Mean bytes of a frame, container included; None where nothing was measured."""
        return self._at(quality, lambda point: point.bytes_mean)

    def agreement(self, quality: int) -> float | None:
        """AP50 against the uncoded network's own detections, 0 to 1; None where nothing was measured."""
        return self._at(quality, lambda point: point.agreement_ap50)

    def _at(self, quality: int, value: Callable[[OperatingPoint], float]) -> float | None:
        right = bisect_left(self.qualities, quality)
        if right == len(self.qualities):
            return None
        above = self._points[right]
        if above.quality == quality:
            return value(above)
        if right == 0:
            return None
        below = self._points[right - 1]
        share = (quality - below.quality) / (above.quality - below.quality)
        return value(below) + share * (value(above) - value(below))


def curves(manifest: Manifest) -> dict[Mode, Curve]:
    """One for each mode; without points where there is nothing to measure."""
    points = {Mode.SPLIT: manifest.operating_points, Mode.IMAGE: manifest.picture_points, Mode.EDGE: ()}
    return {mode: Curve(measured) for mode, measured in points.items()}


def expected_agreement(manifest: Manifest, mode: Mode, quality: int) -> float | None:
    """How far results at this point agree with the uncoded network's, 0 to 1; None if nobody has measured it."""
    if mode is Mode.EDGE:
        return 1.0  # it is the uncoded network
    agreement = curves(manifest)[mode].agreement(quality)
    return None if agreement is None else round(agreement, 4)
