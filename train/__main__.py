"""`python -m train RECIPE`: train without the command line's other parts."""

import argparse
from pathlib import Path

from train.recipes import detector


def main() -> None:
    """Parse the command and train."""
    parser = argparse.ArgumentParser(prog="python -m train")
    parser.add_argument("recipe", choices=["detector"])
    parser.add_argument("--out", type=Path, default=Path("runs/detector"))
    parser.add_argument("--steps", type=int, default=15000, help="total; may change on resume")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    detector.main(given.out, given.steps, given.resume, given.threads)


if __name__ == "__main__":
    main()
