"""Real bundles with picture layers, small and quick to make: edge and cloud are tested with them, too.

The detector is that of tests/edge/tiny.py; the networks are those of `nets`; the integers of the hyperpriors are
random, which costs bytes but nothing else. Below TWO and THREE lies codec 5, below FREQUENCY and DENOISE codec 1. The
layers `clean` and, above `low`, `full` are coded in passes.
"""

import io
from collections.abc import Mapping
from math import erf, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import bundle as bundles
from common.bundle import Bundle, Side
from common.codec.passes import ALL, EVEN, ODD, seen
from tests.codec import transform_samples
from tests.codec.latent_samples import Order
from tests.edge import tiny
from tests.scalable import nets

UNIT, LOWEST, HIGHEST, DEFAULT = 256, 0, 511, 256
TWO, THREE = ("full",), ("mask", "full")
"""The layers of scalable2 and of scalable3."""
FREQUENCY, DENOISE = ("low", "full"), ("clean", "noisy")
TILE = 4
HIDDEN, KNOWN = 8, 4
TOTAL, SCALES = 1 << 14, 88

Arrays = dict[str, NDArray[Any]]


def write(
    parent: Path,
    layers: tuple[str, ...] = TWO,
    *,
    seed: int = 0,
    conditioned: bool = False,
    edge: bool = False,
    image: bool = False,
) -> Bundle:
    """The bundle, below `parent`. Another seed is another bundle.

    `conditioned`: the base layer's latent conditions the picture's probabilities; `edge` allows mode `edge`, `image`
    mode `image`. Without `layers` it has the base layer alone.
    """
    manifest: dict[str, object] = {
        "name": "tiny-latent",
        "version": "1",
        "detector": {
            "name": "tiny",
            "labels": ["person"],
            "coco_ids": [1],
            "score_threshold": 0.05,
            "nms_iou": 0.6,
            "max_detections": 10,
        },
        "input": {"width": 320, "height": 320, "pad": 114},
        "cut": {"tensors": [{"name": "cut", "shape": nets.CUT}], "macs_front": 1, "macs_back": 1},
        "codec": _transform()[0] if layers in (FREQUENCY, DENOISE) else _latent(),
        "layers": [_layer(name, kind, layers) for kind, name in enumerate(layers, 1)],
        "operating_points": [
            {"quality": q, "bytes_mean": 2.0 * q, "bytes_p95": 3.0 * q, "agreement_ap50": 0.5 + q / 1024, "images": 1}
            for q in (128, 256, 384)
        ],
    }
    files = _made[layers](seed) if layers in _made else _files(layers, seed, conditioned)
    files["front.onnx"] = ("both" if image else "edge", tiny.front(seed))
    files["back.onnx"] = ("both" if edge else "cloud", tiny.back())
    return bundles.write(parent, manifest, files)


