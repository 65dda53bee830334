"""Chromium without a driver: started headless, spoken to in its own protocol over a WebSocket.

Clicks and keys are sent to the browser, not to elements, so what is covered, hidden or unfocused is not reached.
"""

import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 10.0
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
)
_KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), "ArrowRight": (39, ""), "ArrowDown": (40, "")}
_SHIFT = 8


def installed() -> str | None:
    """The browser's path."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One tab. `errors` is what its console complained of since the last `open`."""

    def __init__(self, socket: ClientConnection, session: str) -> None:
        self._socket = socket
        self._session = session
        self._last = 0
        self.errors: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """One command of the protocol and its answer; what happens meanwhile is noted."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params, "sessionId": self._session}
        self._socket.send(json.dumps(message))
        while True:
            heard = json.loads(self._socket.recv(timeout=PATIENCE))
            self._note(heard)
            if heard.get("id") == self._last:
                assert "error" not in heard, heard
                return heard["result"]

    def _note(self, heard: dict[str, Any]) -> None:
        params = heard.get("params", {})
        if heard.get("method") == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif heard.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    def open(self, url: str, *, width: int = 1280, height: int = 1000, dark: bool = False) -> None:
        """Load a page in a window of this size."""
        self.errors.clear()
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def js(self, expression: str) -> Any:
        """The value of an expression in the page; a promise is awaited."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str, seconds: float = PATIENCE) -> None:
        """Until the expression is true."""
        until = time.monotonic() + seconds
        while not self.js(f"Boolean({condition})"):
            if time.monotonic() > until:
                seen = self.js("document.body.innerText")
                raise AssertionError(f"never true: {condition}\nconsole: {self.errors}\npage:\n{seen}")
            time.sleep(0.03)

    def text(self, selector: str) -> str:
        """What can be read in the first such element."""
        found: str = self.js(f"document.querySelector({json.dumps(selector)}).innerText")
        return found

    def wait_text(self, selector: str, part: str, seconds: float = PATIENCE) -> None:
        """Until the first such element can be read to contain `part`."""
        self.wait(f"document.querySelector({json.dumps(selector)})?.innerText.includes({json.dumps(part)})", seconds)

    def shown(self, selector: str) -> bool:
        """Can it be seen?"""
        return bool(self.js(f"document.querySelector({json.dumps(selector)}).checkVisibility()"))

    def click(self, selector: str) -> None:
        """A mouse click on the middle of the element."""
        x, y = self._middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)

    def point(self, selector: str) -> None:
        """Move the mouse to the middle of the element, and leave it there."""
        x, y = self._middle(selector)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def _middle(self, selector: str) -> tuple[float, float]:
        """Of the element, once it is in the window."""
        x, y = self.js(
            f"(() => {{ const element = document.querySelector({json.dumps(selector)});"
            " element.scrollIntoView({block: 'center'}); const box = element.getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        return x, y

    def drag(self, selector: str, begin: tuple[float, float], end: tuple[float, float]) -> None:
        """With the mouse held down, from one place in the element to another; places are parts of its sides."""
        x, y, width, height = self.js(
            f"(() => {{ const element = document.querySelector({json.dumps(selector)});"
            " element.scrollIntoView({block: 'center'}); const box = element.getBoundingClientRect();"
            " return [box.x, box.y, box.width, box.height]; })()"
        )
        middle = tuple((a + b) / 2 for a, b in zip(begin, end, strict=True))
        steps = (("mousePressed", begin), ("mouseMoved", middle), ("mouseMoved", end), ("mouseReleased", end))
        for kind, (right, down) in steps:
            place = {"x": x + right * width, "y": y + down * height}
            self.call("Input.dispatchMouseEvent", type=kind, **place, button="left", buttons=1, clickCount=1)

    def press(self, key: str, *, shift: bool = False) -> None:
        """One of _KEYS."""
        code, text = _KEYS[key]
        what = {"key": key, "code": key, "windowsVirtualKeyCode": code, "text": text}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, modifiers=_SHIFT if shift else 0, **what)

    def write(self, selector: str, text: str) -> None:
        """Select what the field holds and type over it."""
        self.js(f"document.querySelector({json.dumps(selector)}).select()")
        self.call("Input.insertText", text=text)

    def screenshot(self, path: Path) -> None:
        """A PNG of the window, to look at."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))


@contextmanager
def started(path: str) -> Iterator[Page]:
    """The one page of a new browser with an empty profile."""
    profile = Path(tempfile.mkdtemp(prefix="midstream-browser-"))
    command = [path, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with connect(_address(process, profile), max_size=None, proxy=None) as socket:
            target = _ask(socket, "Target.createTarget", url="about:blank")["targetId"]
            yield Page(socket, _ask(socket, "Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(profile, ignore_errors=True)


def _address(process: "subprocess.Popen[bytes]", profile: Path) -> str:
    """Where the browser listens: it writes a file when it does."""
    told = profile / "DevToolsActivePort"
    until = time.monotonic() + 2 * PATIENCE
    while time.monotonic() < until and process.poll() is None:
        if told.exists() and len(lines := told.read_text().splitlines()) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.05)
    raise AssertionError(f"the browser did not start (exit status {process.poll()})")


def _ask(socket: ClientConnection, method: str, **params: Any) -> Any:
    """A command to the browser itself."""
    socket.send(json.dumps({"id": 0, "method": method, "params": params}))
    while (heard := json.loads(socket.recv(timeout=PATIENCE))).get("id") != 0:
        pass
    return heard["result"]
