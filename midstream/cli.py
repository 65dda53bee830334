"""`midstream`: one command for everything. Each subcommand imports its part only when it runs."""

import os
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console
from rich.markup import escape

from common.errors import MidstreamError
from midstream import __version__
from midstream.bundle_commands import bundle_app
from midstream.parts import part
from midstream.track_commands import track_app

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Split inference with a codec in the middle: kilobytes of features from the edge, "
    "detections in the cloud, pixels on demand.",
)
bench_app = typer.Typer(no_args_is_help=True, help="Measure: every number in the documentation comes from here.")
app.add_typer(bundle_app, name="bundle")
app.add_typer(bench_app, name="bench")
bench_app.add_typer(track_app)

err = Console(stderr=True, highlight=False, soft_wrap=True)

Json = Annotated[Optional[Path], typer.Option("--json", help="Also write the figures to this file.")]  # noqa: UP045
Quick = Annotated[bool, typer.Option("--quick", help="Under a minute, with less precision.")]
EdgeUrl = Annotated[str, typer.Option("--edge", envvar="MIDSTREAM_EDGE_URL", help="Where the edge's HTTP API is.")]
CloudUrl = Annotated[str, typer.Option("--cloud", envvar="MIDSTREAM_CLOUD_URL", help="Where the cloud's HTTP API is.")]


def main() -> None:
    """Run the command line; errors raised on purpose are one line and exit code 2."""
    try:
        app()
    except MidstreamError as e:
        err.print(f"[bold red]error:[/] {escape(str(e))}")
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _version(value: bool) -> None:
    if value:
        typer.echo(f"midstream {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options before the subcommand."""


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="Leave when the frames are done.")] = False,
    frames: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--frames", help="Your own pictures: an image, a folder or a video."),
    ] = None,
) -> None:
    """Start a cloud and an edge here, send real frames, show what came of them."""
    with part("edge,cloud,demo"):
        from midstream import demo as it

        raise typer.Exit(it.run(once=once, frames=frames))


@app.command()
def edge() -> None:
    """Run the edge service. Settings are environment variables: MIDSTREAM_CLOUD=host:port and MIDSTREAM_EDGE_*."""
    _one_thread_a_matrix()
    with part("edge"):
        from edge import app as it
        from edge.settings import load

        it.run(load())


@app.command()
def cloud() -> None:
    """Run the cloud service. Settings are environment variables: MIDSTREAM_CLOUD_*."""
    _one_thread_a_matrix()
    with part("cloud"):
        from cloud import app as it
        from cloud.settings import load

        it.run(load())


