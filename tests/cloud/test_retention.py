"""What is too old goes by itself, on SQLite and on PostgreSQL alike."""

import asyncio

from sqlalchemy import text
from structlog.testing import capture_logs

from cloud.retention import Retention
from cloud.store import Filters, Store
from common.bundle import Bundle
from common.telemetry import Metrics
from tests.cloud.speaker import until
from tests.cloud.test_store import result

ALL = Filters()


async def set_detections(store: Store, detections: str) -> None:
    async with store._engine.begin() as connection:
        await connection.execute(text("UPDATE results SET detections = :it WHERE number = 1"), {"it": detections})


async def test_what_cannot_be_deleted_now_is_deleted_later(store: Store, bundle: Bundle) -> None:
    (first, *_) = (await store.insert([result(bundle, seq) for seq in range(3)])).new
    await set_detections(store, "not JSON")
    metrics, aged = Metrics("test", "0"), {"reason": "results aged out"}
    with capture_logs() as said:
        running = asyncio.create_task(Retention(store, metrics, results_max_age_s=0.01).run())
        await until(lambda: running.done() or any(entry["log_level"] == "error" for entry in said))
    assert not running.done()
    await set_detections(store, first.detections)
    await until(lambda: metrics.registry.get_sample_value("midstream_dropped_total", aged) == 2)  # the newest stays
    running.cancel()
    assert [row.seq for row in await store.results(ALL, 10)] == [2]
