"""`python -m train`: train and export without the command line's other parts."""

import argparse
from pathlib import Path

from bench.networks import shipped
from common import bundle as bundles
from train.export import export_run
from train.recipes import detector


def main() -> None:
    """Parse the command and run it."""
    parser = argparse.ArgumentParser(prog="python -m train")
    actions = parser.add_subparsers(dest="action", required=True)
    train = actions.add_parser("detector", help="train the embedded detector and export it")
    train.add_argument("--out", type=Path, default=Path("runs/detector"))
    train.add_argument("--steps", type=int, default=detector.STEPS, help="in all; may change on resuming")
    train.add_argument("--resume", action="store_true")
    train.add_argument("--threads", type=int)
    export = actions.add_parser("export", help="export a checkpoint, of a run under way too")
    export.add_argument("--checkpoint", type=Path, default=Path("runs/detector/checkpoint.pt"))
    export.add_argument("--to", type=Path, default=Path("runs/detector/export"))
    layers = actions.add_parser("export-scalable", help="make a bundle of a run with layers, on a bundle's detector")
    layers.add_argument("checkpoint", type=Path)
    layers.add_argument("--name", required=True)
    layers.add_argument("--bundle", type=Path, help="whose detector; default: the embedded one")
    layers.add_argument("--measure", type=Path, required=True, help="a folder of pictures, or a listing with boxes")
    layers.add_argument("--images", type=int, default=64, help="to measure on, at most")
    layers.add_argument("--photos", type=int, default=96, help="of the training set, to count tables on")
    layers.add_argument("--to", type=Path, default=Path("runs/bundles"))
    given = parser.parse_args()
    if given.action == "export-scalable":
        export_scalable(given)
    elif given.action == "export":
        export_run(given.checkpoint, given.to)
    else:
        detector.main(given.out, given.steps, given.resume, given.threads)


def export_scalable(given: argparse.Namespace) -> None:
    """Write the bundle that was asked for."""
    from train.bundles import scalable

    source = bundles.load(given.bundle or shipped(), "both")
    model = scalable.loaded(given.checkpoint)
    scalable.build(model, source, given.name, given.measure, given.to, photos=given.photos, limit=given.images)


if __name__ == "__main__":
    main()
