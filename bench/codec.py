"""The feature codec beside general coders: bits and speed on the same levels, in the same run, on one core.

Three parts: coding levels, clipping and quantising (against a NumPy copy of as many bytes), and a whole frame. The
data are independent draws from the papers' model of ResNet-50's features and, where a bundle and photos are at hand,
the embedded detector's real features. General coders get their statistics for nothing: constriction is told the
histogram of the data, and its size does not include it.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import constriction
import numpy as np
import zstandard
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.coco import letterbox, photos
from bench.networks import session, shipped
from common.codec import Container, Lightweight, _kernel, cabac, pack, unpack
from common.codec.clip import Model, fit, optimal_clip
from common.codec.container import header_size
from common.codec.lightweight import HEADER
from common.codec.quantise import quantise, reconstruction

RESNET50 = Model(lam=0.7716595, mu=-1.4350621)
"""Layer 21 of the papers' ResNet-50, leaky ReLU of slope 0.1."""
LEVELS = (2, 3, 4, 8, 16)
COUNT = 1_000_000
FRAME = (16, 40, 40)
"""The embedded detector's cut."""
SLICE = 20_000
"""Elements for the reference, which is written to be read."""

Levels = NDArray[np.uint8]
Features = NDArray[np.float32]
Pair = tuple[Callable[[Levels], Any], Callable[[Any, Levels], Any], Callable[[Any], int]]
"""encode(levels) -> coded; decode(coded, levels to fill or ignore); bytes of coded."""


@dataclass(frozen=True)
class Row:
    """One coder on one set of levels. Speeds are millions of elements a second, the best of many runs."""

    data: str
    coder: str
    levels: int
    bits_per_element: float
    order0_bits: float
    encode_msym_s: float
    decode_msym_s: float


def draws(model: Model, count: int, seed: int = 0) -> Features:
    """Independent draws from a model of features."""
    rng = np.random.default_rng(seed)
    above = rng.random(count) < 1 / (1 + model.kappa**2)
    x = model.mu + np.where(above, rng.exponential(1 / model.a, count), -rng.exponential(1 / model.b, count))
    return np.where(x >= 0, x, model.slope * x).astype(np.float32)


def real_features(limit: int) -> tuple[list[Features], Model] | str:
    """The embedded detector's cut of some validation photos, and the model fitted to them; or why there are none."""
    try:
        front = session(shipped() / "front.onnx")
        found = [front.run(None, {"image": letterbox(photo.picture())[None]})[0][0] for photo in photos(limit)]
    except FileNotFoundError as error:
        return str(error)
    every = np.concatenate([x.ravel() for x in found])
    return found, fit(float(every.mean()), float(every.var()))


def seconds(call: Callable[[], object], budget: float) -> float:
    """The shortest of as many calls as fit in the budget, and of one at least."""
    best, end, runs = float("inf"), time.perf_counter() + budget, 0
    while runs < 1 or time.perf_counter() < end:
        begin = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begin)
        runs += 1
    return best


def histogram(parts: Sequence[Levels], levels: int) -> NDArray[np.float64]:
    """How often each level occurs; a level that does not still has a chance, for coders that need one."""
    counts = np.bincount(np.concatenate([q.ravel() for q in parts]), minlength=levels)
    return np.maximum(counts, 1e-3) / np.maximum(counts, 1e-3).sum()


def ours(levels: int) -> Pair:
    """The kernel."""
    return lambda q: _kernel.encode(q, levels), lambda data, q: _kernel.decode(data, q, levels), len


def reference(levels: int) -> Pair:
    """The same bytes from Python."""
    return lambda q: cabac.encode(q, levels), lambda data, q: cabac.decode(data, q.size, levels), len


def range_coder(p: NDArray[np.float64]) -> Pair:
    """The queue of constriction, with one categorical model."""
    model = constriction.stream.model.Categorical(p.astype(np.float32), perfect=False)

    def encode(q: Levels) -> NDArray[np.uint32]:
        coder = constriction.stream.queue.RangeEncoder()
        coder.encode(q, model)
        return coder.get_compressed()

    return (
        encode,
        lambda data, q: constriction.stream.queue.RangeDecoder(data).decode(model, q.size),
        lambda d: d.nbytes,
    )