def _one_thread_a_matrix() -> None:
    """Before NumPy is imported. A service has threads of its own and small matrices: threads of OpenBLAS would spin
    while they wait for each other, and take the processors from the networks.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@app.command()
def send(
    path: Annotated[str, typer.Argument(help="An image, a folder of images or a video.")],
    edge: EdgeUrl = "http://127.0.0.1:8080",
    camera: Annotated[str, typer.Option(help="Camera name the frames are filed under.")] = "default",
    wait: Annotated[
        float | None, typer.Option(help="Seconds to wait for each result; default: 5, of a video 0.", min=0, max=30)
    ] = None,
    limit: Annotated[int, typer.Option(help="At most this many frames.", min=1)] = 1_000_000,
    pixels: Annotated[
        bool, typer.Option("--pixels", help="Send each frame's pixels along, where there is room.")
    ] = False,
    fps: Annotated[
        float | None, typer.Option(help="Of a video, at most so many frames a second of its time.", min=0.01, max=240)
    ] = None,
    realtime: Annotated[bool, typer.Option("--realtime", help="Send a video no faster than its own pace.")] = False,
) -> None:
    """Send pictures or a video to an edge."""
    with part("demo"):
        from midstream import send as it

        raise typer.Exit(it.run(path, edge, camera, wait, limit, pixels, fps, realtime))


@app.command()
def results(
    cloud: CloudUrl = "http://127.0.0.1:8000",
    camera: Annotated[Optional[str], typer.Option(help="Only this camera.")] = None,  # noqa: UP045
    label: Annotated[Optional[str], typer.Option(help="Only frames with this label.")] = None,  # noqa: UP045
    min_score: Annotated[float, typer.Option(help="Only detections this sure.", min=0, max=1)] = 0.3,
    limit: Annotated[int, typer.Option(help="At most this many frames.", min=1, max=100_000)] = 20,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="One JSON object a line instead of a table.")] = False,
) -> None:
    """Ask a cloud for its newest results."""
    with part("demo"):
        from midstream import results as it

        raise typer.Exit(it.run(cloud, camera, label, min_score, limit, jsonl))


@bench_app.command("codec")
def bench_codec(json: Json = None, quick: Quick = False) -> None:
    """Bits and speed of the feature codec beside general coders, on the same data in the same run."""
    with part("bench"):
        from bench import codec as it

        it.run(quick=quick, json_path=json)


@bench_app.command("accuracy")
def bench_accuracy(
    bundle: Annotated[Path | None, typer.Option(help="A bundle's folder; default: the shipped one.")] = None,
    coco: Annotated[Path | None, typer.Option(help="Photos and boxes as COCO's JSON; default: the 128 of val.")] = None,
    frames: Annotated[
        Path | None, typer.Option(help="A folder of pictures or a video instead: agreement only.")
    ] = None,
    codecs: Annotated[
        str | None, typer.Option(help="Of the rivals only these, with commas: mosaic,jpeg,av1/network")
    ] = None,
    images: Annotated[int | None, typer.Option(help="At most this many photos.", min=1)] = None,
    json: Json = None,
    plot: Annotated[Path | None, typer.Option(help="Draw bytes over agreement to this PNG.")] = None,
    docs: Annotated[bool, typer.Option("--docs", help="Write this bundle's section of docs/results.md.")] = False,
) -> None:
    """Accuracy against bytes: the bundle's codec, the papers', HEVC of the features, and coded pictures."""
    with part("bench"):
        from bench import accuracy as it

        it.run(bundle, coco, frames, codecs.split(",") if codecs else None, images, json, plot, docs)


@bench_app.command("rd")
def bench_rd(
    images: Annotated[Path, typer.Option(help="A folder of pictures, of any sizes.")],
    bundle: Annotated[
        list[Path] | None, typer.Option(help="A bundle's folder, for its picture layers; may be given again.")
    ] = None,
    codecs: Annotated[
        str | None, typer.Option(help="Only these, with commas; the JSON file's others are kept. none: draw these.")
    ] = None,
    qualities: Annotated[
        str | None, typer.Option(help="These instead of each codec's own ladder, with commas: 100,200,300")
    ] = None,
    timing: Annotated[bool, typer.Option("--timing", help="Also what each stage of a bundle's layers takes.")] = False,
    json: Json = None,
    plot: Annotated[Path | None, typer.Option(help="Draw PSNR and MS-SSIM over bits per pixel to this PNG.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Draw decoded pictures beside JPEG's to this PNG.")] = None,
    docs: Annotated[bool, typer.Option("--docs", help="Write these pictures' section of docs/results-rd.md.")] = False,
) -> None:
    """Rate and distortion of pictures: a bundle's layers beside JPEG, WebP, x265 and AV1."""
    with part("bench"):
        from bench.rd import run as it

        wanted = codecs.split(",") if codecs else None
        chosen = [] if wanted == ["none"] else wanted
        it.run(images, chosen, bundle or [], _numbers(qualities), timing, json, plot, sheet, docs)


@bench_app.command("video")
def bench_video(
    frames: Annotated[
        list[Path], typer.Option(help="A folder of clips: folders of pictures, and videos. May be given again.")
    ],
    bundle: Annotated[Path | None, typer.Option(help="A bundle's folder; default: the shipped one.")] = None,
    codecs: Annotated[str | None, typer.Option(help="Only these, with commas, or what begins with them.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many frames of a clip.", min=2)] = None,
    json: Json = None,
    plot: Annotated[Path | None, typer.Option(help="Draw agreement over bytes to this PNG.")] = None,
    docs: Annotated[bool, typer.Option("--docs", help="Write this bundle's section of docs/results-video.md.")] = False,
) -> None:
    """Frames that follow one another: features coded after earlier ones, beside JPEG, x265 and AV1."""
    with part("bench"):
        from bench.video import run as it

        it.run(frames, bundle, codecs.split(",") if codecs else None, limit, json, plot, docs)


