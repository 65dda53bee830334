"""How the edge reaches the cloud: the channel, and how long to wait before trying again.

Transport security comes in here and nowhere else: a secure channel is another line of `open_channel`.
"""

import random
from collections.abc import Iterator

import grpc
import grpc.aio

from common.wire import CHANNEL_OPTIONS

_OPTIONS = [
    *CHANNEL_OPTIONS,
    # gRPC's own wait between connection attempts grows to two minutes: too long for a link that comes and goes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 3_000),
    ("grpc.use_local_subchannel_pool", 1),
]


def open_channel(target: str) -> grpc.aio.Channel:
    """A channel to the cloud; it connects when it is first used."""
    return grpc.aio.insecure_channel(target, options=_OPTIONS, compression=grpc.Compression.NoCompression)


def backoff(first: float = 0.2, longest: float = 10.0) -> Iterator[float]:
    """Seconds to wait before each next try: doubled every time, and anything from half to all of that, so that
    a hundred edges do not come back in the same instant.
    """
    delay = first
    while True:
        yield delay * random.uniform(0.5, 1)
        delay = min(longest, delay * 2)