def ans_coder(p: NDArray[np.float64]) -> Pair:
    """The stack of constriction, with one categorical model."""
    model = constriction.stream.model.Categorical(p.astype(np.float32), perfect=False)

    def encode(q: Levels) -> NDArray[np.uint32]:
        coder = constriction.stream.stack.AnsCoder()
        coder.encode_reverse(q, model)
        return coder.get_compressed()

    return encode, lambda data, q: constriction.stream.stack.AnsCoder(data).decode(model, q.size), lambda d: d.nbytes


def zstd(level: int) -> Pair:
    """One byte a level, at a level of effort."""
    packer, unpacker = zstandard.ZstdCompressor(level=level), zstandard.ZstdDecompressor()
    return packer.compress, lambda data, q: unpacker.decompress(data), len


def measure(data: str, coder: str, levels: int, parts: Sequence[Any], pair: Pair, budget: float) -> Row:
    """Each part is coded by itself, as a frame would be."""
    encode, decode, size = pair
    coded = [encode(q) for q in parts]
    blank = [np.empty(q.size, np.uint8) for q in parts]
    count = sum(q.size for q in parts)
    encode_s = seconds(lambda: [encode(q) for q in parts], budget)
    decode_s = seconds(lambda: [decode(c, b) for c, b in zip(coded, blank, strict=True)], budget)
    p = histogram(parts, levels)
    bits = 8 * sum(size(c) for c in coded) / count
    return Row(
        data, coder, levels, bits, float(-(p * np.log2(p)).sum()), count / encode_s / 1e6, count / decode_s / 1e6
    )


def compare(data: str, parts: Sequence[Features], model: Model, levels: int, budget: float) -> list[Row]:
    """Every coder on the same levels, in turns, so that all meet the same neighbours on the machine."""
    qs = [quantise(x.ravel(), *optimal_clip(model, levels), levels) for x in parts]
    wide = [q.astype(np.int32) for q in qs]  # what constriction takes, converted beforehand
    p = histogram(qs, levels)
    coders: list[tuple[str, Sequence[Any], Pair]] = [
        ("midstream", qs, ours(levels)),
        ("constriction queue", wide, range_coder(p)),
        ("constriction stack", wide, ans_coder(p)),
        ("zstd 3", qs, zstd(3)),
        ("zstd 19", qs, zstd(19)),
    ]
    if levels == 4:
        coders.insert(1, (f"reference, {SLICE}", [qs[0][:SLICE]], reference(levels)))
    turns = [[measure(data, name, levels, arrays, pair, budget / 3) for name, arrays, pair in coders] for _ in range(3)]
    return [fastest(rows) for rows in zip(*turns, strict=True)]


def fastest(rows: Sequence[Row]) -> Row:
    """The best of several turns."""
    encode, decode = (max(getattr(row, name) for row in rows) for name in ("encode_msym_s", "decode_msym_s"))
    return replace(rows[0], encode_msym_s=encode, decode_msym_s=decode)


