"""`python -m train`: train and export without the command line's other parts."""

import argparse
from pathlib import Path

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
    given = parser.parse_args()
    if given.action == "export":
        export_run(given.checkpoint, given.to)
    else:
        detector.main(given.out, given.steps, given.resume, given.threads)


if __name__ == "__main__":
    main()
