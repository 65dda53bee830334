"""The service as a process: signals, ports, sockets, kills."""

import asyncio
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from common.bundle import Bundle
from common.codec import unpack
from tests.edge.peer import Peer, ack, silent, until
from tests.edge.pictures import jpeg

ROOT = Path(__file__).resolve().parents[2]
_RUN = """
import sys
from common.errors import MidstreamError
from edge.app import run
from edge.settings import load
try:
    run(load())
except MidstreamError as e:
    sys.exit(f"error: {e}")
"""


class Process:
    """An edge, and where it listens."""

    def __init__(self, data: Path, **settings: object) -> None:
        env = {f"MIDSTREAM_EDGE_{name.upper()}": str(value) for name, value in settings.items() if name != "cloud"}
        if "cloud" in settings:
            env["MIDSTREAM_CLOUD"] = str(settings["cloud"])
        env = {"MIDSTREAM_EDGE_DATA_DIR": str(data), "MIDSTREAM_EDGE_HTTP_PORT": "0", **env}
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("MIDSTREAM_")}
        (data / "http.port").unlink(missing_ok=True)
        self.data = data
        self.popen = subprocess.Popen(
            [sys.executable, "-c", _RUN], cwd=ROOT, env=inherited | env, stderr=subprocess.PIPE, text=True
        )

    @property
    def port(self) -> int:
        return int((self.data / "http.port").read_text())

    async def ready(self) -> "Process":
        await until(lambda: (self.data / "http.port").exists() or self.popen.poll() is not None)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}") as client:
            async with asyncio.timeout(30):
                while (await client.get("/readyz")).status_code != 200:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        return self

    async def end(self, number: int) -> tuple[int, str]:
        """Send a signal; the exit status and the log."""
        self.popen.send_signal(number)
        _, log = await asyncio.to_thread(self.popen.communicate, timeout=40)
        return self.popen.returncode, log


Running = Callable[..., "Process"]


@pytest.fixture
async def running(tmp_path: Path, bundle: Bundle) -> AsyncIterator[Running]:
    processes: list[Process] = []

    def run(**settings: object) -> Process:
        source = {} if "cloud" in settings else {"bundle": bundle.path}
        processes.append(Process(tmp_path / "edge", **{**source, **settings}))
        return processes[-1]

    (tmp_path / "edge").mkdir()
    yield run
    for process in processes:
        if process.popen.poll() is None:
            process.popen.kill()
            process.popen.communicate()


@asynccontextmanager
async def client(process: Process) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{process.port}", timeout=30) as it:
        yield it


async def post(http: httpx.AsyncClient, data: bytes, **params: str) -> httpx.Response:
    return await http.post("/v1/frames", content=data, headers={"content-type": "image/jpeg"}, params=params)


async def test_sigterm_drains_and_leaves_with_0(running: Running, peer: Peer) -> None:
    peer.verdict = silent
    edge = await running(cloud=peer.address, drain_seconds=30).ready()
    async with client(edge) as http:
        answers = [await post(http, jpeg(seed=i)) for i in range(5)]
        await until(lambda: len(peer.packets) == 5)
        edge.popen.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            while (refused := await post(http, jpeg())).status_code == 202:
                answers.append(refused)
                await asyncio.sleep(0.01)
        assert refused.status_code == 503 and refused.headers["retry-after"]
        assert (await http.get("/readyz")).status_code == 503 and (await http.get("/livez")).status_code == 200
        assert edge.popen.poll() is None, "it still waits for the cloud"
        peer.verdict = ack
        for packet in peer.packets:
            peer.say(ack(packet))
        await until(lambda: edge.popen.poll() is not None)
    status, log = await edge.end(0)
    assert status == 0 and '"left_in_spool": 0' in log
    assert len({p.frame_id for p in peer.packets}) == len(answers)


async def test_a_second_signal_ends_the_drain_and_the_next_start_sends_on(running: Running, peer: Peer) -> None:
    peer.verdict = silent
    edge = await running(cloud=peer.address, drain_seconds=600).ready()
    async with client(edge) as http:
        assert (await post(http, jpeg())).status_code == 202
        edge.popen.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            while (await http.get("/readyz")).status_code == 200:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    assert edge.popen.poll() is None
    assert (await edge.end(signal.SIGINT))[0] == 0
    peer.verdict = ack
    await running(cloud=peer.address).ready()
    await until(lambda: len(peer.packets) == 2)
    assert peer.packets[0].frame_id == peer.packets[1].frame_id


