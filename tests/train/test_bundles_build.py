"""From an ONNX file and pictures to a bundle that both sides can run; and what is refused leaves nothing behind."""

import io
import json

import numpy as np
import onnx
import pytest
from PIL import Image

pytest.importorskip("onnxruntime")
pytest.importorskip("faster_coco_eval")

from rich.console import Console

from bench.clips import clips
from bench.networks import Split, placed
from common import bundle as bundles
from common import feature_codec
from common.errors import BundleError, MidstreamError
from common.types import Mode
from tests.train import graphs
from tests.train.graphs import LABELS, SIZE
from train.bundles import build, graph
from train.bundles.images import load
from train.bundles.request import Request, run


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    networks = {name: make(folder / f"{name}.onnx") for name, make in graphs.NETWORKS.items()}
    return {"labels": graphs.labels_file(folder), "pictures": graphs.pictures(folder / "pictures"), **networks}


def request(inputs, kind="yolox", **changes):
    asked = {
        "onnx": inputs[kind],
        "cut": "cut",
        "head": kind,
        "codec": "lightweight",
        "labels": inputs["labels"],
        "calibrate": inputs["pictures"],
    }
    return Request(**{**asked, **changes})


@pytest.fixture(scope="module")
def built(inputs, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundles")
    return {head: run(request(inputs, head), out) for head in graphs.NETWORKS}


@pytest.mark.parametrize("head", graphs.NETWORKS)
def test_both_halves_of_a_bundle_are_the_network(head, built, inputs):
    bundle = built[head]
    split, whole = Split(bundle), graph.read(inputs[head])
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    (raw,) = split.back.run([tensor[None] for tensor in split.cut(image)])
    values = image[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32)
    if head == "fastestdet":
        values = values / 255
    if head == "nanodet":
        mean, std = np.float32([103.53, 116.28, 123.675]), np.float32([57.375, 57.12, 58.395])
        values = (values - mean[:, None, None]) / std[:, None, None]
    outputs = graph.session(whole.model).run(whole.flow.outputs, {"image": values.astype(np.float32)})
    from tests.train.test_bundles_heads import PLAIN

    expected = PLAIN[head](dict(zip(whole.flow.outputs, outputs, strict=True)))
    np.testing.assert_allclose(raw[0], expected[0], atol=1e-4)
    np.testing.assert_allclose(raw[1], expected[1], rtol=1e-4, atol=1e-2)


def test_pictures_are_letterboxed_or_stretched_as_the_head_wants(built):
    white = np.full((32, 64, 3), 255, np.uint8)
    assert np.all(placed(white, built["fastestdet"].manifest.input) == 255)
    boxed = placed(white, built["yolox"].manifest.input)
    assert np.all(boxed[16:48] == 255) and np.all(boxed[:16] == 114) and np.all(boxed[48:] == 114)


@pytest.mark.parametrize("head", graphs.NETWORKS)
def test_a_batch_through_a_bundle_is_its_frames(head, built):
    split = Split(built[head])
    assert split.back.batches
    frames = [split.cut(np.random.default_rng(i).integers(0, 256, (48, 64, 3), np.uint8)) for i in range(3)]
    together = split.back.run([np.stack(tensors) for tensors in zip(*frames, strict=True)])
    for frame, raw in zip(frames, together, strict=True):
        (alone,) = split.back.run([tensor[None] for tensor in frame])
        for a, b in zip(raw, alone, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_a_bundle_says_what_was_measured_and_allows_every_mode(built):
    for bundle in built.values():
        manifest = bundles.load(bundle.path, "both").manifest
        assert manifest.modes == tuple(Mode)
        for points in (manifest.operating_points, manifest.picture_points):
            assert [p.quality for p in points] == sorted({p.quality for p in points})
            assert all(p.bytes_mean > 0 and p.ap50 is None for p in points)
        assert [p.quality for p in manifest.operating_points] == list(feature_codec.of(bundle).qualities)
        assert manifest.operating_points[-1].agreement_ap50 >= manifest.operating_points[0].agreement_ap50
        assert manifest.detector.labels == LABELS and manifest.detector.coco_ids == (17, 18, 16)


def test_a_cut_of_two_tensors_travels_as_one(inputs, tmp_path):
    bundle = run(request(inputs, cut="left, right"), tmp_path)
    split, codec = Split(bundle), feature_codec.of(bundle)
    features = split.cut(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    assert [f.shape for f in features] == bundle.manifest.cut.shapes == [(6, 8, 8)] * 2
    again = codec.decode(codec.encode(features))
    assert [f.shape for f in again] == bundle.manifest.cut.shapes


def test_calibrating_again_keeps_the_network(built, inputs, tmp_path):
    first = built["yolox"]
    again = build.calibrate(first.path, build.Pictures(inputs["pictures"]), tmp_path, build.fit_named("lightweight"))
    assert again.digest == first.digest  # the same pictures, the same answer
    other = build.calibrate(
        first.path, build.Pictures(inputs["pictures"], limit=4), tmp_path, build.fit_named("lightweight")
    )
    assert other.digest != first.digest
    for name in ("front.onnx", "back.onnx"):
        assert other.manifest.files[name] == first.manifest.files[name]


def test_the_back_half_in_torch_is_the_back_half(built):
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx2torch")
    from train.bundles.torch_back import torch_back

    for bundle in built.values():
        split = Split(bundle)
        features = split.cut(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8))
        (raw,) = split.back.run([tensor[None] for tensor in features])
        cut = [torch.from_numpy(tensor[None]).requires_grad_() for tensor in features]
        scores, boxes = torch_back(bundle)(cut)
        np.testing.assert_allclose(scores[0].detach(), raw[0], atol=1e-5)
        np.testing.assert_allclose(boxes[0].detach(), raw[1], rtol=1e-4, atol=1e-3)
        (scores.sum() + boxes.sum()).backward()
        assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in cut)


REFUSED = [
    ({"cut": "cutt"}, "nearest are cut"),
    ({"cut": None}, "bundle cuts"),
    ({"head": "ssd"}, "nanodet|yolox"),
    ({"head": None}, "--head"),
    ({"head": "nanodet"}, "does not fit"),
    ({"labels": None}, "does not fit.*80 labels"),
    ({"codec": "zip"}, "--codec"),
    ({"calibrate": None}, "--calibrate"),
    ({"size": 64}, "size"),
    ({"torchvision": "resnet50"}, "one network"),
    ({"preprocessing": {"mean": "1,x,2"}}, "--mean"),
    ({"preprocessing": {"std": "1,0,1"}}, "std"),
    ({"preprocessing": {"fit": "crop"}}, "letterbox and stretch"),
    ({"preprocessing": {"order": "gbr"}}, "rgb and bgr"),
    ({"preprocessing": {"mean": "1,nan,2"}}, "--mean needs finite"),
    ({"preprocessing": {"top": -1.0}}, "--range"),
    ({"weights": "DEFAULT"}, "takes no --weights"),
    ({"cut": "cut,cut"}, "names cut twice"),
    ({"name": "///"}, "--name"),
]


@pytest.mark.parametrize(("change", "says"), REFUSED)
def test_what_cannot_be_built_says_why_and_leaves_nothing(change, says, inputs, tmp_path):
    with pytest.raises(BundleError, match=says):
        run(request(inputs, **change), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_clips_behind_a_leaky_relu_are_the_papers(built):
    features = Split(built["yolox"]).cut(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))[0]
    found, source = clips(built["yolox"], features, [4])
    assert "model of leaky ReLU 0.1" in source and features.min() < 0 and found[4][0] == 0


@pytest.mark.parametrize("option", ["codec", "name", "weights", "validate"])
def test_options_that_an_export_has_no_use_for_are_refused(option, tmp_path):
    value = tmp_path if option == "validate" else "bogus"
    with pytest.raises(BundleError, match=f"takes no --{option}"):
        run(Request(export=tmp_path, **{option: value}), tmp_path / "out")


def test_bundles_are_not_written_into_a_file(inputs, built, tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(MidstreamError, match="--out"):
            run(Request(onnx=tmp_path / "absent.onnx"), out)
        with pytest.raises(MidstreamError, match="--out"):
            build.calibrate(
                tmp_path / "absent", build.Pictures(inputs["pictures"]), out, build.fit_named("lightweight")
            )


def test_a_build_says_what_its_default_quality_costs(built):
    for bundle in built.values():
        said = build.default_point(bundle)
        quality = feature_codec.of(bundle).default_quality
        point = next(p for p in bundle.manifest.operating_points if p.quality == quality)
        assert said.startswith(f"default quality {quality}: {point.bytes_mean:,.0f} bytes")


@pytest.mark.parametrize("kind", ["absent", "empty", "unreadable", "no listing", "foreign labels"])
def test_pictures_that_cannot_be_used_are_refused(kind, inputs, tmp_path):
    source = tmp_path / "source"
    if kind in ("empty", "unreadable"):
        source.mkdir()
    if kind == "unreadable":
        (source / "a.jpg").write_bytes(b"not a picture")
    if kind == "no listing":
        source.write_text('{"images": []}')
    if kind == "foreign labels":
        content = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "spoon"}]}
        source.write_text(json.dumps(content))
    says = {"absent": "no ", "empty": "no pictures", "unreadable": "a.jpg", "foreign labels": "--labels"}.get(
        kind, "COCO"
    )
    with pytest.raises(MidstreamError, match=says):
        run(request(inputs, calibrate=source), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_corrupt_picture_is_counted_and_named(built, tmp_path):
    folder = graphs.pictures(tmp_path / "pictures", 5)
    (folder / "3.jpg").write_bytes((folder / "3.jpg").read_bytes()[:200])
    console = Console(width=200, file=io.StringIO())
    assert len(load(folder, built["yolox"].manifest, 100, console)) == 4
    assert "skipped 1 of 5 pictures: 3.jpg" in console.file.getvalue()


def damaged_exif(path):
    """A JPEG whose EXIF promises more than there is: Pillow's parser raises struct.error."""
    data = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(data, "JPEG")
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12"
    path.write_bytes(
        data.getvalue()[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data.getvalue()[2:]
    )
    return path


def test_damaged_exif_and_sides_nobody_can_code_are_skipped_with_their_reason(built, tmp_path):
    folder = graphs.pictures(tmp_path / "pictures", 2)
    damaged_exif(folder / "exif.jpg")
    Image.new("1", (65_536, 1)).save(folder / "long.png")
    console = Console(width=400, file=io.StringIO())
    assert len(load(folder, built["yolox"].manifest, 100, console)) == 2
    said = console.file.getvalue()
    assert "skipped 2 of 4 pictures: exif.jpg" in said
    assert "long.png (65536x1 pixels" in said


def test_pictures_in_which_nothing_is_found_are_refused(inputs, tmp_path):
    network = onnx.load(inputs["yolox"])
    for node in network.graph.node:
        if node.op_type == "Sigmoid":  # every score becomes 0
            node.op_type = "HardSigmoid"
            node.attribute.extend(onnx.helper.make_attribute(name, 0.0) for name in ("alpha", "beta"))
    onnx.save(network, tmp_path / "blind.onnx")
    with pytest.raises(BundleError, match=r"nothing is found.*--head, --color"):
        run(request(inputs, onnx=tmp_path / "blind.onnx"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_limit_spreads_over_all_pictures(built, tmp_path):
    for i in range(30):
        Image.new("RGB", (64, 64), (i, 0, 0)).save(tmp_path / f"{i:02}.png")
    samples = load(tmp_path, built["yolox"].manifest, 4, Console(quiet=True))
    assert [int(sample.image[0, 0, 0]) for sample in samples] == [0, 10, 19, 29]


def test_marks_of_a_listing_are_counted_in_the_bundles_labels(built, inputs, tmp_path):
    content = {
        "images": [{"id": 9, "file_name": "pictures/0.jpg", "width": 96, "height": 72}],
        "annotations": [{"id": 1, "image_id": 9, "category_id": 5, "bbox": [1, 2, 30, 40]}],
        "categories": [{"id": 5, "name": "dog"}, {"id": 6, "name": "spoon"}],
    }
    listing = inputs["pictures"].parent / "listing.json"
    listing.write_text(json.dumps(content))
    (sample,) = load(listing, built["yolox"].manifest, 10, Console(quiet=True))
    assert sample.marks.labels.tolist() == [1] and sample.marks.boxes.tolist() == [[1, 2, 31, 42]]
    bundle = run(request(inputs, calibrate=listing), tmp_path)
    assert all(point.ap50 is not None for point in bundle.manifest.operating_points)
