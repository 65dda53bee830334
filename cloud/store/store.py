"""The store: one writer, many readers.

Every write goes through one connection under one lock, so `number` rises in the order of commits. One cloud
process per database: a second one would still store each packet once, but its readers' event ids could pass
numbers that the first has not committed yet.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Select, case, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud.frame import Key, Original, Pixels, Result
from cloud.offers import ORIGINAL
from cloud.store import aging, migrate
from cloud.store import layers as layer_rows
from cloud.store import pictures as picture_rows
from cloud.store import rules as rule_rows
from cloud.store.engine import connect
from cloud.store.query import Filters, page
from cloud.store.record import Camera, Inserted, Picture, Record, Rule, best_by_label, record
from cloud.store.tables import aged, cameras, found, layers, pictures, results, rules
from common.codec import Layer
from common.codec.container import Kind
from common.errors import MidstreamError

log = structlog.get_logger()

_CONNECT_ATTEMPTS = 30
_PAGE = 500


class StoreError(MidstreamError):
    """The database cannot be reached or used."""


class Store:
    """Results, cameras, pictures and rules. `open` it first, `close` it last."""

    def __init__(self, database: str, pictures_max_bytes: int, layers_max_bytes: int = 1 << 28) -> None:
        self._engine = connect(database)
        self._writer: AsyncConnection
        self._writing = asyncio.Lock()
        self._pictures_max_bytes = pictures_max_bytes
        self._layers_max_bytes = layers_max_bytes
        self._layer_bytes = 0
        dialect = {"sqlite": sqlite, "postgresql": postgresql}[self._engine.dialect.name]
        self._insert_results = (
            dialect.insert(results)
            .on_conflict_do_nothing(index_elements=["edge", "epoch", "seq"])
            .returning(results.c.number)
        )
        self._upsert_cameras = _upsert_cameras(dialect.insert(cameras))
        self._put_picture = dialect.insert(pictures).on_conflict_do_nothing()
        self._put_layers = layer_rows.upsert(dialect.insert(layers))
        self._put_rule = rule_rows.upsert(dialect.insert(rules))
        self._note_aged = aging.upsert(dialect.insert(aged))
        self._aged: dict[aging.Epoch, int] = {}
        self._unsure = False
        """Whether `last_number`, `_aged` and `_layer_bytes` may be other than what is committed."""
        self.last_number = 0
        """The number of the newest committed result."""

    async def open(self) -> None:
        """Connect, waiting for a database that is still starting, and migrate it. Raises StoreError."""
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self._engine.dispose)
            try:
                self._writer = await _connect_patiently(self._engine)
                undo.push_async_callback(self._writer.close)
                async with self._writer.begin():
                    await self._writer.run_sync(migrate.to_head)
                    self._aged = await aging.far(self._writer)
                    self._layer_bytes = await layer_rows.held(self._writer)
                await self._read_last_number()
            except Exception as e:
                await asyncio.sleep(0.05)  # the driver's thread has a last word for the loop
                raise StoreError(f"cannot use the database {self._engine.url.render_as_string()}: {_cause(e)}") from e
            undo.pop_all()

    async def close(self) -> None:
        """Wait for the writer, then close every connection."""
        async with self._writing:
            await self._writer.close()
        await self._engine.dispose()

    # ---- writing

    async def insert(self, batch: Sequence[Result]) -> Inserted:
        """Commit these results in order, each once for ever. One transaction, unless a frame id clashes.

        Raises StoreError if the database fails. Then some may be committed: insert them again, they will be duplicates.
        """
        async with self._write(f"store {len(batch)} results"):
            return await self._insert_together(batch)

    async def _insert_together(self, batch: Sequence[Result]) -> Inserted:
        try:
            return await self._insert(batch)
        except (DataError, IntegrityError):
            return await self._insert_one_by_one(batch)

    async def _insert(self, batch: Sequence[Result]) -> Inserted:
        stored_us, now = time.time_ns() // 1000, time.monotonic_ns()
        rows = [
            record(result, self.last_number + i, stored_us, (now - result.done_ns) / 1e6)
            for i, result in enumerate(batch, 1)
        ]
        async with self._writer.begin():
            writer = self._writer
            fresh = [_columns(row) for row in rows if row.seq > self._aged.get((row.edge, row.epoch), -1)]
            numbers = set((await writer.execute(self._insert_results, fresh)).scalars()) if fresh else set()
            new = [row for row in rows if row.number in numbers]
            labels = _labels((r, row.number) for r, row in zip(batch, rows, strict=True) if row.number in numbers)
            if labels:
                await writer.execute(found.insert(), labels)
            if new:
                await writer.execute(self._upsert_cameras, _sums(new))
            kept = layer_rows.rows_of(r for r, row in zip(batch, rows, strict=True) if row.number in numbers)
            layer_bytes = await self._keep_layers(writer, kept, self._layer_bytes)
        self._layer_bytes = layer_bytes
        self.last_number = new[-1].number if new else self.last_number
        return Inserted(new, [r for r, row in zip(batch, rows, strict=True) if row.number not in numbers], [])

    async def _insert_one_by_one(self, batch: Sequence[Result]) -> Inserted:
        # Rare: two packets claim one frame id, or another process has taken our numbers.
        done = Inserted([], [], [])
        for result in batch:
            await self._read_last_number()
            try:
                one = await self._insert([result])
            except (DataError, IntegrityError) as e:
                if await self.result(result.frame.id):
                    done.clashes.append(result)
                else:
                    done.rejected.append((result, _cause(e)))
            else:
                done.new.extend(one.new)
                done.duplicates.extend(one.duplicates)
        return done

    async def delete_older(self, before_us: int, limit: int = 500) -> int:
        """Delete at most `limit` of the results stored before that time, oldest first; how many.

        The newest stays however old it is: the numbers go on from there. Raises StoreError.
        """
        async with self._write("delete old results") as writer:
            async with writer.begin():
                rows, freed = await aging.remove(writer, self._note_aged, before_us, self.last_number, limit)
            self._layer_bytes -= freed
            for epoch, seq in aging.highest(rows).items():
                self._aged[epoch] = max(seq, self._aged.get(epoch, -1))
        return len(rows)

    async def keep(self, frame: str, came: Pixels) -> bool:
        """Keep what an edge sent of a frame when it was asked. Raises StoreError.

        False if it cannot stand beside the layers that are here: its base layer has gone, or those above it were coded
        upon another.
        """
        if isinstance(came, Original):
            await self.put_picture(frame, ORIGINAL, came.content_type, came.data)
            return True
        async with self._write("keep layers") as writer:
            async with writer.begin():
                there = await self._replace_layers(writer, frame, came.layers)
            self._layer_bytes = self._layer_bytes if there is None else there
        return there is not None

    async def drop_layers(self, frame: str, kinds: Collection[int]) -> int:
        """Forget layers of a frame that cannot be decoded, and those upon them; how many. They can be asked for again.

        Raises StoreError.
        """
        return await self._drop_layers("drop layers", lambda writer: layer_rows.drop(writer, frame, min(kinds)))

    async def delete_older_layers(self, before_us: int, limit: int = 500) -> int:
        """Delete at most `limit` of the layers kept before that time, oldest first; how many. Raises StoreError."""
        older = partial(layer_rows.delete_older, before_us=before_us, limit=limit)
        return await self._drop_layers("delete old layers", older)

    async def _drop_layers(self, what: str, drop: Callable[[AsyncConnection], Awaitable[layer_rows.Freed]]) -> int:
        async with self._write(what) as writer:
            async with writer.begin():
                freed = await drop(writer)
            self._layer_bytes -= freed.size
        return freed.number

    async def _replace_layers(self, writer: AsyncConnection, frame: str, came: Sequence[Layer]) -> int | None:
        """How many bytes there are then; None if nothing is changed."""
        first, last = came[0].kind, came[-1].kind
        new = layer_rows.rows(frame, came)
        if first != Kind.BASE:
            if not await layer_rows.join(writer, frame, first, new[0]["kept_us"]):
                log.warning("layers not kept: their base layer is gone", frame=frame)
                return None
            if await layer_rows.has_above(writer, frame, last):
                return None
        # Those above them, if any, were coded upon what was here before.
        there = self._layer_bytes - (await layer_rows.drop(writer, frame, first)).size
        return await self._keep_layers(writer, new, there)

    async def _keep_layers(self, writer: AsyncConnection, new: list[layer_rows.Row], there: int) -> int:
        """How many bytes there are with these; `there` are without."""
        if not new:
            return there
        await writer.execute(self._put_layers, new)
        there += sum(row["size"] for row in new)
        excess = there - self._layers_max_bytes
        return there if excess <= 0 else there - await layer_rows.shed(writer, excess, self._layers_max_bytes)

    async def put_rule(self, rule: Rule) -> None:
        """Keep a rule; one of the same name gives way. Raises StoreError."""
        async with self._write("keep a rule") as writer, writer.begin():
            await writer.execute(self._put_rule, rule_rows.columns(rule))

    async def delete_rule(self, name: str) -> bool:
        """Whether there was one of this name. Raises StoreError."""
        async with self._write("delete a rule") as writer, writer.begin():
            return await rule_rows.remove(writer, name)

    async def put_picture(self, frame: str, layer: str, content_type: str, data: bytes) -> None:
        """Keep pixels of a frame; the oldest give way. What would need more than all the room is not kept.

        Raises StoreError.
        """
        if len(data) > self._pictures_max_bytes:
            log.warning("picture not kept", frame=frame, bytes=len(data), room=self._pictures_max_bytes)
            return
        row = picture_rows.columns(frame, layer, content_type, data)
        async with self._write("keep a picture") as writer, writer.begin():
            await picture_rows.make_room(writer, len(data), self._pictures_max_bytes)
            await writer.execute(self._put_picture, row)

    @asynccontextmanager
    async def _write(self, what: str) -> AsyncIterator[AsyncConnection]:
        """The writer, for one at a time. Raises StoreError: what could not be done, and why."""
        async with self._writing:
            try:
                if self._unsure:
                    await self._count()
                self._unsure = True  # until it is known whether this was committed
                yield self._writer
                self._unsure = False
            except (SQLAlchemyError, OSError) as e:
                raise StoreError(f"cannot {what}: {_cause(e)}") from e

    # ---- reading

    async def ping(self) -> None:
        """Raise StoreError if the database does not answer, as all that reads does."""
        await self._one(select(1))

    async def results(
        self,
        filters: Filters,
        limit: int,
        *,
        newest_first: bool = True,
        past: int | None = None,
        upto: int | None = None,
    ) -> list[Record]:
        """A page of results in the order of their numbers, beyond `past`."""
        query = page(filters, limit, newest_first=newest_first, past=past, upto=upto)
        return [Record(*row) for row in await self._all(query)]

    async def every(self, filters: Filters, upto: int) -> AsyncIterator[Record]:
        """All results up to a number, oldest first, a page at a time."""
        past = 0
        while rows := await self.results(filters, _PAGE, newest_first=False, past=past, upto=upto):
            for row in rows:
                yield row
            past = rows[-1].number

    async def result(self, frame_id: str) -> Record | None:
        """The result of a frame."""
        if "\0" in frame_id:  # in no id, and PostgreSQL takes none in a text
            return None
        row = await self._one(select(results).where(results.c.id == frame_id))
        return Record(*row) if row else None

    async def result_of(self, key: Key) -> Record | None:
        """The result of a packet."""
        edge, epoch, seq = key
        c = results.c
        row = await self._one(select(results).where(c.edge == edge, c.epoch == epoch, c.seq == seq))
        return Record(*row) if row else None

    async def stored_up_to(self, edge: str, epoch: str) -> int:
        """The highest seq of an epoch that is stored, -1 if none: above it a packet is surely new."""
        c = results.c
        row = await self._one(select(func.max(c.seq)).where(c.edge == edge, c.epoch == epoch))
        stored = -1 if row is None or row[0] is None else int(row[0])
        return max(stored, self._aged.get((edge, epoch), -1))

    async def cameras(self) -> list[Camera]:
        """All cameras by name, each with its newest result."""
        c = cameras.c
        query = (
            select(c.camera, c.edge, c.frames, c.coded_bytes, c.first_us, c.last_us, *results.c)
            .join_from(cameras, results, c.last_number == results.c.number, isouter=True)
            .order_by(c.camera, c.edge)
        )
        return [_camera(*row) for row in await self._all(query)]

    async def picture(self, frame: str, layer: str) -> Picture | None:
        """Pixels of a frame, if they are here."""
        if "\0" in frame:
            return None
        c = pictures.c
        row = await self._one(select(c.content_type, c.sha256, c.data).where(c.frame == frame, c.layer == layer))
        return Picture(*row) if row else None

    async def picture_bytes(self, frame: str, layer: str) -> int:
        """How many bytes of pixels of a frame are here."""
        c = pictures.c
        row = await self._one(select(c.size).where(c.frame == frame, c.layer == layer))
        return int(row[0]) if row else 0

    async def layer_bytes(self, frame: str) -> dict[int, int]:
        """How many bytes of a frame's layers are here, by their kinds."""
        c = layers.c
        return dict(await self._all(select(c.kind, c.size).where(c.frame == frame)))

    async def layers(self, frame: str, kinds: Collection[int]) -> list[Layer]:
        """Those of a frame's layers of these kinds that are here, rising."""
        async with self._read() as connection:
            return await layer_rows.of_frame(connection, frame, kinds)

    async def rules(self) -> list[Rule]:
        """All rules by name."""
        async with self._read() as connection:
            return await rule_rows.every(connection)

    async def _all(self, query: Select[Any]) -> Any:
        async with self._read() as connection:
            return (await connection.execute(query)).all()

    async def _one(self, query: Select[Any]) -> Any:
        async with self._read() as connection:
            return (await connection.execute(query)).first()

    @asynccontextmanager
    async def _read(self) -> AsyncIterator[AsyncConnection]:
        """A connection of one's own. Raises StoreError."""
        try:
            async with self._engine.connect() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as e:
            raise StoreError(f"the database does not answer: {_cause(e)}") from e

    async def _count(self) -> None:
        """What is kept in memory of the database, read anew."""
        async with self._engine.connect() as connection:
            self._aged = await aging.far(connection)
            self._layer_bytes = await layer_rows.held(connection)
        await self._read_last_number()

    async def _read_last_number(self) -> None:
        row = await self._one(select(func.coalesce(func.max(results.c.number), 0)))
        self.last_number = int(row[0]) if row else 0