def picture(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth colours and some noise, uint8 [height, width, 3]."""
    random = np.random.default_rng(seed)
    x, y = np.arange(width)[None, :, None], np.arange(height)[:, None, None]
    waves = np.sin(x / random.uniform(30, 90, 3) + y / random.uniform(30, 90, 3) + random.uniform(0, 6, 3))
    return np.clip(128 + 90 * waves + random.normal(0, 2, (height, width, 3)), 0, 255).astype(np.uint8)


def _qualities() -> dict[str, object]:
    return {"unit": UNIT, "qualities": [LOWEST, HIGHEST], "default_quality": DEFAULT}


def _latent() -> dict[str, object]:
    return {"name": "latent", "prefix": "base", "grid": [10, 10], "patch": 4, **_qualities()}


def _transform() -> tuple[dict[str, object], Arrays]:
    """The [codec] table and the arrays of one that keeps everything."""
    params, arrays = transform_samples.bundle([nets.CUT], block=4, turned=8)
    return {"name": "transform", **params, **_qualities()}, arrays


def _layer(name: str, kind: int, layers: tuple[str, ...]) -> dict[str, object]:
    about: dict[str, object] = {"name": name, "kind": kind, "prefix": name, **_qualities()}
    if name == "mask":
        return about
    about |= {"stride": 16, "pad": 64}
    if layers == FREQUENCY and name == "full":
        return {**about, "prefix": "high", "tile": TILE}
    return {**about, "context": nets.CONTEXT} if name == "full" else about


def _files(layers: tuple[str, ...], seed: int, conditioned: bool) -> dict[str, tuple[Side, bytes]]:
    arrays = hyperprior("base", nets.BASE, halvings=1, seed=seed)
    files: dict[str, tuple[Side, bytes]] = {
        "base_analysis.onnx": ("edge", nets.base_analysis()),
        "base_lst.onnx": ("both", nets.base_lst()),
        "preview.onnx": ("cloud", nets.preview()),
    }
    if "mask" in layers:
        arrays |= hyperprior("mask", nets.BASE, halvings=1, seed=seed + 1)
        files["mask_analysis.onnx"] = ("edge", nets.mask_analysis())
        files["mask_lst.onnx"] = ("both", nets.mask_lst())
        files["mask_head.onnx"] = ("cloud", nets.mask_head())
    if "full" in layers:
        arrays |= hyperprior("full", nets.FULL, halvings=2, seed=seed + 2, conditioned=conditioned)
        files["full_analysis.onnx"] = ("edge", nets.full_analysis())
        files["full_hyper.onnx"] = ("edge", nets.full_hyper())
        files["full_synthesis.onnx"] = ("cloud", nets.full_synthesis())
    return {**files, "latent.npz": ("both", packed(arrays))}


def _frequency(seed: int) -> dict[str, tuple[Side, bytes]]:
    arrays = hyperprior("low", nets.LOW, halvings=2, seed=seed)
    passes = order(nets.HIGH)
    arrays |= hyperprior("high", nets.HIGH, halvings=2, seed=seed + 1, conditioned=True, beside=nets.LOW, passes=passes)
    return {
        "frequency_analysis.onnx": ("edge", nets.frequency_analysis()),
        "low_hyper.onnx": ("edge", nets.full_hyper(nets.LOW)),
        "high_hyper.onnx": ("edge", nets.full_hyper(nets.HIGH)),
        "frequency_synthesis.onnx": ("cloud", nets.frequency_synthesis()),
        "latent.npz": ("both", packed(arrays)),
        "codec.npz": ("both", packed(_transform()[1])),
    }


def _denoise(seed: int) -> dict[str, tuple[Side, bytes]]:
    arrays = hyperprior("clean", nets.FULL, halvings=2, seed=seed, passes=order(nets.FULL))
    arrays |= hyperprior("noisy", nets.FULL, halvings=2, seed=seed + 1)
    return {
        "clean_analysis.onnx": ("edge", nets.full_analysis(0, told=True)),
        "clean_hyper.onnx": ("edge", nets.full_hyper()),
        "clean_synthesis.onnx": ("both", nets.full_synthesis(0, told=True)),
        "noisy_analysis.onnx": ("edge", nets.noisy_analysis()),
        "noisy_hyper.onnx": ("edge", nets.full_hyper()),
        "noisy_synthesis.onnx": ("cloud", nets.noisy_synthesis()),
        "latent.npz": ("both", packed(arrays)),
        "codec.npz": ("both", packed(_transform()[1])),
    }


_made = {FREQUENCY: _frequency, DENOISE: _denoise}


def packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()


def hyperprior(
    prefix: str,
    channels: int,
    *,
    halvings: int,
    seed: int,
    conditioned: bool = False,
    beside: int = nets.BASE,
    passes: Order | None = None,
) -> Arrays:
    """What a `LatentCoder` reads: a random hyper-decoder, and tables of bell-shaped densities."""
    random = np.random.default_rng(seed)
    levels = np.array([0, 128, 256, 384], np.uint16)
    decoder = [_conv(random, nets.HYPER, HIDDEN, 3, 8)]
    decoder += [_conv(random, HIDDEN, 4 * HIDDEN, 1, 11) for _ in range(halvings)]
    known = KNOWN if conditioned else 0
    arrays = {
        **_net("decoder", decoder, [1] + [3] * halvings, 2047),
        **(_passes(random, HIDDEN + known, passes) if passes else _head(random, HIDDEN + known, channels, "head")),
        "exponent": random.integers(-1, 2, channels).astype(np.int8),
        "offset": np.tile(np.linspace(0, 120, SCALES).astype(np.int16), (len(levels), 1)),
        "levels": levels,
        "z_step": np.array([128, 96, 64, 48], np.int32),
        "centre": random.integers(-20, 20, nets.HYPER).astype(np.int32),
        **_tables("y", [2.0 ** ((index - 26) / 8) for index in range(SCALES)]),
        **_tables("z", [2.0] * len(levels) * nets.HYPER),
    }
    if conditioned:
        arrays |= _net("context", [_conv(random, beside, KNOWN, 1, 13)], [1], 32767)
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def order(channels: int) -> Order:
    """The first two channels on a checkerboard, then all others."""
    return [(0, 2, EVEN), (0, 2, ODD), (2, channels, ALL)]


def _passes(random: np.random.Generator, inputs: int, passes: Order) -> Arrays:
    arrays: Arrays = {"passes": np.array(passes, np.uint16)}
    for number, (first, end, parity) in enumerate(passes):
        name, own = f"pass.{number}", 0
        if known := seen(first, end, parity):
            own = KNOWN
            arrays |= _net(f"{name}.context", [_conv(random, known, own, 3, 10)], [1], 32767)
        arrays |= _head(random, inputs + own, end - first, f"{name}.head")
    return arrays


def _head(random: np.random.Generator, inputs: int, channels: int, name: str) -> Arrays:
    head = _conv(random, inputs, 2 * channels, 1, 12)
    head[1][channels:] += 24 << 12  # scales around 8
    return _net(name, [head], [0], 4095)


def _conv(random: np.random.Generator, inputs: int, outputs: int, size: int, shift: int) -> list[NDArray[Any]]:
    weights = np.clip(random.normal(0, 200, (outputs, inputs, size, size)), -1000, 1000).astype(np.int16)
    return [weights, random.integers(-1000, 1000, outputs).astype(np.int32), np.full(outputs, shift, np.uint8)]


def _net(name: str, layers: list[list[NDArray[Any]]], kinds: list[int], limit: int) -> Arrays:
    arrays: Arrays = {f"{name}.kinds": np.array(kinds, np.uint8), f"{name}.input_limit": np.array([limit], np.int32)}
    for number, parts in enumerate(layers):
        arrays |= {f"{name}.{number}.{part}": a for part, a in zip(("weight", "bias", "shift"), parts, strict=True)}
    return arrays


def _tables(name: str, scales: list[float]) -> Arrays:
    """Of values with a normal density of each scale, in steps."""
    bits = [max(0, int(np.ceil(np.log2(scale / 2)))) for scale in scales]
    rows = [_frequencies(scale / 2**b) for scale, b in zip(scales, bits, strict=True)]
    return {f"{name}.bits": np.array(bits, np.uint8), f"{name}.frequencies": np.array(rows, np.uint16)}


def _frequencies(scale: float) -> list[int]:
    below = [0.5 * (1 + erf((edge - 0.5) / scale / sqrt(2))) for edge in range(-7, 9)]
    chances = [*np.diff(below), 1 - (below[-1] - below[0])]
    counts = [1 + int((TOTAL - 16) * chance) for chance in chances]
    counts[7] += TOTAL - sum(counts)
    return counts
