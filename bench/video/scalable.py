"""Scalable video beside the same codec alone: one pass over each clip gives the rows of both.

A sequence is coded as `common.video` codes it: base layers each after the one before, a video of the pictures at their
own size, fused where that helps. From the same bytes come the rows of

    scalable     base layers, the video and every byte of the chunks; what is fused is fused
    av1          the video alone, as it is
    fused        the video alone, but fused: what the network is worth, bytes being equal
    base         base layers alone
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from rich.console import Console

from bench.bd import Curve, bd_rate
from bench.networks import Split, shipped
from bench.pages import place as place_of
from bench.pages import put, table
from bench.rd.metrics import LEAST_SIDE, MsSsim, decibels, psnr
from bench.rd.report import columns
from bench.score import Matches, sure
from bench.settings import hush_encoders
from bench.video import document
from bench.video.clips import Clip, found
from bench.written import check_file, write_json
from common import bundle as bundles
from common import feature_codec
from common.codec import Container, Features, TemporalCodec, pack
from common.errors import MidstreamError
from common.geometry import Detections
from common.video import Coder, Settings, av1, chunks
from common.video.fusion import Fusion
from common.video.fusion import shipped as shipped_fusion
from common.video.planes import Picture, to_picture

QUANTISERS = (30, 36, 42, 48, 54, 60)
HEADS = ("codec", "quantiser", "bytes a frame", "agreement", "PSNR dB", "MS-SSIM", "fused")
KEY = "scalable-video"
MEANING = """*scalable* is base layers, a video of the pictures at their own size, and all that holds them together;
*av1* is that video alone, whose pictures the whole detector sees; *fused* has the same bytes and is fused where that
helps; *base* is the base layers alone. Agreement, PSNR and MS-SSIM are means over all frames; AV1 is SVT-AV1, preset 6,
without delay."""


@dataclass(frozen=True)
class Row:
    """One codec at one quantiser over all clips. PSNR and MS-SSIM are those of pictures at their own size."""

    codec: str
    quality: int
    bytes_per_frame: float
    agreement_ap50: float
    psnr: float | None
    ms_ssim: float | None
    fused: float | None
    """Share of the frames that are."""


@dataclass(frozen=True)
class Based:
    """A clip's base layers: containers, what the cloud decodes, and how many bytes they are."""

    clip: Clip
    packets: list[bytes]
    features: list[list[Features]]


@dataclass(frozen=True)
class Seen:
    """A clip's pictures as a decoder shows them, the bytes of each frame, and how many frames are fused."""

    clip: Clip
    pictures: list[Picture]
    sizes: list[int]
    fused: int = 0


def run(
    places: Sequence[Path],
    bundle_dir: Path | None = None,
    limit: int | None = None,
    json_path: Path | None = None,
    docs: bool = False,
    fusion_path: Path | None = None,
) -> dict[str, Any]:
    """Measure, print, write what is asked for, and return what --json writes. Raises MidstreamError."""
    check_file(json_path)
    place = place_of(document.PAGE) if docs else None
    hush_encoders()
    split = Split(bundles.load(bundle_dir or shipped(), "both"))
    fusion = fusion_of(split, fusion_path)
    rows = list(measured(found(places, split, limit), split, fusion))
    result = {
        "bundle": split.bundle.manifest.name,
        "digest": split.bundle.digest,
        "measured_by": command(places, bundle_dir, limit, fusion_path),
        "multiply_adds_per_pixel": fusion and fusion.multiply_adds,
        "bd_rates": bd_rates(rows),
        "rows": [asdict(row) for row in rows],
    }
    show(rows, result)
    if json_path is not None:
        write_json(json_path, result)
    if place is not None:
        page = place / document.PAGE
        put(page, KEY, section(rows, result))
    return result


def fusion_of(split: Split, path: Path | None) -> Fusion | None:
    """The network of a file, or the one that ships. Raises MidstreamError if it is none or knows another bundle."""
    if path is None:
        return shipped_fusion()
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            fusion = Fusion(dict(arrays))
    except (OSError, EOFError, KeyError, TypeError, ValueError, BadZipFile) as e:
        raise MidstreamError(f"{path} is no network of `midstream train fusion`: {e}") from e
    if fusion.bundle != split.bundle.prefix:
        raise MidstreamError(f"{path} knows the features of bundle {fusion.bundle.hex()}, not of {split.bundle!r}")
    return fusion


