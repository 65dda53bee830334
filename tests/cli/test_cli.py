"""What `midstream` says when all is well, when something is missing, and when something is damaged."""

import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from common.bundle import MANIFEST, load

COMMANDS = ("demo", "edge", "cloud", "send", "results", "bundle", "bench", "train")


def midstream(*words: str, before: str = "pass", **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, `before` being Python that runs first."""
    program = f"import sys; {before}; sys.argv[1:] = {list(words)!r}; from midstream.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**env, "COLUMNS": "120"}
    )


def shipped() -> Path:
    """The embedded detector's bundle, which comes with the package."""
    folders = [Path(str(folder)) for folder in (resources.files("cloud") / "bundles").iterdir()]
    return next(f for f in folders if (f / MANIFEST).is_file() and load(f, "both").manifest.name == "embedded")


def test_help_names_every_command() -> None:
    answer = midstream("--help")
    assert answer.returncode == 0
    assert all(f" {command} " in answer.stdout for command in COMMANDS)


@pytest.mark.parametrize(
    ("module", "words", "extra"),
    [
        ("onnxruntime", ["edge"], "edge"),
        ("sqlalchemy", ["cloud"], "cloud"),
        ("torch", ["train", "detector"], "train"),
        ("constriction", ["bench", "codec"], "bench"),
        ("httpx", ["send", "x.jpg"], "demo"),
    ],
)
def test_a_missing_part_says_what_to_install(module: str, words: list[str], extra: str) -> None:
    answer = midstream(*words, before=f"sys.modules[{module!r}] = None", MIDSTREAM_CLOUD="127.0.0.1:1")
    assert answer.returncode == 2
    assert f"pip install 'midstream[{extra}" in answer.stderr, answer.stderr
    assert "Traceback" not in answer.stderr


def test_the_shipped_bundle_is_whole() -> None:
    answer = midstream("bundle", "verify", str(shipped()))
    assert answer.returncode == 0 and shipped().name in answer.stdout


@pytest.mark.parametrize("name", ["bundle.toml", "front.onnx", "back.onnx", "codec.npz"])
def test_one_flipped_bit_in_a_bundle_is_found(tmp_path: Path, name: str) -> None:
    damaged = tmp_path / shipped().name
    shutil.copytree(shipped(), damaged)
    content = bytearray((damaged / name).read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / name).write_bytes(content)
    answer = midstream("bundle", "verify", str(damaged))
    assert answer.returncode == 2 and name in answer.stderr and "Traceback" not in answer.stderr


def test_a_setting_that_cannot_be_is_named() -> None:
    answer = midstream("edge", MIDSTREAM_CLOUD="nowhere")
    assert answer.returncode == 2 and "MIDSTREAM_CLOUD" in answer.stderr and "Traceback" not in answer.stderr


def test_nobody_there_says_what_to_start() -> None:
    answer = midstream("results", "--cloud", "http://127.0.0.1:9")
    assert answer.returncode == 2 and "midstream cloud" in answer.stderr
