"""Files that several bundles have are kept once."""

from pathlib import Path

import pytest

from cloud.registry import Registry
from common import bundle as bundles
from common.bundle import SHARED, Bundle
from common.errors import BundleError
from tests.scalable import tiny
from train.bundles.halves import copied
from train.bundles.share import share


@pytest.fixture
def twins(tmp_path: Path) -> list[Bundle]:
    first = tiny.write(tmp_path)
    manifest, files = copied(first)
    return [first, bundles.write(tmp_path, {**manifest, "name": "twin"}, {**files, "own.txt": ("both", b"own")})]


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_what_is_the_same_is_kept_once_and_found(twins: list[Bundle], tmp_path: Path) -> None:
    before = {
        (bundle.digest, name): bundle.file(name).read_bytes() for bundle in twins for name in bundle.names("both")
    }
    total = size(tmp_path)
    saved = share(tmp_path)
    assert saved == total - size(tmp_path) > 0
    registry = Registry.load(tmp_path, twins[0].digest)
    for bundle in registry:
        for name in bundle.names("both"):
            assert registry.file(bundle, name) == before[bundle.digest, name]
    assert [path.name for path in twins[1].path.iterdir() if path.name != bundles.MANIFEST] == ["own.txt"]
    assert share(tmp_path) == 0


def test_one_bundle_may_stay_whole(twins: list[Bundle], tmp_path: Path) -> None:
    manifest, files = copied(twins[0])
    bundles.write(tmp_path, {**manifest, "name": "third"}, files)
    assert share(tmp_path, whole="twin") > 0
    assert sorted(path.name for path in twins[1].path.iterdir()) == sorted([bundles.MANIFEST, *twins[1].manifest.files])
    assert not (twins[0].path / "front.onnx").exists()


def test_a_damaged_shared_file_is_an_error_and_an_unused_one_goes(twins: list[Bundle], tmp_path: Path) -> None:
    share(tmp_path)
    path = tmp_path / SHARED / twins[0].manifest.files["front.onnx"].sha256
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"?")
    with pytest.raises(BundleError, match=r"front\.onnx has SHA-256"):
        bundles.load(twins[0].path, "both")
    path.write_bytes(content)
    (tmp_path / SHARED / ("0" * 64)).write_bytes(b"nobody's")
    share(tmp_path)
    assert not (tmp_path / SHARED / ("0" * 64)).exists()