def command(places: Sequence[Path], bundle_dir: Path | None, limit: int | None, fusion_path: Path | None) -> str:
    """The command line that measures this again. A path outside the working folder keeps only its name."""
    parts = ["midstream bench scalable-video"]
    named = [("frames", path) for path in places]
    named += [(option, path) for option, path in (("bundle", bundle_dir), ("fusion", fusion_path)) if path]
    parts += [f"--{option} {path.name if path.is_absolute() else path.as_posix()}" for option, path in named]
    return " ".join([*parts, *([f"--limit {limit}"] if limit else [])])


def measured(clips: Sequence[Clip], split: Split, fusion: Fusion | None) -> Iterator[Row]:
    """All rows, coarse quantisers last."""
    codec = feature_codec.of(split.bundle)
    if not isinstance(codec, TemporalCodec):
        raise MidstreamError(f"the codec {codec.name!r} of {split.bundle!r} codes every frame alone")
    based = [bases(clip, codec) for clip in clips]
    agreed = agreement(clips, [finished(clip, one.features) for clip, one in zip(clips, based, strict=True)])
    sizes = [len(packet) for one in based for packet in one.packets]
    yield Row("base", codec.default_quality, float(np.mean(sizes)), agreed, None, None, None)
    coder = Coder(split.bundle, codec, fusion)
    for quantiser in QUANTISERS:
        pairs = [through(one, coder, Settings(quantiser)) for one in based]
        plain, fused = ([pair[i] for pair in pairs] for i in (0, 1))
        yield row("av1", quantiser, plain, pictured(plain, split))
        yield row("fused", quantiser, fused, pictured(fused, split))
        whole = [whole_bytes(seen, one) for seen, one in zip(fused, based, strict=True)]
        yield row("scalable", quantiser, whole, agreed)


def bases(clip: Clip, codec: TemporalCodec) -> Based:
    """Each frame after the one before."""
    packets, decoded, state = [], [], None
    scene = clip.scene
    for i, tensors in enumerate(scene.features):
        box, window, before = scene.box(i), scene.window(i), state if i % Settings().period else None
        layers, state, alone, _ = codec.encode_after(tensors, codec.default_quality, window, before)
        decoded.append(codec.decode_after(layers, window, lambda _, before=before: before)[0])
        sizes = box.picture_w, box.picture_h
        packets.append(pack(Container(scene.bundle.prefix, codec.id, codec.default_quality, *sizes, layers, alone)))
    return Based(clip, packets, decoded)


def through(based: Based, coder: Coder, settings: Settings) -> tuple[Seen, Seen]:
    """The video as it is, and as the sequence shows it."""
    pictures = [shot.picture for shot in based.clip.scene.shots]
    data = b"".join(coder.encode(zip(pictures, based.packets, strict=True), settings))
    shown = list(coder.decode(data))
    header, frames = chunks.read(data)
    units = [frame.enhancement.data for frame in frames if frame.enhancement is not None]
    decoder = av1.Decoder(header.width + header.width % 2, header.height + header.height % 2)
    plain = [to_picture(decoder.decode(unit), header.width, header.height) for unit in units]
    sizes = [len(unit) for unit in units]
    fused = [frame.picture for frame in shown if frame.picture is not None]
    return Seen(based.clip, plain, sizes), Seen(based.clip, fused, sizes, sum(frame.fused for frame in shown))


def whole_bytes(seen: Seen, based: Based) -> Seen:
    """The same, with the base layers and everything that the chunks add to each frame."""
    added = 2 * chunks.OPENING + chunks.ENHANCEMENT.size
    sizes = [size + len(packet) + added for size, packet in zip(seen.sizes, based.packets, strict=True)]
    return Seen(seen.clip, seen.pictures, sizes, seen.fused)


