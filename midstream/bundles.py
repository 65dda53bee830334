"""`midstream bundle show|verify`: what a bundle says of itself, for a person."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from common import bundle as bundles
from common.bundle import OperatingPoint

console = Console(highlight=False, soft_wrap=True)
SHOWN = 8
"""Labels of more than so many are counted, not all named."""


def verify(path: Path) -> None:
    """Check every file; raises BundleError naming the first that differs."""
    bundle = bundles.load(path, "both")
    console.print(f"{bundle.digest}  {bundle.manifest.name} {bundle.manifest.version}: all files are as they should be")


def show(path: Path) -> None:
    """Print the manifest as tables."""
    bundle = bundles.load(path, "both")
    m = bundle.manifest
    console.print(f"[bold]{m.name} {m.version}[/]  {bundle.digest}")
    if m.description:
        console.print(m.description)
    tensors = ", ".join(f"{t.name} {'×'.join(map(str, t.shape))}" for t in m.cut.tensors)
    share = m.cut.macs_front / max(1, m.cut.macs_front + m.cut.macs_back)
    back = f"torchvision's {m.back.model} in torch" if m.back.runtime == "torchvision" else "ONNX Runtime"
    console.print(
        f"{m.detector.name}: {m.input.width}×{m.input.height} input ({m.input.fit}), {labels(m.detector.labels)}\n"
        f"cut at {tensors}, {share:.0%} of the multiply-adds on the edge; the back half runs in {back}\n"
        f"coded by {m.codec.get('name')}; modes {', '.join(m.modes)}"
    )
    for title, points in (("operating points", m.operating_points), ("picture points, mode image", m.picture_points)):
        if points:
            console.print(points_table(title, points))
    files = Table("file", "bytes", "side", "SHA-256", title="files", title_justify="left")
    for name, f in m.files.items():
        files.add_row(name, f"{f.bytes:,}", f.side, f.sha256[:16] + "…")
    console.print(files)


def labels(names: Sequence[str]) -> str:
    """The labels in a few words."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"labels {', '.join(names[:SHOWN])}{more}"


def points_table(title: str, points: Sequence[OperatingPoint]) -> Table:
    """What was measured at each quality."""
    table = Table("quality", "bytes", "bytes p95", "AP50", "agreement", title=title, title_justify="left")
    for p in points:
        ap50 = "" if p.ap50 is None else f"{p.ap50:.3f}"
        table.add_row(str(p.quality), f"{p.bytes_mean:,.0f}", f"{p.bytes_p95:,.0f}", ap50, f"{p.agreement_ap50:.3f}")
    return table