@bench_app.command("scalable-video")
def bench_scalable_video(
    frames: Annotated[
        list[Path], typer.Option(help="A folder of clips: folders of pictures, and videos. May be given again.")
    ],
    bundle: Annotated[Path | None, typer.Option(help="A bundle's folder; default: the shipped one.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many frames of a clip.", min=2)] = None,
    fusion: Annotated[
        Path | None,
        typer.Option(help="A network of `midstream train fusion`; default: the one that ships, if one does."),
    ] = None,
    json: Json = None,
    docs: Annotated[bool, typer.Option("--docs", help="Write its section of docs/results-video.md.")] = False,
) -> None:
    """Base layers and a video above them, beside the same video codec alone."""
    with part("bench"):
        from bench.video import scalable as it

        it.run(frames, bundle, limit, json, docs, fusion)


@bench_app.command("masks")
def bench_masks(
    bundle: Annotated[Path, typer.Option(help="A bundle's folder; it needs a mask layer.")],
    qualities: Annotated[
        str | None, typer.Option(help="Of the mask layer, with commas; default: some over all it offers.")
    ] = None,
    base_qualities: Annotated[
        str | None, typer.Option(help="Of the base layer, with commas; default: its default and one either side.")
    ] = None,
    images: Annotated[int | None, typer.Option(help="At most this many photos.", min=1)] = None,
    json: Json = None,
    plot: Annotated[Path | None, typer.Option(help="Draw mean IoU over bytes to this PNG.")] = None,
    docs: Annotated[bool, typer.Option("--docs", help="Write this bundle's section of docs/results-masks.md.")] = False,
) -> None:
    """Masks against bytes: base and mask layer beside the base layer alone and uncoded features."""
    with part("bench"):
        from bench.masks import run as it

        it.run(bundle, _numbers(qualities), _numbers(base_qualities), images, json, plot, docs)


@bench_app.command("denoise")
def bench_denoise(
    images: Annotated[list[Path], typer.Option(help="A folder of clean pictures; may be given again.")],
    sigma: Annotated[str, typer.Option(help="Deviations of the noise, of 0..255, with commas.")] = "15,25,50",
    realistic: Annotated[bool, typer.Option("--realistic", help="Also noise that grows with the light.")] = False,
    bundle: Annotated[Path | None, typer.Option(help="A bundle's folder, with layers clean and noisy.")] = None,
    beside: Annotated[
        list[Path] | None, typer.Option(help="A bundle whose picture layers cascades use, too; may be given again.")
    ] = None,
    codecs: Annotated[
        str | None, typer.Option(help="These again, with commas: denoise,dncnn>webp,webp>dncnn; default: what lacks.")
    ] = None,
    count: Annotated[int | None, typer.Option(help="At most this many pictures of each folder.", min=1)] = None,
    json: Json = None,
    plot: Annotated[Path | None, typer.Option(help="Draw PSNR over bits per pixel to this PNG.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Draw pictures beside the best cascade's to this PNG.")] = None,
    docs: Annotated[bool, typer.Option("--docs", help="Write its sections of docs/results-denoise.md.")] = False,
) -> None:
    """Clean pictures out of noisy ones: one codec that denoises beside a denoiser and a codec."""
    with part("train,bench"):
        from bench.denoise import run as it

        wanted = codecs.split(",") if codecs else None
        sigmas = [float(each) for each in _numbers(sigma) or []]
        it.run(images, sigmas, realistic, bundle, beside or [], wanted, count, json, plot, sheet, docs)


