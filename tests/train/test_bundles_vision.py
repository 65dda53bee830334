"""torchvision's models, cut in two, find what they find whole; their weights come from a file or say why not."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("torchvision")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

import torch
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator

from bench.networks import Split
from cloud.networks import open_back
from cloud.torchvision_back import CLASSIFIERS, DetectorHalf, Placed, frozen, whole
from common import bundle as bundles
from common.errors import BundleError
from train.bundles import vision
from train.bundles.torch_back import RAW, torch_back

SIZE = 64
LABELS = ("ball", "cat", "dog")
CUTS = {
    "ssdlite320_mobilenet_v3_large": ("features.0.5.add",),
    "fasterrcnn_mobilenet_v3_large_fpn": ("fpn.layer_blocks.0.0", "fpn.layer_blocks.1.0"),
    "mobilenet_v3_large": ("features.8.add",),
}


class Case:
    """A model with random weights that finds something, its two halves as a bundle, and a picture."""

    def __init__(self, name, folder):
        self.name, self.cut = name, CUTS[name]
        (folder / "labels.txt").write_text("\n".join(LABELS))
        classes = len(LABELS) + (name not in CLASSIFIERS)
        torch.manual_seed(0)
        model = whole(name, classes)
        torch.save(lively(model).state_dict(), folder / "weights.pth")
        size = None if name.startswith("ssd") else SIZE
        self.wanted = vision.Wanted(name, str(folder / "weights.pth"), size, folder / "labels.txt")
        self.network = vision.read(self.wanted)
        self.halves = vision.halves(self.wanted, self.cut, None, {})
        self.bundle = bundles.write(folder, {**self.halves.manifest(), "codec": {}}, self.halves.files)
        self.split = Split(self.bundle)
        side = self.network.size
        self.image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
        self.features = self.split.cut(self.image)

    @property
    def normalised(self):
        way = self.network.known.preprocessing
        values = (self.image / 255 - np.array(way.mean)) / np.array(way.std)
        return torch.from_numpy(values.transpose(2, 0, 1)[None].astype(np.float32))


def lively(model):
    """Batch norms as training leaves them, and classes that are found."""
    for key, value in model.state_dict().items():
        if key.endswith("running_mean"):
            value.normal_(0, 0.1)
        if key.endswith("running_var"):
            value.uniform_(0.5, 2)
        if key.endswith(("cls_logits.bias", "cls_score.bias")):
            value.normal_(0, 2)
    return model


@pytest.fixture(scope="module", params=CUTS)
def case(request, tmp_path_factory):
    return Case(request.param, tmp_path_factory.mktemp(request.param))


def test_the_features_are_the_models_own(case):
    assert [f.shape for f in case.features] == case.bundle.manifest.cut.shapes
    root = vision.trunk(case.network.known.model, case.name)
    form, nodes = vision.traced(root)
    (end,) = (node for node in form.nodes if node.op == "output")
    end.args = (tuple(nodes[name] for name in case.cut),)
    with torch.no_grad():
        expected = torch.fx.GraphModule(root, form)(case.normalised)
    for ours, theirs in zip(case.features, expected, strict=True):
        np.testing.assert_allclose(ours, theirs[0], atol=1e-4 * max(1, float(theirs.abs().max())))


def test_both_halves_find_what_the_whole_finds(case):
    (raw,) = case.split.back.run([tensor[None] for tensor in case.features])
    with torch.no_grad():
        model = case.network.known.model
        if case.name in CLASSIFIERS:
            expected = model(case.normalised).softmax(1)[0].numpy()
            np.testing.assert_allclose(raw[0].max(0), expected, atol=1e-4)
            assert np.unique(raw[1], axis=0).tolist() == [[0, 0, SIZE, SIZE]]
            return
        (expected,) = model(list(case.normalised))
    assert len(raw[0]) == len(expected["scores"]) > 0
    # Order says little: scores that are equal to the last digit change places. Of two boxes that overlap by just the
    # threshold either stays, which decides about others: random weights make many such, of scores that hardly differ.
    scores, boxes, labels = (expected[name].numpy() for name in ("scores", "boxes", "labels"))
    same = np.abs(raw[1][:, None] - boxes).max(2) < 0.1
    same &= np.abs(raw[0].max(1)[:, None] - scores) < 1e-3
    same &= raw[0].argmax(1)[:, None] + 1 == labels
    assert same.any(1).mean() > 0.85 and same.any(0).mean() > 0.85


def test_what_is_said_before_suppression_is_the_same(case):
    cut = [torch.from_numpy(tensor[None]).requires_grad_() for tensor in case.features]
    scores, boxes = torch_back(case.bundle)(cut)
    assert scores.shape[-1] == len(LABELS) and boxes.shape == (*scores.shape[:2], 4)
    (scores[..., 0].sum() + boxes.mean()).backward()
    assert all(tensor.grad.abs().sum() > 0 for tensor in cut)
    if case.name in CLASSIFIERS:
        return
    with torch.no_grad():
        model = case.network.known.model
        images, _ = model.transform(list(case.normalised))
        expected = RAW[type(model).__name__](model, images, model.backbone(images.tensors))
    assert boxes.shape == expected[1].shape
    np.testing.assert_allclose(scores.detach(), expected[0][..., 1:], atol=1e-3)


def pillar():
    """A backbone of one level."""
    layers = [torch.nn.Conv2d(3, 32, 8, 8), torch.nn.BatchNorm2d(32), torch.nn.ReLU(), torch.nn.Conv2d(32, 32, 1)]
    backbone = torch.nn.Sequential(*layers)
    backbone.out_channels = 32
    return backbone


@pytest.mark.parametrize("kind", [RetinaNet, FCOS])
def test_one_stage_models_go_on_from_the_cut(kind):
    torch.manual_seed(0)
    anchors = AnchorGenerator(((16,),), ((1.0,) if kind is FCOS else (0.5, 1.0),))
    model = frozen(lively(kind(pillar(), len(LABELS), anchor_generator=anchors)).eval()).requires_grad_(False)
    model.transform = Placed(SIZE)
    pictures = torch.randn(2, 3, SIZE, SIZE)
    expected = [model([picture])[0] for picture in pictures]
    features = model.backbone(pictures)
    images, _ = model.transform(list(pictures))
    raw = RAW[kind.__name__](model, images, {"0": features})
    cut = model.backbone[:3](pictures)
    found = DetectorHalf(model, ["2"], SIZE)([cut])
    for (scores, labels, boxes), whole_found, each, decoded in zip(found, expected, *raw, strict=True):
        assert len(scores) > 0
        torch.testing.assert_close(scores, whole_found["scores"], atol=1e-4, rtol=0)
        # What is kept is among what was said before suppression.
        nearest = (decoded.clamp(0, SIZE)[:, None] - boxes[None]).abs().sum(-1) + (each[:, labels] - scores).abs()
        assert nearest.min(0).values.max() < 1e-3


def test_a_batch_is_its_frames_and_features_stay_as_they_are(case):
    other = case.split.cut(case.image[::-1].copy())
    both = [np.stack(tensors) for tensors in zip(case.features, other, strict=True)]
    before = [tensor.copy() for tensor in both]
    together = case.split.back.run(both)
    assert all(np.array_equal(a, b) for a, b in zip(before, both, strict=True))
    for frame, raw in zip((case.features, other), together, strict=True):
        (alone,) = case.split.back.run([tensor[None] for tensor in frame])
        assert len(alone[0]) == len(raw[0])
        np.testing.assert_allclose(raw[0].max(1, initial=0), alone[0].max(1, initial=0), atol=1e-3)


def test_detections_are_in_the_pictures_pixels(case):
    (raw,) = case.split.back.run([tensor[None] for tensor in case.features])
    found = open_back(case.bundle, 1, 0.0).detections(raw, 200, 100)
    assert found and {d.label for d in found} <= set(LABELS)
    assert all(0 <= d.box[0] <= d.box[2] <= 200 and 0 <= d.box[1] <= d.box[3] <= 100 for d in found)
    if case.name in CLASSIFIERS:
        assert {d.box for d in found} == {(0.0, 0.0, 200.0, 100.0)}


def test_every_single_cut_separates_and_multiply_adds_add_up(case):
    flow, cut = case.network.flow, case.bundle.manifest.cut
    singles = flow.singles()
    assert len(singles) >= 10
    macs = [vision.multiply_adds(case.network, [name]) for name in singles]
    assert macs == sorted(macs)
    total = vision.whole_multiply_adds(case.network)
    if case.name.startswith("fasterrcnn"):  # as many boxes as are proposed: no two pictures cost the same
        assert cut.macs_front < total
    else:
        assert cut.macs_front + cut.macs_back == pytest.approx(total, rel=0.01)


def test_bundle_is_data_and_only_for_the_cloud(case):
    manifest = case.bundle.manifest
    assert manifest.files["back.npz"].side == "cloud" and [m.value for m in manifest.modes] == ["split", "image"]
    with np.load(case.bundle.file("back.npz"), allow_pickle=False) as arrays:
        assert all(arrays[name].dtype.kind in "fi" for name in arrays.files)
    stored = manifest.files["back.npz"].bytes
    assert stored < sum(p.numel() for p in whole(case.name, 91).parameters()) * 4  # without the front half's


def test_weights_of_another_bundle_are_refused(case):
    file = case.bundle.file("back.npz")
    whole_content = file.read_bytes()
    try:
        np.savez(file, weight=np.zeros(3, np.float32))
        with pytest.raises(BundleError, match=r"back.npz"):
            open_back(case.bundle, 1, 0.0)
        file.write_bytes(b"not an archive")
        with pytest.raises(BundleError, match=r"back.npz"):
            open_back(case.bundle, 1, 0.0)
    finally:
        file.write_bytes(whole_content)


REFUSED = [
    (vision.Wanted("resnet51"), "choose one of"),
    (vision.Wanted("fcos_resnet50_fpn", size=100), "multiple of 32"),
    (vision.Wanted("ssd300_vgg16", size=320), "300 pixels only"),
    (vision.Wanted("mobilenet_v3_large", weights="absent.pth"), "cannot read"),
]


@pytest.mark.parametrize(("wanted", "says"), REFUSED)
def test_models_that_cannot_be_are_refused(wanted, says):
    with pytest.raises(BundleError, match=says):
        vision.read(wanted)


def test_files_that_are_no_weights_of_the_model_are_refused(tmp_path):
    file, labels = tmp_path / "w.pth", tmp_path / "labels.txt"
    labels.write_text("\n".join(LABELS))

    def read(name="mobilenet_v3_large"):
        return vision.read(vision.Wanted(name, str(file), 64, labels))

    file.write_bytes(b"not a state dict")
    with pytest.raises(BundleError, match=r"no state dict that torch.save wrote"):
        read()
    torch.save([1, 2], file)
    with pytest.raises(BundleError, match="holds no state dict"):
        read()
    torch.save({"model": {"weight": torch.zeros(3)}}, file)
    with pytest.raises(BundleError, match="is no state dict of mobilenet_v3_large"):
        read()
    torch.save(whole("mobilenet_v3_large", 7).state_dict(), file)
    with pytest.raises(BundleError, match="--labels"):
        read()


def test_torchvisions_own_weights_bring_their_own_labels(tmp_path):
    with pytest.raises(BundleError, match="--labels"):
        vision.read(vision.Wanted("mobilenet_v3_large", labels=tmp_path / "labels.txt"))
