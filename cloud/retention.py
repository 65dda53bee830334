"""Deletes results and layers that are too old, a batch at a time, so that the one writer is never held for long."""

import asyncio
import time

import structlog

from cloud.store import Store, StoreError
from common.telemetry import Metrics

log = structlog.get_logger()

_EVERY_SECONDS = 60.0
_PAUSE_SECONDS = 0.05


class Retention:
    """Nothing is deleted unless `results_max_age_s` or `layers_max_age_s` says after how long."""

    def __init__(self, store: Store, metrics: Metrics, results_max_age_s: float, layers_max_age_s: float = 0) -> None:
        dropped = metrics.dropped
        self._kinds = [
            (store.delete_older, dropped.labels("results aged out"), results_max_age_s),
            (store.delete_older_layers, dropped.labels("layers aged out"), layers_max_age_s),
        ]
        self._kinds = [kind for kind in self._kinds if kind[2]]

    async def run(self) -> None:
        """Look now and every minute, for ever."""
        if not self._kinds:
            return
        while True:
            try:
                await self.sweep()
            except StoreError as e:
                log.warning("old results stay for now", reason=str(e))
            except Exception:  # ended, it would let the disk run full days later
                log.exception("old results stay for now")
            await asyncio.sleep(min(_EVERY_SECONDS, *(age for _, _, age in self._kinds)))

    async def sweep(self) -> None:
        """Delete all that is too old by now. Raises StoreError."""
        for delete_older, dropped, max_age_s in self._kinds:
            before_us = int((time.time() - max_age_s) * 1e6)
            while count := await delete_older(before_us):
                dropped.inc(count)
                await asyncio.sleep(_PAUSE_SECONDS)  # results that wait to be stored go first
