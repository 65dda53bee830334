"""Imports point one way, the environment is read in one place, SQL is spoken in two."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.repository import ROOT, python_files


def test_import_contracts_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_only_settings_read_the_environment() -> None:
    readers = {
        path.as_posix()
        for path in python_files("common", "edge", "cloud")
        for name in _names(ast.parse((ROOT / path).read_text()))
        if name in {"os.environ", "os.getenv", "os.environb"}
    }
    readers.discard("common/__init__.py")  # sets one variable, for ONNX Runtime to read
    assert all(reader.endswith("/settings.py") for reader in readers), sorted(readers)


@pytest.mark.parametrize("module", ["edge.encode", "cloud.engine", "bench.networks"])
def test_nothing_is_reported_to_the_maker_of_onnx_runtime(module: str, tmp_path: Path) -> None:
    """Its telemetry starts with the import, by writing a device's id: the switch must come first, from any module."""
    environment = {name: value for name, value in os.environ.items() if name not in {"CI", "ORT_DISABLE_TELEMETRY"}}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    code = f"import {module}, onnxruntime, os; assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
    assert not [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name]


def _names(tree: ast.AST) -> Iterator[str]:
    """Every `module.attribute` written out, and every `from module import attribute`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
