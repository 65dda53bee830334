"""The running parts of an edge, as app.py made them and HTTP finds them."""

from dataclasses import dataclass

from fastapi import Request

from edge.bundles import Bundles
from edge.codecs import Codecs
from edge.control import Control
from edge.enhance import Enhancer
from edge.intake import Intake
from edge.meter import Meter
from edge.points import OperatingPoints
from edge.settings import Settings
from edge.spool import Spool
from edge.streams.streams import Streams
from edge.uplink import Uplink


@dataclass(frozen=True, slots=True)
class Parts:
    """One of each. `uplink` is None on an edge that was given no cloud."""

    settings: Settings
    meter: Meter
    points: OperatingPoints
    codecs: Codecs
    control: Control
    spool: Spool
    intake: Intake
    bundles: Bundles
    enhancer: Enhancer
    streams: Streams
    uplink: Uplink | None


def parts(request: Request) -> Parts:
    """The parts of the edge that got this request."""
    found: Parts = request.app.state.parts
    return found
