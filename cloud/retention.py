"""Deletes results that are too old, a batch at a time, so that the one writer is never held for long."""

import asyncio
import time

import structlog

from cloud.store import Store, StoreError
from common.telemetry import Metrics

log = structlog.get_logger()

_EVERY_SECONDS = 60.0
_PAUSE_SECONDS = 0.05


class Retention:
    """Nothing is deleted unless `max_age_s` says after how long."""

    def __init__(self, store: Store, metrics: Metrics, max_age_s: float) -> None:
        self._store = store
        self._dropped = metrics.dropped.labels("results aged out")
        self._max_age_s = max_age_s

    async def run(self) -> None:
        """Look now and every minute, for ever."""
        if not self._max_age_s:
            return
        while True:
            try:
                await self.sweep()
            except StoreError as e:
                log.warning("old results stay for now", reason=str(e))
            await asyncio.sleep(min(_EVERY_SECONDS, self._max_age_s))

    async def sweep(self) -> None:
        """Delete all that is too old by now. Raises StoreError."""
        before_us = int((time.time() - self._max_age_s) * 1e6)
        while count := await self._store.delete_older(before_us):
            self._dropped.inc(count)
            await asyncio.sleep(_PAUSE_SECONDS)  # results that wait to be stored go first
