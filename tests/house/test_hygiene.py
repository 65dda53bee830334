"""What may not be in the repository: foreign files in proto/, machine paths, big files, drawers, long tails."""

import ast
import re
from pathlib import Path

import pytest

from tests.house.repository import ROOT, files, python_files

MOST_BYTES = 6_000_000
MOST_FUNCTION_LINES = 60
MOST_FILE_LINES = 450
DRAWERS = {"base", "helper", "helpers", "manager", "misc", "util", "utils"}

# Written in pieces, so that this file does not match itself.
_HOSTS = ["python" + "hosted", r"pypi\.o" + "rg", "npm" + r"js\."]
MACHINE = re.compile("|".join([r"(?<![\w.~-])/(?:root|home|Users|work|fa" + r"rm)/", *_HOSTS]))
MACHINE_ITSELF = "tests/house/test_hygiene.py"


def test_proto_holds_only_proto_files() -> None:
    strangers = [path for path in files() if path.parts[0] == "proto" and path.suffix != ".proto"]
    assert not strangers


def test_no_machine_paths_and_no_registry_hosts() -> None:
    found = [
        f"{path}:{number}: {line.strip()[:100]}"
        for path in files()
        if path.as_posix() != MACHINE_ITSELF and (text := _text(path)) is not None
        for number, line in enumerate(text.splitlines(), 1)
        if MACHINE.search(line)
    ]
    assert not found


def _text(path: Path) -> str | None:
    data = (ROOT / path).read_bytes()
    return None if b"\0" in data[:8192] else data.decode(errors="replace")


def test_no_big_files() -> None:
    big = {path.as_posix(): size for path in files() if (size := (ROOT / path).stat().st_size) > MOST_BYTES}
    assert not big


def test_no_build_products() -> None:
    built = [path for path in files() if path.suffix in {".so", ".pyc", ".whl", ".pkl", ".pickle"}]
    assert not built


def test_no_drawers() -> None:
    drawers = [path for path in python_files() if DRAWERS & {path.stem, *path.parts[:-1]}]
    assert not drawers


@pytest.mark.parametrize("package", ["common", "edge", "cloud", "midstream", "train", "bench"])
def test_nothing_has_a_long_tail(package: str) -> None:
    long = []
    for path in python_files(package):
        text = (ROOT / path).read_text()
        if (lines := text.count("\n")) > MOST_FILE_LINES:
            long.append(f"{path}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MOST_FUNCTION_LINES:
                    long.append(f"{path}:{node.lineno} {node.name}: {lines} lines")
    assert not long
