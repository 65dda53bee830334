"""`midstream bench track` and what makes and converts sequences for it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from midstream.parts import part

track_app = typer.Typer()

Dataset = Annotated[Path, typer.Option(help="Tracks as in SFU-HW-Tracks-v1: a folder of text files a sequence.")]


@track_app.command("track")
def track(
    dataset: Dataset,
    video: Annotated[Path, typer.Option(help="Its pictures: a video, or a folder of videos or folders of pictures.")],
    bundle: Annotated[
        list[Path] | None, typer.Option(help="A bundle's folder; may be given again. Default: the shipped one.")
    ] = None,
    codecs: Annotated[
        str | None, typer.Option(help="Of the rivals only these, with commas: jpeg,x265,av1. none: no rival.")
    ] = None,
    frames: Annotated[int | None, typer.Option(help="At most this many frames of each sequence.", min=1)] = None,
    score: Annotated[float, typer.Option(help="From which a detection begins a track.", min=0.1, max=1)] = 0.3,
    json: Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the scores over bytes to this PNG.")] = None,
    docs: Annotated[
        bool, typer.Option("--docs", help="Write this dataset's section of docs/results-track.md.")
    ] = False,
) -> None:
    """Tracking against bytes: MOTA, IDF1 and HOTA of what is found in coded features and coded pictures."""
    with part("bench"):
        from bench.track import run as it

        it.run(dataset, video, bundle or [], codecs.split(",") if codecs else None, frames, json, plot, docs, score)


@track_app.command("synthetic-tracks")
def synthetic_tracks(
    out: Annotated[Path, typer.Argument(help="A folder; it gets a folder synthetic-tracks and a folder video.")],
    frames: Annotated[int, typer.Option(help="Of each sequence.", min=1, max=10_000)] = 60,
    rate: Annotated[int, typer.Option(help="Frames a second.", min=1, max=240)] = 10,
    people: Annotated[int, typer.Option(help="In each sequence.", min=1, max=200)] = 7,
    seed: Annotated[int, typer.Option(help="The same seed makes the same sequences.", min=0)] = 1,
) -> None:
    """Make up sequences whose tracks are known, for `bench track`: people cut out of photos walk over others."""
    with part("bench"):
        from bench.track import run as it

        it.make(out, frames, rate, people, seed)


@track_app.command("convert-tracks")
def convert_tracks(
    dataset: Dataset,
    out: Annotated[Path, typer.Argument(help="A folder; it gets a file for each sequence.")],
    to: Annotated[Literal["mot", "coco"], typer.Option(help="Text as in the MOT Challenge, or COCO's JSON.")] = "mot",
    size: Annotated[str | None, typer.Option(help="WxH of the pictures; default: as the files' names say.")] = None,
) -> None:
    """Write a dataset of tracks in another format, boxes in pixels."""
    with part("bench"):
        from bench.sfu import convert as it

        it.run(dataset, out, to, size)