async def _connect_patiently(engine: AsyncEngine) -> AsyncConnection:
    attempts = 1 if engine.dialect.name == "sqlite" else _CONNECT_ATTEMPTS
    for attempt in range(1, attempts + 1):
        try:
            return await engine.connect()
        except (SQLAlchemyError, OSError) as e:
            if attempt == attempts:
                raise
            log.warning("waiting for the database", attempt=attempt, error=str(e))
            await asyncio.sleep(1)
    raise AssertionError("unreachable")


def _cause(error: Exception) -> str:
    """What the driver said, without the SQL."""
    return str(getattr(error, "orig", None) or error)


def _camera(camera: str, edge: str, frames: int, coded: int, first_us: int, last_us: int, *last: Any) -> Camera:
    return Camera(camera, edge, frames, coded, first_us, last_us, Record(*last) if last[0] is not None else None)


def _labels(new: Iterable[tuple[Result, int]]) -> list[dict[str, Any]]:
    """The rows of `found` for new results and their numbers."""
    return [
        {"label": label, "number": number, "score": score}
        for result, number in new
        for label, score in best_by_label(result.detections).items()
    ]


def _columns(row: Record) -> dict[str, Any]:
    return {name: getattr(row, name) for name in Record.__slots__}


def _sums(new: list[Record]) -> list[dict[str, Any]]:
    """What a batch adds to the running sums, in one order always, so that two writers cannot lock each other."""
    sums: dict[tuple[str, str], dict[str, Any]] = {}
    for row in new:
        one = sums.setdefault(
            (row.edge, row.camera),
            {
                "edge": row.edge,
                "camera": row.camera,
                "frames": 0,
                "coded_bytes": 0,
                "first_us": row.captured_us,
                "last_us": row.captured_us,
            },
        )
        one["frames"] += 1
        one["coded_bytes"] += row.coded_bytes
        one["first_us"] = min(one["first_us"], row.captured_us)
        one["last_us"] = max(one["last_us"], row.captured_us)
        one["last_number"] = row.number
    return [sums[name] for name in sorted(sums)]


def _upsert_cameras(insert: Any) -> Any:
    c, new = cameras.c, insert.excluded
    return insert.on_conflict_do_update(
        index_elements=["edge", "camera"],
        set_={
            "frames": c.frames + new.frames,
            "coded_bytes": c.coded_bytes + new.coded_bytes,
            "first_us": case((new.first_us < c.first_us, new.first_us), else_=c.first_us),
            "last_us": case((new.last_us > c.last_us, new.last_us), else_=c.last_us),
            "last_number": new.last_number,
        },
    )
