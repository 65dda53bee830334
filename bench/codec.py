"""The feature codecs beside general coders: bits and speed on the same levels, in the same run, on one core.

Three parts: coding levels, clipping and quantising (against a NumPy copy of as many bytes), and a whole frame. The
data are independent draws from the papers' model of ResNet-50's features and, where photos are at hand, the embedded
detector's real features of held-out ones, else fields whose neighbours resemble each other. The coder in context is
calibrated on other frames than it codes. General coders get their statistics for nothing: constriction is told the
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
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bench.coco import letterbox, photos
from bench.networks import session, shipped
from common.codec import Container, Lightweight, LightweightRans, _kernel, cabac, neighbours, pack, unpack
from common.codec.clip import Model, fit, optimal_clip
from common.codec.container import PREFIX_BYTES, header_size
from common.codec.lightweight import HEADER
from common.codec.lightweight_rans import calibrate
from common.codec.quantise import quantise, reconstruction

RESNET50 = Model(lam=0.7716595, mu=-1.4350621)
"""Layer 21 of the papers' ResNet-50, leaky ReLU of slope 0.1."""
LEVELS = (2, 3, 4, 8, 16)
COUNT = 1_000_000
FRAME = (16, 40, 40)
"""The embedded detector's cut."""
IN_CONTEXT = "midstream in context"
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
    ideal_bits: float | None = None
    """Where there are calibrated tables: what they promise for these levels, -log2(frequency / 2^14) an element."""


@dataclass(frozen=True)
class Data:
    """Frames of features, the model fitted to them, and other frames to calibrate on, if neighbours are alike."""

    name: str
    frames: Sequence[Features]
    model: Model
    others: Sequence[Features] = ()


def draws(model: Model, count: int, seed: int = 0) -> Features:
    """Independent draws from a model of features."""
    rng = np.random.default_rng(seed)
    above = rng.random(count) < 1 / (1 + model.kappa**2)
    x = model.mu + np.where(above, rng.exponential(1 / model.a, count), -rng.exponential(1 / model.b, count))
    return np.where(x >= 0, x, model.slope * x).astype(np.float32)


def real_features(limit: int) -> Data | str:
    """The embedded detector's cut of validation photos, and of four times as many others; or why there are none."""
    try:
        front = session(shipped() / "front.onnx")
        listed = photos(limit), photos(None, "instances_train.json")
        chosen = listed[0], listed[1][:: max(1, len(listed[1]) // (4 * limit))]
        found, others = (
            [front.run(None, {"image": letterbox(p.picture())[None]})[0][0] for p in part] for part in chosen
        )
    except FileNotFoundError as error:
        return str(error)
    every = np.concatenate([x.ravel() for x in found])
    return Data("detector", found, fit(float(every.mean()), float(every.var())), others)


def fields(limit: int) -> Data:
    """In place of a detector's features: noise smoothed over 3 x 3, channels of different strength, leaky ReLU."""
    channels, height, width = FRAME
    frames = []
    for seed in range(5 * limit):
        noise = np.random.default_rng(seed).standard_normal((channels, height + 2, width + 2))
        rows = noise[:, :-2] + noise[:, 1:-1] + noise[:, 2:]
        x = (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) * np.linspace(0.1, 0.5, channels)[:, None, None]
        frames.append(np.where(x >= 0, x, 0.1 * x).astype(np.float32))
    every = np.stack(frames[:limit])
    return Data("field", frames[:limit], fit(float(every.mean()), float(every.var())), frames[limit:])


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


def in_context(model: neighbours.Model, shape: tuple[int, ...]) -> Pair:
    """The kernel, by calibrated tables."""
    return lambda q: model.encode(q, [shape]), lambda data, q: model.decode(data, q, [shape]), len


def learned(data: Data, levels: int) -> neighbours.Model:
    """Tables counted on the other frames."""
    shape, clip = data.others[0].shape, optimal_clip(data.model, levels)
    flat = [x.ravel() for x in data.others]
    classes = neighbours.rank(flat, [shape])
    return neighbours.learn([quantise(x, *clip, levels) for x in flat], [shape], levels, classes)


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


def compare(data: Data, levels: int, budget: float) -> list[Row]:
    """Every coder on the same levels, in turns, so that all meet the same neighbours on the machine."""
    qs = [quantise(x.ravel(), *optimal_clip(data.model, levels), levels) for x in data.frames]
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
    if data.others:
        model, shape = learned(data, levels), data.frames[0].shape
        coders.insert(1, (IN_CONTEXT, qs, in_context(model, shape)))
    turns = [[measure(data.name, name, levels, q, pair, budget / 3) for name, q, pair in coders] for _ in range(3)]
    rows = [fastest(rows) for rows in zip(*turns, strict=True)]
    if data.others:
        ideal = sum(model.bits(q, [shape]) for q in qs) / sum(q.size for q in qs)
        rows[1] = replace(rows[1], ideal_bits=ideal)
    return rows


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


def frame(codec: Lightweight, parts: Sequence[Features]) -> dict[str, float]:
    """One frame at a time, each another: features to container and back, at four levels. Milliseconds."""
    reconstruction(*codec.clips[4], 4)
    encode_ms, decode_ms, sizes = [], [], []
    for x in [*parts] * max(1, 300 // len(parts)):
        begin = time.perf_counter()
        data = pack(Container(bytes(PREFIX_BYTES), codec.id, 4, 1280, 720, codec.encode([x], 4)))
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


def codecs(data: Data) -> dict[str, Lightweight]:
    """The codecs of a frame, at four levels."""
    params = {"shapes": [FRAME], "clips": {"4": optimal_clip(data.model, 4)}, "default_levels": 4}
    made: dict[str, Lightweight] = {data.name: Lightweight.from_params(params)}
    if data.others:
        arrays = calibrate(params, [[x] for x in data.others])
        made[f"{data.name}, in context"] = LightweightRans.from_params(params, arrays)
    return made


def run(quick: bool, json_path: Path | None) -> dict[str, Any]:
    """Measure, print tables, write JSON to `json_path`."""
    budget, limit = (0.1, 10) if quick else (0.5, 40)
    real = real_features(limit)
    correlated = fields(limit) if isinstance(real, str) else real
    sets = [Data("model", [draws(RESNET50, COUNT // 4 if quick else COUNT)], RESNET50), correlated]
    result: dict[str, Any] = {
        "rows": [asdict(row) for data in sets for n in LEVELS for row in compare(data, n, budget)],
        "quantise": [traffic(count, 5 * budget) for count in (COUNT, 16 * COUNT)],
        "frame": {name: frame(codec, cut(data.frames)) for data in sets for name, codec in codecs(data).items()},
        "real_features": real if isinstance(real, str) else len(real.frames),
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
    coders = Table(
        title="Levels to bytes: bits an element, millions of elements a second", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for name in ("data", "N", "coder", "bits", "ideal", "order-0", "encode", "decode"):
        coders.add_column(name, no_wrap=True, justify="left" if name in ("data", "coder") else "right")
    for row in (Row(**fields) for fields in result["rows"]):
        ideal = "" if row.ideal_bits is None else f"{row.ideal_bits:.3f}"
        bits = f"{row.bits_per_element:.3f}", ideal, f"{row.order0_bits:.3f}"
        speed = (f"{m:.0f}" if m >= 10 else f"{m:.1f}" for m in (row.encode_msym_s, row.decode_msym_s))
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
