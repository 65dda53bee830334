"""Two real services over a real link that breaks in: fewer bytes, nothing lost."""

import time
from pathlib import Path
from typing import Any

import httpx

from bench.stand import Service
from tests.system.load import photo, post_until_accepted, wait_for_results
from tests.system.narrow import narrow

FPS = 8.0


def test_a_link_that_breaks_in_is_given_fewer_bytes(tmp_path: Path) -> None:
    cloud = Service("cloud", tmp_path, {}, ("http", "grpc")).start()
    edge: Service | None = None
    try:
        with narrow(cloud.port("grpc"), 1e6) as link:
            edge = Service("edge", tmp_path, {"MIDSTREAM_CLOUD": f"127.0.0.1:{link.port}"}, ("http",)).start()
            data, sent = photo("astronaut.png"), []

            def point() -> dict[str, Any]:
                answer: dict[str, Any] = httpx.get(f"{edge.url}/v1/operating-point").json()["cameras"]["door"]
                return answer

            def film(seconds: float) -> None:
                until = time.monotonic() + seconds
                while time.monotonic() < until:
                    sent.append(post_until_accepted(edge.url, data, "door", f"k{len(sent)}")["id"])
                    time.sleep(1 / FPS)

            film(3)
            usual = point()["quality"]
            coded = httpx.get(f"{edge.url}/v1/frames/{sent[-1]}").json()["bytes"]["coded"]
            link.rate = 0.4 * coded * len(sent) / 3
            for _ in range(15):
                film(2)
                if point()["quality"] < usual:
                    break
            assert point()["quality"] < usual and "the link carries too little" in point()["reason"]
            link.rate = 1e6
            rows = wait_for_results(cloud.url, len(sent))
            assert [row["id"] for row in rows] == sent
            assert rows[-1]["bytes"]["coded"] < rows[0]["bytes"]["coded"]
    finally:
        for service in (edge, cloud):
            if service is not None:
                service.kill()
