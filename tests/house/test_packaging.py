"""pyproject.toml, the Makefile, the images and the README agree with each other."""

import importlib
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution, distributions
from typing import Any

import pytest
import yaml

from tests.house.repository import ROOT, files

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
ROOT_PACKAGES = ["bench", "cloud", "common", "edge", "midstream", "train"]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
MAKEFILE = (ROOT / "Makefile").read_text()


def requirements(*extras: str) -> dict[str, str]:
    """{distribution: version specifier} of the package with these extras, our own extras followed."""
    return dict(_requirements([*PROJECT["project"]["dependencies"], *(line for e in extras for line in EXTRAS[e])]))


def _requirements(lines: list[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        match = re.fullmatch(r"([\w.-]+)(?:\[([\w,]+)\])?\s*(.*)", line)
        assert match, f"cannot read requirement {line!r}"
        name, extras, specifier = match.groups()
        if name == "midstream":
            for extra in extras.split(","):
                yield from _requirements(EXTRAS[extra])
        else:
            yield name, specifier


def test_the_extras_are_those_promised() -> None:
    assert {"edge", "cloud", "torch", "train", "bench", "demo", "dev"} <= EXTRAS.keys()


@pytest.mark.parametrize("extra", EXTRAS)
def test_extras_resolve(extra: str) -> None:
    """Every requirement has a name, a lower bound, and what an extra of ours names exists."""
    assert all(">=" in specifier for specifier in requirements(extra).values())


@pytest.mark.parametrize("extra", ["dev", "train"])
def test_the_environment_has_what_the_extras_name(extra: str) -> None:
    for name in requirements(extra):
        assert distribution(name).version


def test_the_demo_installs_no_torch() -> None:
    (target,) = re.findall(r"installed-demo: .*\n(?:\t.*\n)*?\t.* -e '\.\[([a-z,]+)\]'", MAKEFILE)
    assert target == "edge,cloud,demo"
    assert not {"torch", "torchvision", "onnx2torch"} & requirements(*target.split(",")).keys()


def test_every_package_is_packaged() -> None:
    include = {pattern.removesuffix("*") for pattern in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]}
    packages = {path.parts[0] for path in files() if path.name == "__init__.py"} - {"tests"}
    assert include == packages == set(ROOT_PACKAGES)
    assert PROJECT["tool"]["importlinter"]["root_packages"] == ROOT_PACKAGES


def test_every_folder_of_code_is_a_package() -> None:
    """Else the import contracts would not see it. Alembic loads its migrations by path: they are none."""
    code = [path for path in files() if path.suffix == ".py" and path.parts[0] in ROOT_PACKAGES]
    folders = {path.parent for path in code if "migrations" not in path.parts}
    assert all((ROOT / folder / "__init__.py").is_file() for folder in folders), folders


@pytest.mark.parametrize("package", ROOT_PACKAGES)
def test_data_files_reach_the_wheel(package: str) -> None:
    """What the code opens beside itself is package data; an image has nothing else."""
    patterns = PROJECT["tool"]["setuptools"]["package-data"].get(package, [])
    packaged = {path for pattern in patterns for path in (ROOT / package).glob(pattern)}
    data = {ROOT / path for path in files() if path.parts[0] == package and path.suffix not in {".py", ".pyi", ".c"}}
    assert not data - packaged


def test_the_command_starts() -> None:
    module, function = PROJECT["project"]["scripts"]["midstream"].split(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_the_licence_is_apache_2() -> None:
    assert PROJECT["project"]["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_nothing_is_under_the_affero_licence() -> None:
    """Of all that is installed: what our requirements bring with them counts too."""
    for installed in distributions():
        about = installed.metadata
        declared = [about["License-Expression"] or "", (about["License"] or "").partition("\n")[0]]
        declared += [line for line in about.get_all("Classifier") or [] if line.startswith("License")]
        assert not re.search("affero|agpl", " ".join(declared), re.IGNORECASE), installed.name


# ---- the two commands, and the third --------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["make demo", "make test", "docker compose up"])
def test_the_readme_says_how_to_start(command: str) -> None:
    assert command in (ROOT / "README.md").read_text()


def test_every_make_target_the_documents_name_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    pages = [path for path in files() if path.suffix == ".md"]
    named = {
        target
        for page in pages
        for span in re.findall(r"`[^`]+`|^    .*|^make .*", (ROOT / page).read_text(), re.MULTILINE)
        for target in re.findall(r"(?:^|[`\s;&])make ([a-z-]+)\b(?!\.)", span)
    }
    assert named <= targets, f"no such target: {sorted(named - targets)}"


def test_links_between_documents_lead_somewhere() -> None:
    for page in (path for path in files() if path.suffix == ".md"):
        for link in re.findall(r"\]\(([^)#\s]+)|src=\"([^\"]+)\"", (ROOT / page).read_text()):
            target = link[0] or link[1]
            assert "://" in target or (ROOT / page.parent / target).exists(), f"{page}: {target}"


@pytest.mark.parametrize("name", ["edge", "cloud"])
def test_images_run_as_nobody_in_particular_and_say_how_they_are(name: str) -> None:
    dockerfile = (ROOT / f"Dockerfile.{name}").read_text()
    users = re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE)
    assert users and users[-1].split(":")[0].isdigit() and users[-1].split(":")[0] != "0"
    assert "HEALTHCHECK" in dockerfile
    assert "\nFROM " in dockerfile.partition(" AS build")[2], "the compiler stays in the build stage"
    assert f'CMD ["{name}"]' in dockerfile


def test_the_edge_image_has_no_torch() -> None:
    (extra,) = re.findall(r"\.whl\)\[(\S+?)\]", (ROOT / "Dockerfile.edge").read_text())
    assert extra == "edge"
    assert "torch" not in requirements(extra)


@pytest.mark.parametrize("name", ["edge", "cloud"])
def test_services_are_confined(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert [volume.split(":")[1] for volume in service["volumes"]] == ["/var/lib/midstream"]
    assert not any(port.endswith(":50051") for port in service["ports"])


def test_the_edge_waits_for_a_healthy_cloud() -> None:
    assert COMPOSE["services"]["edge"]["depends_on"]["cloud"]["condition"] == "service_healthy"


def test_the_licences_of_all_that_the_extras_ask_for_are_named() -> None:
    table = re.findall(r"^\| ([a-z ]+) \| (.+) \|$", (ROOT / "docs" / "legal.md").read_text(), re.MULTILINE)
    named = {what: set(re.sub(r" \([^)]*\)", "", packages).split(", ")) for what, packages in table}
    asked = {"everything": PROJECT["project"]["dependencies"], "the wire": EXTRAS["wire"], **EXTRAS}
    for what in asked.keys() - {"wire"}:
        packages = {re.split(r"[\[><=]", line)[0] for line in asked[what]} - {"midstream"}
        assert named[what] == packages, what