def row(codec: str, quantiser: int, seen: Sequence[Seen], agreed: float) -> Row:
    """Means over all frames of all clips."""
    pairs = [(shot.picture, p) for one in seen for shot, p in zip(one.clip.scene.shots, one.pictures, strict=True)]
    alike = [MsSsim(original).to(shown) for original, shown in pairs if min(original.shape[:2]) >= LEAST_SIDE]
    return Row(
        codec=codec,
        quality=quantiser,
        bytes_per_frame=float(np.mean([size for one in seen for size in one.sizes])),
        agreement_ap50=agreed,
        psnr=float(np.mean([psnr(*pair) for pair in pairs])),
        ms_ssim=float(np.mean(alike)) if alike else None,
        fused=None if codec == "av1" else sum(one.fused for one in seen) / len(pairs),
    )


def pictured(seen: Sequence[Seen], split: Split) -> float:
    """Agreement of what the whole network finds in the decoded pictures."""
    return agreement([one.clip for one in seen], [[split(picture) for picture in one.pictures] for one in seen])


def finished(clip: Clip, features: Sequence[list[Features]]) -> list[Detections]:
    """What the back half finds."""
    return [clip.scene.split.finish(f, shot.picture) for f, shot in zip(features, clip.scene.shots, strict=True)]


def agreement(clips: Sequence[Clip], detections: Sequence[Sequence[Detections]]) -> float:
    """AP50 against the sure detections on uncoded frames."""
    uncoded = [sure(one) for clip in clips for one in clip.scene.uncoded]
    matches = Matches(uncoded, [one for each in detections for one in each], clips[0].scene.classes)
    return float(matches.average_precision()[0])


def bd_rates(rows: Sequence[Row]) -> dict[str, dict[str, float | None]]:
    """Percent of rate beside the video alone, by codec and measure."""
    return {codec: {name: delta(rows, codec, name) for name in ("psnr", "ms_ssim")} for codec in ("fused", "scalable")}


def delta(rows: Sequence[Row], codec: str, name: str) -> float | None:
    """None where there are too few rows, or the pictures are too small for MS-SSIM."""
    curves = []
    for one in ("av1", codec):
        own = [(row.bytes_per_frame, getattr(row, name)) for row in rows if row.codec == one]
        if any(quality is None for _, quality in own) or not own:
            return None
        curves.append(Curve((size, decibels(q) if name == "ms_ssim" else q) for size, q in own))
    found = bd_rate(*curves)
    return found and found.percent


def cells(row: Row) -> list[str]:
    """A row's figures as text, in the order of HEADS."""
    looks = ["" if row.psnr is None else f"{row.psnr:.2f}", "" if row.ms_ssim is None else f"{row.ms_ssim:.4f}"]
    fused = "" if row.fused is None else f"{100 * row.fused:.0f} %"
    return [row.codec, str(row.quality), f"{row.bytes_per_frame:,.0f}", f"{row.agreement_ap50:.3f}", *looks, fused]


def said(result: dict[str, Any]) -> str:
    """The BD-rates and the network's price in a sentence each."""
    rates = [
        f"{codec} {rate:+.1f} % at equal {'PSNR' if name == 'psnr' else 'MS-SSIM'}"
        for codec, by in result["bd_rates"].items()
        for name, rate in by.items()
        if rate is not None
    ]
    net = result["multiply_adds_per_pixel"]
    price = f"The network costs {net / 1000:.1f} kMAC a pixel." if net else "No network ships: nothing is fused."
    return f"BD-rate beside av1: {', '.join(rates)}. {price}" if rates else price


def show(rows: Sequence[Row], result: dict[str, Any]) -> None:
    """Print the table."""
    console = Console(highlight=False, width=max(120, Console().width))
    drawn = columns(HEADS, "scalable video")
    for one in rows:
        drawn.add_row(*cells(one))
    console.print(drawn)
    console.print(said(result))


def section(rows: Sequence[Row], result: dict[str, Any]) -> str:
    """Markdown."""
    head = f"## Scalable video: {result['bundle']}"
    rows_of = table(HEADS, [cells(row) for row in rows])
    measured_by = f"`{result['measured_by']}`: bundle {result['digest'][:12]}"
    parts = [head, measured_by, MEANING, said(result), rows_of]
    return "\n\n".join(parts) + "\n"