@bench_app.command("roi")
def bench_roi(
    bundle: Annotated[Path, typer.Option(help="A bundle's folder, with a picture layer in tiles.")],
    images: Annotated[Path, typer.Option(help="A folder of pictures, of any sizes.")],
    count: Annotated[int | None, typer.Option(help="At most this many pictures.", min=1)] = None,
    serve: Annotated[bool, typer.Option(help="Also ask an edge and a cloud for regions.")] = True,
    json: Json = None,
    plot: Annotated[Path | None, typer.Option(help="Draw bytes and times over area to this PNG.")] = None,
    docs: Annotated[bool, typer.Option("--docs", help="Write its section of docs/results-roi.md.")] = False,
) -> None:
    """Regions of pictures: bytes and time against area, and whether they show what the whole picture shows."""
    with part("edge,cloud,bench"):
        from bench.roi import run as it

        it.run(bundle, images, count, serve, json, plot, docs)


Runs = Annotated[Path, typer.Option(help="Where the recipes' folders are.")]
Some = Annotated[int | None, typer.Option(help="At most this many pictures of each set.", min=1)]
Threads = Annotated[int | None, typer.Option(help="CPU threads; default: all.", min=1)]
Docs = Annotated[bool, typer.Option("--docs", help="Write its section of docs/results.md.")]


@bench_app.command("variable-rate")
def bench_variable_rate(
    runs: Runs = Path("runs"),
    images: Some = None,
    threads: Threads = None,
    json: Json = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the models' curves to this PNG.")] = None,
    docs: Docs = False,
) -> None:
    """One picture codec for every rate beside one for each, part by part: checkpoints of `midstream train`."""
    with part("train,bench"):
        from train.compare import variable_rate as it

        it.run(runs, images, threads, json, plot, docs)


@bench_app.command("tradeoff")
def bench_tradeoff(
    runs: Runs = Path("runs"), images: Some = None, threads: Threads = None, json: Json = None, docs: Docs = False
) -> None:
    """Detector against picture: what the weights of the losses decide, by checkpoints of `midstream train`."""
    with part("train,bench"):
        from train.compare import tradeoff as it

        it.run(runs, images, threads, json, docs)


def _numbers(text: str | None) -> list[int] | None:
    """The integers of a list with commas."""
    try:
        return [int(number) for number in text.split(",")] if text else None
    except ValueError:
        raise typer.BadParameter(f"expected integers with commas, got {text!r}") from None


@bench_app.command("detector")
def bench_detector(
    json: Json = None,
    quick: Quick = False,
    bundle: Annotated[Path | None, typer.Option(help="A bundle's folder; default: the shipped one.")] = None,
) -> None:
    """Accuracy of the embedded detector beside NanoDet-m on the same photos."""
    with part("bench"):
        from bench import detector as it

        it.run(bundle_dir=bundle, quick=quick, json_path=json)


@bench_app.command("serve")
def bench_serve(json: Json = None, quick: Quick = False) -> None:
    """Frames per second and latency of edge + cloud beside one process doing the same work."""
    with part("edge,cloud,bench"):
        from bench import serve as it

        it.run(quick=quick, json_path=json)


@bench_app.command("stream")
def bench_stream(
    video: Annotated[Path | None, typer.Option(help="A video; default: the street of the data folder.")] = None,
    fps: Annotated[float, typer.Option(help="At most so many of its frames a second.", min=0.1, max=240)] = 25,
    seconds: Annotated[float, typer.Option(help="How long, after the warm-up.", min=5, max=86400)] = 60,
    json: Json = None,
) -> None:
    """A video played as a stream: whether edge and cloud on this machine keep up, and where the time goes."""
    with part("edge,cloud,bench"):
        from bench import stream as it

        it.run(video, fps, seconds, json)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="What to train; `midstream train list` names them.")],
    out: Annotated[Path | None, typer.Option(help="Where checkpoints, log and plot go; default: runs/RECIPE.")] = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps in all; default: the recipe's own; may change on resuming.", min=1)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the folder.")] = False,
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: all.", min=1)] = None,
) -> None:
    """Train what ships in the bundles; stop it at any time and go on with --resume."""
    with part("train"):
        from train.recipes import RECIPES
        from train.recipes import recipe as find

        if recipe == "list":
            for name, what in RECIPES.items():
                typer.echo(f"{name:18}{what}")
            return
        it = find(recipe)
        it.main(out or Path("runs") / recipe, steps or it.STEPS, resume=resume, threads=threads)
