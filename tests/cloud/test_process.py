"""The cloud as a process: its settings, its exit status, what it does when told to stop and when killed."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cloud.settings import Settings, load
from common.bundle import Bundle
from common.errors import MidstreamError, SettingsError
from tests.cloud import tiny
from tests.cloud.conftest import Start
from tests.cloud.speaker import Edge, packet, until


def environment(data: Path, bundle: Bundle, **more: str) -> dict[str, str]:
    ours = {
        "MIDSTREAM_CLOUD_DATA_DIR": str(data),
        "MIDSTREAM_CLOUD_BUNDLES_DIR": str(bundle.path.parent),
        "MIDSTREAM_CLOUD_HTTP_PORT": "0",
        "MIDSTREAM_CLOUD_GRPC_PORT": "0",
    }
    return os.environ | ours | more


async def launch(env: dict[str, str]) -> Process:
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "cloud", env=env, stderr=PIPE)


async def port(data: Path, kind: str) -> int:
    path = data / f"{kind}.port"
    await until(path.exists)
    return int(path.read_text())


@asynccontextmanager
async def process(data: Path, bundle: Bundle, **more: str) -> AsyncIterator[Process]:
    for kind in ("http", "grpc"):
        (data / f"{kind}.port").unlink(missing_ok=True)
    one = await launch(environment(data, bundle, **more))
    try:
        await port(data, "http")
        yield one
    finally:
        if one.returncode is None:
            one.kill()
        await one.communicate()


async def results(data: Path) -> list[dict[str, Any]]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{await port(data, 'http')}") as http:
        found: list[dict[str, Any]] = (await http.get("/v1/results?limit=1000&order=asc")).json()["results"]
    return found


async def test_told_to_stop_it_acks_what_it_took_and_exits_with_0(tmp_path: Path, bundle: Bundle) -> None:
    async with process(tmp_path, bundle, MIDSTREAM_CLOUD_WINDOW="200") as one:
        grpc_port = await port(tmp_path, "grpc")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}") as channel, Edge(grpc_port) as edge:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=""))
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            await edge.send(*(packet(seq, tiny.payload(bundle)) for seq in range(200)))
            one.send_signal(signal.SIGTERM)
            acked = []
            with pytest.raises(grpc.aio.AioRpcError):  # the end of the stream
                while message := await edge.hear():
                    acked.append(message.ack.seq)
            assert await edge.end() is grpc.StatusCode.UNAVAILABLE
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            watch.cancel()
        _, log = await one.communicate()
        assert one.returncode == 0, log.decode()
    async with process(tmp_path, bundle):
        assert [r["number"] for r in await results(tmp_path)] == list(range(1, len(acked) + 1))
        assert acked == list(range(len(acked)))


async def test_event_streams_do_not_hold_it_up(tmp_path: Path, bundle: Bundle) -> None:
    async with process(tmp_path, bundle) as one:
        url = f"http://127.0.0.1:{await port(tmp_path, 'http')}/v1/events"
        async with httpx.AsyncClient() as http, http.stream("GET", url) as answer:
            lines = answer.aiter_lines()
            assert await anext(lines) == ": midstream"
            one.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                assert [line async for line in lines if line] == ["retry: 2000", "id: 0"]
        await one.communicate()
        assert one.returncode == 0


async def test_told_to_stop_while_it_waits_for_the_database_it_does(tmp_path: Path, bundle: Bundle) -> None:
    one = await launch(environment(tmp_path, bundle, MIDSTREAM_CLOUD_DATABASE="postgresql://u@127.0.0.1:1/d"))
    assert one.stderr
    while b"waiting for the database" not in (line := await one.stderr.readline()):
        assert line, "it ended"
    one.send_signal(signal.SIGTERM)
    _, log = await one.communicate()
    assert one.returncode == 0, log.decode()
    assert b"told to stop while starting" in log and b"Traceback" not in log


async def test_killed_it_forgets_nothing_that_it_acked(tmp_path: Path, bundle: Bundle) -> None:
    """Killed while frames pour in, again and again; the edge sends again what was not acked, as edges do."""
    sent = [packet(seq, tiny.payload(bundle)) for seq in range(120)]
    acked: set[int] = set()
    epoch = None
    while len(acked) < len(sent):
        async with process(tmp_path, bundle) as one, Edge(await port(tmp_path, "grpc"), epoch=epoch) as edge:
            epoch = edge.epoch
            left = [p for p in sent if p.seq not in acked]
            enough = len(acked) + 60
            try:
                for start in range(0, len(left), 16):
                    await edge.send(*left[start : start + 16])
                    if len(acked) + 16 > enough:
                        one.kill()
                    acked |= {a.seq for a in await edge.answers(len(left[start : start + 16]))}
            except grpc.aio.AioRpcError:
                continue
    async with process(tmp_path, bundle):
        assert [r["id"] for r in await results(tmp_path)] == [p.frame_id for p in sent]


async def said_by(env: dict[str, str]) -> tuple[int | None, str]:
    one = await launch(env)
    _, said = await one.communicate()
    return one.returncode, said.decode()


async def test_a_bad_setting_is_exit_status_2(tmp_path: Path, bundle: Bundle) -> None:
    status, said = await said_by(environment(tmp_path, bundle, MIDSTREAM_CLOUD_GRPC_PORT="70000"))
    assert (status, len(said.splitlines())) == (2, 1)
    assert "MIDSTREAM_CLOUD_GRPC_PORT" in said and "65535" in said


async def test_what_cannot_start_says_why(tmp_path: Path, bundle: Bundle) -> None:
    status, said = await said_by(environment(tmp_path, bundle, MIDSTREAM_CLOUD_GRPC_HOST="192.0.2.1"))
    assert status == 1 and "cannot listen on 192.0.2.1" in said
    assert "Traceback" not in said
    status, said = await said_by(environment(tmp_path, bundle, MIDSTREAM_CLOUD_DATABASE=f"sqlite:///{tmp_path}"))
    assert status == 1 and "cannot use the database" in said
    assert "Traceback" not in said
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "folder"
    status, said = await said_by(environment(folder, bundle))
    assert status == 1 and f"cannot write to the folder {folder} (MIDSTREAM_CLOUD_DATA_DIR)" in said
    assert "Traceback" not in said


async def test_a_place_where_nothing_can_be_written_is_named(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for values, word in [
        ({"data_dir": Path("/proc/nope")}, "cannot write to the folder /proc/nope"),
        ({"database": f"sqlite:///{tmp_path}/file/results.db"}, "cannot use the database"),
    ]:
        with pytest.raises(MidstreamError, match=word):
            async with start(**values):
                pass


def test_bad_settings_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value, word in [
        ("WINDOW", "0", "greater than or equal to 1"),
        ("DATABASE", "mysql://h/d", "postgresql"),
        ("DATABASE", "results.db", "not the URL of a database"),
        ("DATABASE", "postgresql://u@h:abc/d", "not the URL of a database.*abc"),
        ("DATABASE", "sqlite://foo/bar", "three slashes"),
        ("DATABASE", "sqlite://", "names no file"),
        ("DATABASE", "sqlite:///:memory:", "names no file"),
        ("DATABASE", "sqlite:///file:x?mode=memory&uri=true", "names no file"),
        ("HTP_PORT", "1", "unknown"),
    ]:
        with (
            monkeypatch.context() as patch,
            pytest.raises(SettingsError, match=f"MIDSTREAM_CLOUD_{name}.*{word}|{word}"),
        ):
            patch.setenv(f"MIDSTREAM_CLOUD_{name}", value)
            load()


def test_settings_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MIDSTREAM_CLOUD", "somewhere:50051")  # the edge's
    monkeypatch.setenv("MIDSTREAM_CLOUD_URL", "http://somewhere:8000")  # the command line's
    monkeypatch.setenv("MIDSTREAM_CLOUD_DATA_DIR", str(tmp_path))
    settings = load()
    assert settings.database_url == f"sqlite:///{tmp_path / 'results.db'}"
    assert Settings(database="postgres://h/d").database_url == "postgres://h/d"
    with pytest.raises(SettingsError, match="MIDSTREAM_CLOUD_BATCH_MAX"):
        Settings(batch_max="many")
