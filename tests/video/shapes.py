"""What the tests of videos share: moving pictures, their base layers, a small network."""

from dataclasses import replace

import numpy as np

from bench.networks import Split, shipped
from common import bundle as bundles
from common import feature_codec
from common.codec import Container, pack, unpack
from common.video.fusion import INPUTS, Fusion
from common.video.planes import CHANNELS, cells_of


def moving(count, width=96, height=80):
    """A square that moves over a pattern, with some noise."""
    rng = np.random.default_rng(5)
    ground = np.kron(rng.integers(40, 200, (height // 8 + 1, width // 8 + 1, 3)), np.ones((8, 8, 1)))[:height, :width]
    found = []
    for i in range(count):
        picture = ground + rng.normal(0, 3, ground.shape)
        picture[20:44, 2 * i : 2 * i + 24] = [220, 40, 60]
        found.append(picture.clip(0, 255).astype(np.uint8))
    return found


def opened():
    """The shipped bundle's networks and its codec."""
    split = Split(bundles.load(shipped(), "both"))
    return split, feature_codec.of(split.bundle)


def bases(split, codec, pictures, alone_every=4, keep=True):
    """Containers as an edge makes them, each after the one before."""
    state, found = None, []
    for i, picture in enumerate(pictures):
        height, width = picture.shape[:2]
        window, quality = split.bundle.manifest.input.window(width, height), codec.default_quality
        before = None if i % alone_every == 0 else state
        coded = codec.encode_after(split.cut(picture), quality, window, before, keep)
        state = coded.state
        container = Container(split.bundle.prefix, codec.id, quality, width, height, coded.layers, coded.alone)
        found.append(pack(container))
    return found


def arrays(bundle, seed=0, width=8, gain=0):
    """A network that makes something of everything it is told; nothing with a `gain` of 0."""
    rng = np.random.default_rng(seed)
    body = rng.integers(-200, 200, (width, INPUTS, 3, 3)).astype(np.int16)
    head = rng.integers(-gain, gain + 1, (CHANNELS, width, 3, 3)).astype(np.int16)
    net = {"body.kinds": np.array([1], np.uint8), "body.input_limit": np.array([255], np.int32)}
    net |= {
        "body.0.weight": body,
        "body.0.bias": np.zeros(width, np.int32),
        "body.0.shift": np.full(width, 8, np.uint8),
    }
    net |= {"head.kinds": np.array([0], np.uint8), "head.input_limit": np.array([4095], np.int32)}
    net |= {"head.0.weight": head, "head.0.bias": np.zeros(CHANNELS, np.int32)}
    net |= {"head.0.shift": np.full(CHANNELS, 8, np.uint8), "bundle": np.frombuffer(bundle, np.uint8)}
    return net


def toward_before(bundle):
    """A network that takes noise off: every sample goes halfway to that of the frame before."""
    net = arrays(bundle, width=2 * CHANNELS)
    body, head = np.zeros((2 * CHANNELS, INPUTS, 3, 3), np.int16), np.zeros((CHANNELS, 2 * CHANNELS, 3, 3), np.int16)
    for i in range(CHANNELS):
        for sign, at in ((1, i), (-1, CHANNELS + i)):
            body[at, CHANNELS + i, 1, 1] = 256 * sign
            head[i, at, 1, 1] = 8 * 256 * sign
    net["body.0.weight"], net["head.0.weight"] = body, head
    return net


def fusion(bundle):
    """The same, ready to run."""
    return Fusion(toward_before(bundle))


def learned(bundle, frames, wanted):
    """A network that was fitted to these very frames: a linear one of their cells, in 1/2048."""
    seen = np.concatenate([cells_of(frame).reshape(CHANNELS, -1) for frame in frames], 1).astype(float)
    left = np.concatenate([cells_of(frame).reshape(CHANNELS, -1) for frame in wanted], 1) - seen
    weight = np.linalg.lstsq(seen.T, left.T, rcond=None)[0].T
    net = arrays(bundle, width=2 * CHANNELS)
    body, head = np.zeros((2 * CHANNELS, INPUTS, 3, 3), np.int16), np.zeros((CHANNELS, 2 * CHANNELS, 3, 3), np.int16)
    for sign, first in ((1, 0), (-1, CHANNELS)):
        body[first : first + CHANNELS, :CHANNELS, 1, 1] = 16 * sign * np.eye(CHANNELS)
        head[:, first : first + CHANNELS, 1, 1] = np.rint(2048 * sign * weight)
    net["body.0.weight"], net["head.0.weight"] = body, head
    net["body.0.shift"], net["head.0.shift"] = np.zeros(2 * CHANNELS, np.uint8), np.full(CHANNELS, 11, np.uint8)
    return Fusion(net)


def foreign(packet):
    """The same container, of a bundle that nobody knows."""
    return pack(replace(unpack(packet), bundle=b"none"))
