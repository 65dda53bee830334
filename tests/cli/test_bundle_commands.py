"""`midstream bundle build|calibrate|cuts` as a person types them: what they write, and what they answer to mistakes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("faster_coco_eval")

from common import bundle as bundles
from tests.cli.test_cli import midstream
from tests.train import graphs


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with yolox.onnx, labels.txt and pictures/."""
    folder = tmp_path_factory.mktemp("inputs")
    graphs.yolox(folder / "yolox.onnx")
    graphs.labels_file(folder)
    graphs.pictures(folder / "pictures", 5)
    (folder / "pictures" / "4.jpg").write_bytes(b"\xff\xd8 not much of a picture")
    return folder


def words(inputs: Path, *changes: str) -> list[str]:
    asked = {
        "--onnx": str(inputs / "yolox.onnx"),
        "--cut": "cut",
        "--head": "yolox",
        "--labels": str(inputs / "labels.txt"),
        "--calibrate": str(inputs / "pictures"),
        "--codec": "lightweight",
    }
    asked |= dict(zip(changes[::2], changes[1::2], strict=True))
    return ["bundle", "build", *(word for pair in asked.items() for word in pair)]


def test_build_show_and_calibrate(inputs: Path, tmp_path: Path) -> None:
    answer = midstream(*words(inputs, "--out", str(tmp_path / "a"), "--mean", "1,2,3", "--color", "rgb", "--pad", "0"))
    assert answer.returncode == 0, answer.stderr
    assert "skipped 1 of 5 pictures: 4.jpg" in answer.stdout
    (folder,) = (tmp_path / "a").iterdir()
    bundle = bundles.load(folder, "both")
    assert bundle.manifest.detector.labels == graphs.LABELS and bundle.manifest.input.pad == 0
    shown = midstream("bundle", "show", str(folder))
    assert shown.returncode == 0 and "modes split, image, edge" in shown.stdout
    again = midstream(
        *("bundle", "calibrate", str(folder), "--calibrate", str(inputs / "pictures")),
        *("--codec", "lightweight-rans", "--out", str(tmp_path / "b")),
    )
    assert again.returncode == 0, again.stderr
    (other,) = (tmp_path / "b").iterdir()
    assert bundles.load(other, "both").manifest.codec["name"] == "lightweight-rans"


def test_quick_raises_no_limit(inputs: Path, tmp_path: Path) -> None:
    answer = midstream(*words(inputs, "--images", "3", "--out", str(tmp_path)), "--quick")
    assert answer.returncode == 0, answer.stderr
    assert "skipped 1 of 3 pictures: 4.jpg" in answer.stdout
    assert "default quality 4: " in answer.stdout and "bytes a picture, agreement" in answer.stdout


def test_cuts_are_listed(inputs: Path, tmp_path: Path) -> None:
    answer = midstream("bundle", "cuts", str(inputs / "yolox.onnx"), "--json", str(tmp_path / "cuts.json"))
    assert answer.returncode == 0 and "leaky ReLU" in answer.stdout
    assert {"cut", "joined"} <= {row["name"] for row in json.loads((tmp_path / "cuts.json").read_text())}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (("--cut", "cutt"), "nearest are cut"),
        (("--cut", "left"), "right"),
        (("--head", "nanodet"), "does not fit"),
        (("--onnx", "absent.onnx"), "cannot read absent.onnx"),
        (("--calibrate", "absent"), "there is no absent"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    changes: tuple[str, str], says: str, inputs: Path, tmp_path: Path
) -> None:
    answer = midstream(*words(inputs, *changes, "--out", str(tmp_path / "out")))
    assert answer.returncode == 2 and says in answer.stderr, answer.stderr
    assert "Traceback" not in answer.stderr and len(answer.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_without_a_network_torchvisions_weights_say_so(inputs: Path, tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    asked = ["--torchvision", "mobilenet_v3_large", "--cut", "features.8.add", "--calibrate", str(inputs / "pictures")]
    nowhere = {"https_proxy": "http://127.0.0.1:9", "TORCH_HOME": str(tmp_path)}
    answer = midstream("bundle", "build", *asked, "--out", str(tmp_path / "out"), **nowhere)
    assert answer.returncode == 2 and "--weights FILE" in answer.stderr, answer.stderr
    assert "Traceback" not in answer.stderr and not (tmp_path / "out").exists()


def test_without_torch_a_torchvision_bundle_says_what_to_install(tmp_path: Path) -> None:
    manifest: dict[str, object] = {
        "name": "tv",
        "version": "1",
        "detector": {"name": "tv", "labels": ["a"], "score_threshold": 0.1, "nms_iou": 0.5, "max_detections": 5},
        "input": {"width": 64, "height": 64},
        "cut": {"tensors": [{"name": "cut", "shape": [1]}], "macs_front": 1, "macs_back": 1},
        "back": {"runtime": "torchvision", "model": "resnet50", "classes": 1, "kept": [0]},
        "codec": {},
    }
    bundle = bundles.write(tmp_path, manifest, {"back.npz": ("cloud", b"")})
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path; from common.bundle import load; from cloud.networks import open_back\n"
        f"open_back(load(Path({str(bundle.path)!r}), 'cloud'), 1, 0.0)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "BundleError" in answer.stderr and "pip install 'midstream[torch]'" in answer.stderr
