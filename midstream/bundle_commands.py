"""`midstream bundle ...`: look at bundles, verify, build and calibrate them, and find where to cut a network."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from midstream.parts import part

bundle_app = typer.Typer(no_args_is_help=True, help="Look at, verify, build and calibrate bundles.")

Folder = Annotated[Path, typer.Argument(help="A bundle's folder.")]
Out = Annotated[Path, typer.Option(help="Folder that gets the bundle's folder.")]
CODECS = "What codes the features: transform, transform-labelled, lightweight or lightweight-rans."
Codec = Annotated[str, typer.Option(help=CODECS)]
Validate = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="Other pictures to measure on, like --calibrate; default: every fourth of those."),
]
Images = Annotated[int, typer.Option(help="At most this many pictures, evenly spread over what is there.", min=1)]
Numbers = Annotated[Optional[str], typer.Option(help="Three numbers with commas, in --color order.")]  # noqa: UP045
QUICK = 40
Text = Annotated[Optional[str], typer.Option()]  # noqa: UP045


@bundle_app.command("show")
def show(path: Folder) -> None:
    """Verify a bundle and print what it is."""
    from midstream import bundles as it

    it.show(path)


@bundle_app.command("verify")
def verify(path: Folder) -> None:
    """Check every file against the manifest; exit code 2 if one differs."""
    from midstream import bundles as it

    it.verify(path)


@bundle_app.command("share")
def share(
    folder: Annotated[Path, typer.Argument(help="A folder of bundles.")],
    whole: Annotated[str, typer.Option(help="The bundle of this name keeps its own files.")] = "embedded",
) -> None:
    """Keep what several bundles of a folder have in common once, beside them."""
    with part("train"):
        from train.bundles.share import share as it
    print(f"{it(folder, whole) / 1e6:.1f} MB saved")


@bundle_app.command("build")
def build(
    export: Annotated[Optional[Path], typer.Argument(help="What `midstream train detector` exported.")] = None,  # noqa: UP045
    onnx: Annotated[Optional[Path], typer.Option(help="A whole detector as an ONNX file.")] = None,  # noqa: UP045
    torchvision: Annotated[Optional[str], typer.Option(help="A model of torchvision by its name.")] = None,  # noqa: UP045
    weights: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="A state dict's file for --torchvision; default: torchvision's own."),
    ] = None,
    cut: Annotated[Optional[str], typer.Option(help="The tensor to cut at, or several with commas.")] = None,  # noqa: UP045
    head: Annotated[Optional[str], typer.Option(help="What the outputs mean: nanodet, yolox, fastestdet.")] = None,  # noqa: UP045
    calibrate: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Pictures to fit the codec to: a folder, or a listing in COCO's JSON format."),
    ] = None,
    validate: Validate = None,
    images: Images = 200,
    codec: Annotated[Optional[str], typer.Option(help=f"{CODECS} Default: transform.")] = None,  # noqa: UP045
    labels: Annotated[Optional[Path], typer.Option(help="A label a line; default: COCO's eighty.")] = None,  # noqa: UP045
    name: Annotated[Optional[str], typer.Option(help="The bundle's name; default: the network's.")] = None,  # noqa: UP045
    size: Annotated[Optional[int], typer.Option(help="The input's side in pixels, for torchvision.", min=1)] = None,  # noqa: UP045
    fit: Annotated[Optional[str], typer.Option(help="letterbox or stretch.")] = None,  # noqa: UP045
    pad: Annotated[Optional[int], typer.Option(help="The letterbox's grey, 0..255.", min=0, max=255)] = None,  # noqa: UP045
    color: Annotated[Optional[str], typer.Option(help="Order of the channels: rgb or bgr.")] = None,  # noqa: UP045
    mean: Numbers = None,
    std: Numbers = None,
    range_: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option("--range", help="The value of white before mean and std: 255 or 1."),
    ] = None,
    out: Out = Path("bundles"),
    quick: Annotated[bool, typer.Option("--quick", help="At most 40 pictures.")] = False,
) -> None:
    """Make a bundle: cut a network, fit the codec to pictures, measure the operating points, write, verify.

    How pictures are prepared (--fit to --range) is the head's or the model's own way unless said otherwise.
    """
    with part("train,bench"):
        from train.bundles.request import Request, run

        prepare = {"fit": fit, "pad": pad, "order": color, "mean": mean, "std": std, "top": range_}
        run(
            Request(
                export=export,
                onnx=onnx,
                torchvision=torchvision,
                weights=weights,
                cut=cut,
                head=head,
                calibrate=calibrate,
                validate=validate,
                images=min(images, QUICK) if quick else images,
                codec=codec,
                labels=labels,
                name=name,
                size=size,
                preprocessing={key: value for key, value in prepare.items() if value is not None},
            ),
            out,
        )


@bundle_app.command("calibrate")
def calibrate(
    bundle: Folder,
    pictures: Annotated[Path, typer.Option("--calibrate", help="A folder of pictures, or a COCO-style listing.")],
    validate: Validate = None,
    images: Images = 200,
    codec: Codec = "transform",
    out: Out = Path("bundles"),
) -> None:
    """Fit a codec to pictures, measure its operating points, and write the bundle anew with both."""
    with part("train,bench"):
        from train.bundles import build as it

        it.calibrate(bundle, it.Pictures(pictures, validate, images), out, it.fit_named(codec))


@bundle_app.command("layers")
def layers(
    checkpoint: Annotated[
        Path, typer.Argument(help="Of what `midstream train` trained: scalable2, frequency, denoise, plain, ...")
    ],
    name: Annotated[str, typer.Option(help="The bundle's name.")],
    validate: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Pictures to measure on, like --calibrate of build; for families that code features, too."),
    ] = None,
    detector: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="The bundle whose detector it was trained for; default: the embedded one."),
    ] = None,
    images: Images = 200,
    photos: Annotated[int, typer.Option(help="Training photos to count tables on.", min=8)] = 96,
    out: Out = Path("bundles"),
) -> None:
    """Make a bundle of trained layers: networks, integer tables; features as in the detector's bundle, or measured."""
    with part("train,bench"):
        from bench.networks import shipped
        from common import bundle as bundles
        from train.bundles import families as it

        source = bundles.load(detector or shipped(), "both")
        it.build(checkpoint, source, name, validate, out, photos=photos, limit=images)