async def test_every_202_survives_kill_nine(running: Running, peer: Peer) -> None:
    """With the cloud away, twice; then all arrive, once each, in order per camera."""
    edge = await running(cloud=peer.address).ready()
    await until(lambda: (edge.data / "bundles" / "current").exists())
    await peer.stop()
    accepted: dict[str, list[str]] = {"a": [], "b": []}

    async def camera(name: str) -> None:
        async with client(edge) as http:
            for i in range(1000):
                headers = {"content-type": "image/jpeg", "x-camera-id": name}
                answer = await http.post("/v1/frames", content=jpeg(64, 64, i), headers=headers)
                accepted[name].append(answer.json()["id"])

    for kill_after in (15, 40):
        cameras = [asyncio.create_task(camera(name)) for name in accepted]
        await until(lambda: sum(map(len, accepted.values())) >= kill_after)  # noqa: B023
        edge.popen.kill()
        results = await asyncio.gather(*cameras, return_exceptions=True)
        assert all(isinstance(r, httpx.TransportError) for r in results), results
        edge.popen.communicate()
        edge = await running(cloud=peer.address).ready()
    await peer.start()
    async with client(edge) as http, asyncio.timeout(30):
        while (await http.get("/v1/spool")).json()["frames"]["queued"]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    # A frame whose answer the kill swallowed may be there too: at most one per camera and kill.
    for name, ids in accepted.items():
        arrived = [p.frame_id for p in peer.packets if p.camera == name]
        assert len(arrived) == len(set(arrived)) <= len(ids) + 2
        assert [i for i in arrived if i in set(ids)] == ids
    assert (await edge.end(signal.SIGTERM))[0] == 0


async def test_a_head_without_end_is_cut_off(running: Running) -> None:
    edge = await running().ready()

    def shout() -> bytes:
        with socket.create_connection(("127.0.0.1", edge.port), 10) as s:
            s.sendall(b"GET / HTTP/1.1\r\nX-Long: ")
            try:
                for _ in range(10_000):
                    s.sendall(b"x" * 10_000)
            except OSError:
                return b"cut off"
            return b"all was taken"

    assert await asyncio.to_thread(shout) == b"cut off"
    async with client(edge) as http:
        # Bodies much larger than a head are no head, nor is what follows them on the same connection.
        for i in range(3):
            assert (await post(http, jpeg(1600, 1200, i, quality=97))).status_code == 202


async def test_413_is_heard_and_the_rest_is_not_read(running: Running) -> None:
    edge = await running(max_body_bytes=100_000).ready()

    def declare() -> tuple[int, float]:
        """Declare 10 GB, begin to send them."""
        connection = http.client.HTTPConnection("127.0.0.1", edge.port, timeout=20)
        connection.putrequest("POST", "/v1/frames")
        connection.putheader("Content-Type", "image/jpeg")
        connection.putheader("Content-Length", str(10**10))
        connection.endheaders()
        began = time.monotonic()
        connection.send(bytes(100_000))
        answer = connection.getresponse()
        assert b"too-large" in answer.read()
        connection.close()
        return answer.status, time.monotonic() - began

    status, _ = await asyncio.to_thread(declare)
    assert status == 413
    async with client(edge) as it:
        assert (await post(it, bytes(5_000_000))).status_code == 413
        assert (await post(it, jpeg())).status_code == 202


async def test_a_port_in_use_and_a_folder_in_use_are_sentences(running: Running) -> None:
    edge = await running().ready()
    port = edge.port
    second = running(http_port=port, data_dir=edge.data.parent / "second")
    _, log = await asyncio.to_thread(second.popen.communicate, timeout=40)
    assert second.popen.returncode == 1 and f"error: cannot listen on 127.0.0.1:{port}" in log
    third = running()
    _, log = await asyncio.to_thread(third.popen.communicate, timeout=40)
    assert third.popen.returncode == 1 and "error: another edge runs on" in log


@pytest.mark.parametrize(("options", "kinds"), [([], [0]), (["--pixels"], [0, 1])])
async def test_the_command_line_sends_pixels_if_told_to(
    running: Running, cloud: Peer, tmp_path: Path, options: list[str], kinds: list[int]
) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    edge = await running(cloud=cloud.address).ready()
    async with client(edge) as http, asyncio.timeout(20):
        while (await http.get("/readyz")).json()["status"] != "ok":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    words = ["send", str(tmp_path / "a.jpg"), "--edge", f"http://127.0.0.1:{edge.port}", *options]
    command = [sys.executable, "-m", "midstream", *words]
    done = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert ("pixels sent" in done.stdout) == bool(options)
    assert [layer.kind for layer in unpack(cloud.packets[0].payload).layers] == kinds
