"""The page's files: nothing from elsewhere, nothing inline, no text taken for markup, all of it packaged."""

import re
from pathlib import Path

import cloud.app

PAGE = cloud.app.PAGE
FILES = sorted(PAGE.iterdir())
OWN_ADDRESSES = {"http://www.w3.org/2000/svg", "http://EDGE:8080/v1/frames"}


def text(suffix: str) -> dict[str, str]:
    return {path.name: path.read_text() for path in FILES if path.suffix == suffix}


def test_nothing_comes_from_elsewhere() -> None:
    for path in FILES:
        addresses = set(re.findall(r"https?://[^\s\"'<>)]+", path.read_text()))
        assert addresses <= OWN_ADDRESSES, path.name


def test_text_is_never_markup() -> None:
    risky = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function")
    assert {name for name, source in text(".js").items() if risky.search(source)} == set()


def test_a_strict_content_security_policy_holds() -> None:
    page = text(".html")["index.html"]
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy and "default-src 'self'" in policy[1] and "unsafe" not in policy[1]
    assert not re.search(r"\sstyle=|\son\w+=|<style|<script(?![^>]*\ssrc=)", page)


def test_every_module_is_there_and_used() -> None:
    modules = text(".js")
    imported = {name for source in modules.values() for name in re.findall(r'from "\./([\w-]+\.js)"', source)}
    linked = set(re.findall(r'(?:href|src)="([\w-]+\.\w+)"', text(".html")["index.html"]))
    assert imported | linked | {"index.html"} == {path.name for path in FILES}


def test_modules_stay_small() -> None:
    assert max(source.count("\n") for source in text(".js").values()) <= 250
    assert all(isinstance(path, Path) and path.is_file() for path in FILES), "a folder would not be packaged"
