"""What a person asks of `midstream bundle build`, checked, and done."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.settings import data_root
from bench.written import check_folder
from common.bundle import Bundle
from common.errors import BundleError
from train.bundles import from_onnx, trained
from train.bundles.build import Pictures, build, fit_named
from train.bundles.fit import Fit
from train.bundles.preprocess import FITS, ORDERS

CODEC = "transform"
ANY_HEAD = "--head nanodet, yolox or fastestdet"


@dataclass(frozen=True)
class Request:
    """The options as they were typed; exactly one of `export`, `onnx` and `torchvision` names the network."""

    export: Path | None = None
    onnx: Path | None = None
    torchvision: str | None = None
    weights: str | None = None
    """None: torchvision's own."""
    cut: str | None = None
    head: str | None = None
    calibrate: Path | None = None
    validate: Path | None = None
    images: int = 200
    codec: str | None = None
    """None: CODEC."""
    labels: Path | None = None
    name: str | None = None
    size: int | None = None
    preprocessing: dict[str, Any] = field(default_factory=dict)
    """Fields of `Preprocessing`, mean and std still as text."""


def run(request: Request, out: Path) -> Bundle:
    """Build what was asked for. Raises MidstreamError, with nothing written, if that cannot be."""
    named = [name for name in SOURCES if getattr(request, name) is not None]
    if len(named) != 1:
        raise BundleError("name one network: the folder of an export, --onnx FILE or --torchvision NAME")
    check_folder(out)
    return SOURCES[named[0]](request, out)


def _export(request: Request, out: Path) -> Bundle:
    assert request.export is not None
    _refuse(request, "an export", "cut", "head", "labels", "size", "preprocessing", "name", "weights")
    if request.calibrate is not None:
        fit, pictures = _codec(request)
        return build(trained.halves(request.export), pictures, out, fit)
    _refuse(request, "an export without --calibrate", "codec", "validate")
    halves = trained.halves(request.export)
    held_out = data_root() / "instances_val.json"
    return build(halves, Pictures(held_out, held_out, request.images), out, trained.fit(request.export))


def _onnx(request: Request, out: Path) -> Bundle:
    assert request.onnx is not None
    _refuse(request, "an ONNX file (its size and weights are fixed)", "size", "weights")
    if request.head is None:
        raise BundleError(f"say what the outputs of {request.onnx.name} mean: {ANY_HEAD}")
    fit, pictures = _codec(request)
    wanted = from_onnx.Wanted(_cut(request), request.head, request.labels, request.name, preprocessing(request))
    return build(from_onnx.halves(request.onnx, wanted), pictures, out, fit)


def _torchvision(request: Request, out: Path) -> Bundle:
    from train.bundles import vision

    assert request.torchvision is not None
    _refuse(request, "a torchvision model", "head")
    fit, pictures = _codec(request)
    model = vision.Wanted(request.torchvision, request.weights or "DEFAULT", request.size, request.labels)
    return build(vision.halves(model, _cut(request), request.name, preprocessing(request)), pictures, out, fit)


SOURCES: dict[str, Callable[[Request, Path], Bundle]] = {
    "export": _export,
    "onnx": _onnx,
    "torchvision": _torchvision,
}


def _refuse(request: Request, what: str, *options: str) -> None:
    if given := [option for option in options if getattr(request, option)]:
        raise BundleError(f"{what} takes no {', '.join('--' + option for option in given)}: leave it out")


def _codec(request: Request) -> tuple[Fit, Pictures]:
    """How the codec is fitted, and to what."""
    return fit_named(request.codec or CODEC), _pictures(request)


def _pictures(request: Request) -> Pictures:
    if request.calibrate is None:
        raise BundleError("name pictures to fit the codec to: --calibrate with a folder or a COCO-style listing")
    for path in (request.calibrate, request.validate):
        if path is not None and not path.exists():
            raise BundleError(f"there is no {path}: name a folder of pictures or a listing in COCO's JSON format")
    return Pictures(request.calibrate, request.validate, request.images)


def _cut(request: Request) -> tuple[str, ...]:
    if not request.cut:
        model = request.onnx or request.torchvision
        raise BundleError(f"say where to cut with --cut: `midstream bundle cuts {model}` lists the tensors that do")
    return tuple(name.strip() for name in request.cut.split(",") if name.strip())


def preprocessing(request: Request) -> dict[str, Any]:
    """Fields of `Preprocessing` that were asked for. Raises BundleError."""
    asked = dict(request.preprocessing)
    for option, flag, known in (("fit", "--fit", FITS), ("order", "--color", ORDERS)):
        if option in asked and asked[option] not in known:
            raise BundleError(f"{flag} is one of {' and '.join(known)}, not {asked[option]!r}")
    for option in ("mean", "std"):
        if option in asked:
            asked[option] = _numbers(option, asked[option])
    return asked


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise BundleError(
            f"--{option} takes numbers with commas between, like 0.485,0.456,0.406, not {text!r}"
        ) from None
