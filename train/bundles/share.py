"""Bundles of one detector have files in common: kept once, beside them (`common.bundle.SHARED`)."""

from collections import Counter
from pathlib import Path

from common import bundle as bundles


def share(folder: Path, whole: str = "embedded") -> int:
    """Move what several bundles in `folder` have to its shared files; return the bytes that are saved.

    The bundle of the name `whole` keeps its own, so that its folder can be copied alone. Every bundle is verified
    first and after; what no bundle needs any more goes. Raises BundleError.
    """
    every = [bundles.load(path, "both") for path in sorted(folder.iterdir()) if len(path.name) == 64]
    held = [bundle for bundle in every if bundle.manifest.name != whole]
    users = Counter(file.sha256 for bundle in held for file in bundle.manifest.files.values())
    shared = folder / bundles.SHARED
    saved = 0
    for bundle in held:
        for name, file in bundle.manifest.files.items():
            own = bundle.path / name
            if users[file.sha256] < 2 or not own.exists():
                continue
            shared.mkdir(exist_ok=True)
            saved += file.bytes if (shared / file.sha256).exists() else 0
            own.replace(shared / file.sha256)
    for path in shared.glob("*"):
        if not users[path.name]:
            path.unlink()
    for bundle in every:
        bundles.load(bundle.path, "both")
    return saved
