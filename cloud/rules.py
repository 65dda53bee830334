"""Rules: "send pixels when a person is seen". Each stored result is held against them; what matches is asked for.

Results are looked at right after their commit, which must not wait: what matches goes into a short queue, and a task
asks the edges. A rule asks for so many frames a minute at most. What is not asked for is counted, and says why.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import structlog

from cloud.layers import Asked
from cloud.pixels import Pixels, Ready
from cloud.regions import of_found
from cloud.replies import Refusal
from cloud.store import Filters, Found, Record, Rule, Store
from common.errors import MidstreamError
from common.telemetry import Metrics

log = structlog.get_logger()

MOST_RULES = 100
_QUEUE = 256
_MOST_LABELS = 1000
_MINUTE = 60.0
_AGAIN_SECONDS = 1.0
"""A layer is asked for once at a time: until a rule looks again whose frame's layer is being fetched for somebody else,
who may want other parts of it.
"""


class TooManyRulesError(MidstreamError):
    """There are as many as there may be."""


class _Armed:
    """A rule, and when it asked in the last minute."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._filter = Filters(labels=(rule.label,) if rule.label else (), min_score=rule.min_score)
        self._asked: deque[float] = deque()

    def may_match(self, row: Record) -> bool:
        """What can be said without looking at the detections."""
        return row.best_score >= self.rule.min_score and self.rule.camera in (None, row.camera)

    def matching(self, found: list[Found]) -> list[Found]:
        """Those detections that it is about."""
        return [detection for detection in found if self._filter.matches(detection)]

    def may_ask(self, now: float) -> bool:
        """Whether it may once more; that counts as once."""
        while self._asked and self._asked[0] <= now - _MINUTE:
            self._asked.popleft()
        if len(self._asked) >= self.rule.max_per_minute:
            return False
        self._asked.append(now)
        return True


class Rules:
    """`open` it, then `look` at what is stored; `run` asks."""

    def __init__(
        self, store: Store, pixels: Pixels, metrics: Metrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._pixels = pixels
        self._clock = clock
        self._counted = metrics.rules
        self._armed: dict[str, _Armed] = {}
        self._named: set[str] = set()
        self._queue: asyncio.Queue[tuple[_Armed, Record]] = asyncio.Queue(_QUEUE)
        self._later = 0
        """Of which it will be looked again."""

    def __iter__(self) -> Iterator[Rule]:
        return (self._armed[name].rule for name in sorted(self._armed))

    async def open(self) -> None:
        """Read the rules. Raises StoreError."""
        self._armed = {rule.name: _Armed(rule) for rule in await self._store.rules()}

    async def put(self, rule: Rule) -> bool:
        """Keep a rule; whether its name is new. Raises TooManyRulesError, StoreError."""
        is_new = rule.name not in self._armed
        if is_new and len(self._armed) >= MOST_RULES:
            raise TooManyRulesError(f"there are {MOST_RULES} rules already; delete one first")
        await self._store.put_rule(rule)
        self._armed[rule.name] = _Armed(rule)
        return is_new

    async def delete(self, name: str) -> bool:
        """Whether there was one of this name. Raises StoreError."""
        there = await self._store.delete_rule(name)
        self._armed.pop(name, None)
        return there

    def look(self, rows: Iterable[Record]) -> None:
        """Hold what was just committed against all rules. Never waits."""
        if not self._armed:
            return
        for row in rows:
            those = [armed for armed in self._armed.values() if armed.may_match(row)]
            found = row.found() if those else []  # parsed once, however many rules there are
            for armed in those:
                if armed.matching(found):
                    self._queue_up(armed, row)

    async def run(self) -> None:
        """Ask for what matched, for ever."""
        while True:
            armed, row = await self._queue.get()
            try:
                if outcome := await self._ask(armed, row):
                    self._count(armed.rule, outcome)
            except Exception:  # one frame's trouble must not end all that follow
                log.exception("a rule cannot ask", rule=armed.rule.name, frame=row.id)
                self._count(armed.rule, "failed")

    def _queue_up(self, armed: _Armed, row: Record) -> None:
        if not armed.may_ask(self._clock()):
            self._count(armed.rule, "limited")
            return
        self._put(armed, row)

    def _put(self, armed: _Armed, row: Record) -> None:
        try:
            self._queue.put_nowait((armed, row))
        except asyncio.QueueFull:
            self._count(armed.rule, "dropped")

    def _put_later(self, armed: _Armed, row: Record) -> None:
        if self._later >= _QUEUE:
            self._count(armed.rule, "dropped")
            return
        self._later += 1
        asyncio.get_running_loop().call_later(_AGAIN_SECONDS, self._put_again, armed, row)

    def _put_again(self, armed: _Armed, row: Record) -> None:
        self._later -= 1
        self._put(armed, row)

    async def _ask(self, armed: _Armed, row: Record) -> str | None:
        """What became of it: the `outcome` of midstream_rules_total; None if that is not known yet."""
        rule = armed.rule
        regions = None if rule.roi is None else of_found(armed.matching(row.found()), row)
        answer = await self._pixels.look(row, rule.layer, rule.quality, regions)
        if isinstance(answer, Ready):
            return "here"
        if isinstance(answer, Asked) and answer.other:
            self._put_later(armed, row)
            return None
        if isinstance(answer, Asked):
            return "asked"
        log.info("a rule gets no pixels", rule=rule.name, frame=row.id, reason=answer.reason)
        return "refused" if isinstance(answer, Refusal) else "unavailable"

    def _count(self, rule: Rule, outcome: str) -> None:
        """Names come from outside, so the labels are bounded, also over a long time."""
        if rule.name not in self._named and len(self._named) < _MOST_LABELS:
            self._named.add(rule.name)
        self._counted.labels(rule.name if rule.name in self._named else "other", outcome).inc()
