"""`midstream bundle show|verify`: what a bundle says of itself, for a person."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from common import bundle as bundles

console = Console(highlight=False, soft_wrap=True)


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
    console.print(
        f"{m.detector.name}: {m.input.width}×{m.input.height} input, labels {', '.join(m.detector.labels)}\n"
        f"cut at {tensors}, {share:.0%} of the multiply-adds on the edge\n"
        f"coded by {m.codec.get('name')}"
    )
    points = Table("quality", "bytes", "bytes p95", "AP50", "agreement", title="operating points", title_justify="left")
    for p in m.operating_points:
        points.add_row(
            str(p.quality),
            f"{p.bytes_mean:,.0f}",
            f"{p.bytes_p95:,.0f}",
            "" if p.ap50 is None else f"{p.ap50:.3f}",
            f"{p.agreement_ap50:.3f}",
        )
    console.print(points)
    files = Table("file", "bytes", "side", "SHA-256", title="files", title_justify="left")
    for name, f in m.files.items():
        files.add_row(name, f"{f.bytes:,}", f.side, f.sha256[:16] + "…")
    console.print(files)