@bundle_app.command("cuts")
def cuts(
    model: Annotated[str, typer.Argument(help="An ONNX file, or a model of torchvision by its name.")],
    size: Annotated[Optional[int], typer.Option(help="The input's side in pixels, for torchvision.", min=1)] = None,  # noqa: UP045
    weights: Annotated[str, typer.Option(help="torchvision's own (DEFAULT), or a state dict's file.")] = "DEFAULT",
    measure: Annotated[bool, typer.Option("--measure", help="Code each cut: bytes and agreement.")] = False,
    calibrate: Annotated[Optional[Path], typer.Option(help="Pictures to measure with.")] = None,  # noqa: UP045
    head: Annotated[Optional[str], typer.Option(help="What an ONNX file's outputs mean, as for build.")] = None,  # noqa: UP045
    labels: Annotated[Optional[Path], typer.Option(help="A label a line; default: COCO's eighty.")] = None,  # noqa: UP045
    codec: Codec = "transform",
    images: Annotated[int, typer.Option(help="At most this many pictures.", min=1)] = 32,
    json: Annotated[Optional[Path], typer.Option("--json", help="Also write the table to this file.")] = None,  # noqa: UP045
    plot: Annotated[Optional[Path], typer.Option(help="Draw the cuts worth having to this PNG.")] = None,  # noqa: UP045
) -> None:
    """List every tensor that cuts a network alone: what each would cost the edge and, measured, the link."""
    with part("train,bench"):
        from train.bundles import cuts as it

        it.run(
            it.Asked(model, size, weights, head, labels),
            it.Measuring(calibrate, codec, images) if measure else None,
            json,
            plot,
        )