def traffic(count: int, budget: float) -> dict[str, float]:
    """Clip and quantise, 4 bytes read and 1 written an element, in turns with what NumPy moves as many bytes by.

    np.copyto reads half of them and writes half; np.greater reads four and writes one, too.
    """
    x, q = draws(RESNET50, count), np.empty(count, np.uint8)
    c_min, c_max = optimal_clip(RESNET50, 4)
    source, target, above = np.ones(count * 5 // 2, np.uint8), np.ones(count * 5 // 2, np.uint8), np.empty(count, bool)
    calls: dict[str, Callable[[], object]] = {
        "kernel": lambda: _kernel.quantise(x, q, c_min, c_max, 4),
        "copyto": lambda: np.copyto(target, source),
        "greater": lambda: np.greater(x, 1.0, out=above),
        "reference": lambda: quantise(x, c_min, c_max, 4),
    }
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(5):
        for name, call in calls.items():
            best[name] = min(best[name], seconds(call, budget / 20))
    return {"elements": count, **{f"{name}_gb_s": 5 * count / 1e9 / s for name, s in best.items()}}


def frame(parts: Sequence[Features], model: Model) -> dict[str, float]:
    """One frame at a time, each another: features to container and back, at four levels. Milliseconds."""
    codec = Lightweight([parts[0].shape], {4: optimal_clip(model, 4)})
    reconstruction(*codec.clips[4], 4)
    encode_ms, decode_ms, sizes = [], [], []
    for x in [*parts] * max(1, 300 // len(parts)):
        begin = time.perf_counter()
        data = pack(Container(bytes(8), codec.id, 4, 1280, 720, codec.encode([x], 4)))
        middle = time.perf_counter()
        codec.decode(unpack(data).layers)
        encode_ms.append(1e3 * (middle - begin))
        decode_ms.append(1e3 * (time.perf_counter() - middle))
        sizes.append(len(data))
    return {
        "elements": sum(codec.sizes),
        "bytes": float(np.mean(sizes)),
        "overhead_bytes": header_size(1) + HEADER.size,
        "encode_ms_median": float(np.median(encode_ms)),
        "encode_ms_best": min(encode_ms),
        "decode_ms_median": float(np.median(decode_ms)),
        "decode_ms_best": min(decode_ms),
    }


def run(quick: bool, json_path: Path | None) -> dict[str, Any]:
    """Measure, print tables, write JSON to `json_path`."""
    budget = 0.1 if quick else 0.5
    x = draws(RESNET50, COUNT // 4 if quick else COUNT)
    sets: list[tuple[str, list[Features], Model]] = [("model", [x], RESNET50)]
    real = real_features(10 if quick else 40)
    if not isinstance(real, str):
        sets.append(("detector", *real))
    result: dict[str, Any] = {
        "rows": [asdict(row) for name, xs, m in sets for n in LEVELS for row in compare(name, xs, m, n, budget)],
        "quantise": [traffic(count, 5 * budget) for count in (COUNT, 16 * COUNT)],
        "frame": {name: frame(cut(xs), m) for name, xs, m in sets},
        "real_features": real if isinstance(real, str) else len(real[0]),
    }
    if json_path is not None:
        json_path.write_text(json.dumps(result, indent=1) + "\n")
    for drawn in tables(result):
        Console().print(drawn)
    return result


def cut(xs: Sequence[Features]) -> list[Features]:
    """Frames of the embedded detector's size."""
    size = int(np.prod(FRAME))
    return [part.reshape(FRAME) for x in xs for part in np.split(x.ravel()[: x.size // size * size], x.size // size)]


def tables(result: dict[str, Any]) -> list[Table]:
    """One of coders, one of the rest."""
    coders = Table(title="Levels to bytes: bits an element, millions of elements a second")
    for name in ("data", "N", "coder", "bits", "order-0", "encode", "decode"):
        coders.add_column(name, no_wrap=True)
    for row in (Row(**fields) for fields in result["rows"]):
        bits = f"{row.bits_per_element:.4f}", f"{row.order0_bits:.4f}"
        speed = f"{row.encode_msym_s:.1f}", f"{row.decode_msym_s:.1f}"
        coders.add_row(row.data, str(row.levels), row.coder, *bits, *speed, end_section=row.coder == "zstd 19")
    rest = Table("what", "measured", title="Around it, at four levels")
    for t in result["quantise"]:
        others = ", ".join(f"{name} {t[name + '_gb_s']:.1f}" for name in ("copyto", "greater", "reference"))
        rest.add_row(f"clip + quantise, {t['elements'] / 1e6:.0f} M", f"{t['kernel_gb_s']:.1f} GB/s; {others}")
    for name, f in result["frame"].items():
        times = f"{f['encode_ms_median']:.3f} ms to bytes, {f['decode_ms_median']:.3f} ms back"
        size = f"{f['bytes']:.0f} bytes, headers {f['overhead_bytes']}"
        rest.add_row(f"{name}, frame of {f['elements']}", f"{times}; {size}")
    if isinstance(result["real_features"], str):
        rest.add_row("real features", f"skipped: {result['real_features']}")
    return [coders, rest]
