"""The exported halves say what the network says."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from train.export import SHIPPED, SIZE, Halves, write  # noqa: E402
from train.nets.detector import Detector  # noqa: E402

# The exporter of plain graphs warns that a newer one exists, and of shapes that are constants here.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def detector():
    torch.manual_seed(0)
    net = Detector().eval()
    for layer in net.modules():  # batch norms as training leaves them, so that folding has something to do
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(layer.weight, 0.5, 2)
    return net


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(detector, images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    write(detector, images, folder)
    return folder


@pytest.fixture(scope="module")
def sessions(folder):
    return [
        ort.InferenceSession(folder / name, providers=["CPUExecutionProvider"]) for name in ("front.onnx", "back.onnx")
    ]


def test_front_then_back_equals_the_network(detector, images, sessions):
    front, back = sessions
    (cut,) = front.run(["cut"], {"image": images})
    scores, boxes = back.run(["scores", "boxes"], {"cut": cut})
    halves = Halves(detector)
    with torch.no_grad():
        expected_cut = halves.edge(torch.from_numpy(images))
        expected = halves.cloud(expected_cut)
        raw = detector(torch.from_numpy(images).permute(0, 3, 1, 2) / 255)
    np.testing.assert_allclose(cut, expected_cut, atol=1e-4)
    np.testing.assert_allclose(scores, expected[0], atol=1e-4)
    np.testing.assert_allclose(boxes, expected[1], atol=1e-2)
    # Against the unfolded network only the rounding of weights to half precision remains.
    np.testing.assert_allclose(scores, raw[..., halves.cloud.shipped].sigmoid(), atol=1e-2)


def test_a_batch_is_its_photos(images, sessions):
    front, back = sessions
    cut = front.run(None, {"image": images})[0]
    single = np.concatenate([front.run(None, {"image": i[None]})[0] for i in images])
    np.testing.assert_allclose(cut, single, atol=1e-5)
    for both, one in zip(back.run(None, {"cut": cut}), back.run(None, {"cut": cut[1:2]}), strict=True):
        np.testing.assert_allclose(both[1:2], one, atol=1e-3)


def test_files_are_small_and_say_what_they_are(folder):
    assert sum(f.stat().st_size for f in folder.iterdir()) <= 8e6
    meta = json.loads((folder / "meta.json").read_text())
    assert meta["cut"] == {"name": "cut", "shape": [16, 40, 40]}
    assert meta["labels"] == list(SHIPPED)


def test_calibration_is_the_moments_of_the_cut(folder, images, sessions):
    cut = sessions[0].run(None, {"image": images})[0].astype(float)
    with np.load(folder / "calibration.npz", allow_pickle=False) as found:
        assert found["mean"] == pytest.approx(cut.mean(), abs=1e-5)
        assert found["variance"] == pytest.approx(cut.var(), rel=1e-3)
        np.testing.assert_allclose(found["channel_variance"], cut.var((0, 2, 3)), rtol=1e-3, atol=1e-7)
        np.testing.assert_allclose(found["channel_max"], cut.max((0, 2, 3)), atol=1e-5)
        assert found["count"] == cut.size
