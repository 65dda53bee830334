"""The store: one writer, many readers.

Every write goes through one connection under one lock, so `number` rises in the order of commits. One cloud
process per database: a second one would still store each packet once, but its readers' event ids could pass
numbers that the first has not committed yet.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import structlog
from sqlalchemy import Connection, Select, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.frame import Frame, Key, Original, Pixels, Result
from cloud.store import aging, migrate, sums
from cloud.store import layers as layer_rows
from cloud.store import pictures as picture_rows
from cloud.store import rules as rule_rows
from cloud.store import tracks as track_rows
from cloud.store.engine import connect, disconnect
from cloud.store.fresh import fresh
from cloud.store.many import Many
from cloud.store.query import Filters, page
from cloud.store.record import Camera, Inserted, Picture, Point, Record, Rule, Track, record
from cloud.store.tables import aged, cameras, found, layers, pictures, results, rules, tracks
from cloud.store.trackers import Trackers
from cloud.store.writer import Work, Writer
from cloud.tracker import Followed
from common.codec import Layer
from common.codec.container import Kind
from common.errors import MidstreamError
from common.layers import ORIGINAL
from common.tracking import SURE

log = structlog.get_logger()

_CONNECT_ATTEMPTS = 30
_PAGE = 500


class StoreError(MidstreamError):
    """The database cannot be reached or used."""


class _Put(NamedTuple):
    """What a transaction did: the new rows by their places in the batch; the bytes of layers that there are."""

    stored: dict[int, Record]
    followed: Followed
    layer_bytes: int


class Store:
    """Results, cameras, pictures and rules. `open` it first, `close` it last."""

    def __init__(
        self, database: str, pictures_max_bytes: int, layers_max_bytes: int = 1 << 28, sure: float = SURE
    ) -> None:
        """Nothing is connected yet. Detections from the score `sure` begin tracks."""
        self._database = database
        self._engine = connect(database)
        self._writer = Writer(database)
        self._writing = asyncio.Lock()
        self._pictures_max_bytes = pictures_max_bytes
        self._layers_max_bytes = layers_max_bytes
        self._layer_bytes = 0
        dialect = {"sqlite": sqlite, "postgresql": postgresql}[self._engine.dialect.name]
        many = partial(Many, dialect=self._engine.dialect)
        self._insert_results = many(dialect.insert(results))
        self._insert_found = many(dialect.insert(found))
        self._add_to_cameras = many(sums.upsert(dialect.insert(cameras)))
        self._put_picture = dialect.insert(pictures).on_conflict_do_nothing()
        self._put_layers = many(layer_rows.upsert(dialect.insert(layers)))
        self._put_rule = rule_rows.upsert(dialect.insert(rules))
        self._note_aged = aging.upsert(dialect.insert(aged))
        self._trackers = Trackers(dialect.insert, many, sure)
        self._aged: dict[aging.Of, int] = {}
        self._unsure = False
        """Whether `last_number`, `_aged`, `_trackers` and `_layer_bytes` may be other than what is committed."""
        self.last_number = 0
        """The number of the newest committed result."""

    async def open(self) -> None:
        """Connect, waiting for a database that is still starting, and migrate it. Raises StoreError."""
        async with AsyncExitStack() as undo:
            undo.push_async_callback(disconnect, self._engine)
            try:
                undo.push_async_callback(self._writer.close)
                await self._connect_patiently()
                await migrate.run(self._database)
                await self._writer.run(self._count)
            except Exception as e:
                await asyncio.sleep(0.05)  # the driver's thread has a last word for the loop
                raise StoreError(f"cannot use the database {self._engine.url.render_as_string()}: {_cause(e)}") from e
            undo.pop_all()

    async def close(self) -> None:
        """Wait for the writer, then close every connection."""
        async with self._writing:
            await self._writer.close()
        await disconnect(self._engine)

    # ---- writing

    async def insert(self, batch: Sequence[Result]) -> Inserted:
        """Commit these results in order, each once for ever. One transaction, unless a frame id clashes.

        Raises StoreError if the database fails. Then some may be committed: insert them again, they will be duplicates.
        """
        async with self._write(f"store {len(batch)} results") as writer:
            try:
                return await self._insert(writer, batch)
            except DBAPIError as e:
                if not _refused(e):
                    raise
                return await self._insert_one_by_one(writer, batch)

    async def _insert(self, writer: Writer, batch: Sequence[Result]) -> Inserted:
        stored, followed, self._layer_bytes = await writer.run(partial(self._put, batch=batch))
        self._trackers.keep(followed)
        new = list(stored.values())
        self.last_number = new[-1].number if new else self.last_number
        return Inserted(new, [result for i, result in enumerate(batch) if i not in stored], [])

    def _put(self, connection: Connection, batch: Sequence[Result]) -> _Put:
        places = fresh(connection, batch, self._aged)
        new = [batch[i] for i in places]
        followed = self._trackers.follow(connection, new)
        stored_us, now = time.time_ns() // 1000, time.monotonic_ns()
        rows = [
            record(one, self.last_number + 1 + n, stored_us, (now - one.done_ns) / 1e6, followed.ids(n))
            for n, one in enumerate(new)
        ]
        self._insert_results.run(connection, [_columns(row) for row in rows])
        self._insert_found.run(connection, sums.labels(zip(new, rows, strict=True)))
        self._add_to_cameras.run(connection, sums.of(rows))
        self._trackers.write(connection, followed, rows)
        layer_bytes = self._keep_layers(connection, layer_rows.rows_of(new), self._layer_bytes)
        return _Put(dict(zip(places, rows, strict=True)), followed, layer_bytes)

    async def _insert_one_by_one(self, writer: Writer, batch: Sequence[Result]) -> Inserted:
        # Rare: two packets claim one frame id, or another process has taken our numbers.
        done = Inserted([], [], [])
        for result in batch:
            await writer.run(self._count)
            try:
                one = await self._insert(writer, [result])
            except DBAPIError as e:
                if not _refused(e):
                    raise
                if await self.result_of(result.frame.key):  # another process was faster
                    done.duplicates.append(result)
                elif await self.result(result.frame.id):
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
            old = partial(aging.remove, note=self._note_aged, before_us=before_us, below=self.last_number, limit=limit)
            rows, freed = await writer.run(old)
            self._layer_bytes -= freed
            for of, seq in aging.highest(rows).items():
                self._aged[of] = max(seq, self._aged.get(of, -1))
        return len(rows)

    async def keep(self, frame: str, came: Pixels, upon: Collection[int] = ()) -> bool:
        """Keep what an edge sent of a frame when it was asked. Raises StoreError.

        False if it cannot stand beside the layers that are here: those of the kinds `upon` which it was coded have
        gone, or those above it were coded upon another.
        """
        if isinstance(came, Original):
            await self.put_picture(frame, ORIGINAL, came.content_type, came.data)
            return True
        async with self._write("keep layers") as writer:
            there = await writer.run(partial(self._replace_layers, frame=frame, came=came.layers, upon=set(upon)))
            self._layer_bytes = self._layer_bytes if there is None else there
        return there is not None

    async def drop_layers(self, frame: str, kinds: Collection[int]) -> int:
        """Forget layers of a frame that cannot be decoded, and those upon them; how many. They can be asked for again.

        Raises StoreError.
        """
        return await self._drop_layers("drop layers", partial(layer_rows.drop, frame=frame, kind=min(kinds)))

    async def delete_older_layers(self, before_us: int, limit: int = 500) -> int:
        """Delete at most `limit` of the layers kept before that time, oldest first; how many. Raises StoreError."""
        older = partial(layer_rows.delete_older, before_us=before_us, limit=limit)
        return await self._drop_layers("delete old layers", older)

    async def _drop_layers(self, what: str, drop: Work[layer_rows.Freed]) -> int:
        async with self._write(what) as writer:
            freed = await writer.run(drop)
            self._layer_bytes -= freed.size
        return freed.number

    def _replace_layers(self, connection: Connection, frame: str, came: Sequence[Layer], upon: set[int]) -> int | None:
        """How many bytes there are then; None if nothing is changed."""
        first, last = came[0].kind, came[-1].kind
        new = layer_rows.rows(frame, came)
        if first != Kind.BASE:
            if not upon <= layer_rows.join(connection, frame, first, new[0]["kept_us"]):
                log.warning("layers not kept: those they build on are gone", frame=frame)
                return None
            if layer_rows.has_above(connection, frame, last):
                return None
        # Those above them, if any, were coded upon what was here before.
        there = self._layer_bytes - layer_rows.drop(connection, frame, first).size
        return self._keep_layers(connection, new, there)

    def _keep_layers(self, connection: Connection, new: list[layer_rows.Row], there: int) -> int:
        """How many bytes there are with these; `there` are without."""
        if not new:
            return there
        self._put_layers.run(connection, new)
        there += sum(row["size"] for row in new)
        excess = there - self._layers_max_bytes
        return there if excess <= 0 else there - layer_rows.shed(connection, excess, self._layers_max_bytes)

    async def put_rule(self, rule: Rule) -> None:
        """Keep a rule; one of the same name gives way. Raises StoreError."""
        async with self._write("keep a rule") as writer:
            await writer.run(lambda connection: connection.execute(self._put_rule, rule_rows.columns(rule)))

    async def delete_rule(self, name: str) -> bool:
        """Whether there was one of this name. Raises StoreError."""
        async with self._write("delete a rule") as writer:
            return await writer.run(partial(rule_rows.remove, name=name))

    async def put_picture(self, frame: str, layer: str, content_type: str, data: bytes) -> None:
        """Keep pixels of a frame; the oldest give way. What would need more than all the room is not kept.

        Raises StoreError.
        """
        if len(data) > self._pictures_max_bytes:
            log.warning("picture not kept", frame=frame, bytes=len(data), room=self._pictures_max_bytes)
            return
        row = picture_rows.columns(frame, layer, content_type, data)

        def put(connection: Connection) -> None:
            picture_rows.make_room(connection, len(data), self._pictures_max_bytes)
            connection.execute(self._put_picture, row)

        async with self._write("keep a picture") as writer:
            await writer.run(put)

    @asynccontextmanager
    async def _write(self, what: str) -> AsyncIterator[Writer]:
        """The writer, for one at a time. Raises StoreError: what could not be done, and why."""
        async with self._writing:
            try:
                if self._unsure:
                    await self._writer.run(self._count)  # behind what somebody may have stopped waiting for
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
        return max([stored, *(seq for of, seq in self._aged.items() if of[:2] == (edge, epoch))])

    async def cameras(self) -> list[Camera]:
        """All cameras by name, each with its newest result."""
        c = cameras.c
        query = (
            select(c.camera, c.edge, c.frames, c.coded_bytes, c.first_us, c.last_us, *results.c)
            .join_from(cameras, results, c.last_number == results.c.number, isouter=True)
            .order_by(c.camera, c.edge)
        )
        return [sums.camera(*row) for row in await self._all(query)]

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
            return await connection.run_sync(layer_rows.of_frame, frame, kinds)

    async def tracks(
        self, filters: Filters, limit: int, *, newest_first: bool = True, past: int | None = None
    ) -> list[Track]:
        """A page of tracks in the order of their ids, beyond `past`; those in sight at some time asked for."""
        query = track_rows.page(filters, limit, newest_first=newest_first, past=past)
        return [Track(*row) for row in await self._all(query)]

    async def track(self, number: int) -> Track | None:
        """One track."""
        row = await self._one(select(tracks).where(tracks.c.id == number))
        return Track(*row) if row else None

    async def path(self, track: int, limit: int) -> list[Point]:
        """Where a track was, oldest first: at most `limit` points, evenly spread, the newest among them."""
        async with self._read() as connection:
            return await connection.run_sync(track_rows.path, track, limit)

    async def rules(self) -> list[Rule]:
        """All rules by name."""
        async with self._read() as connection:
            return await connection.run_sync(rule_rows.every)

    def has_aged(self, frame: Frame) -> bool:
        """Whether the result of a packet that is sent again, had it one, was deleted for its age."""
        return aging.reached(self._aged, frame)

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

    def _count(self, connection: Connection) -> None:
        """What is kept in memory of the database, read anew."""
        self._aged = aging.far(connection)
        self._layer_bytes = layer_rows.held(connection)
        self._trackers.open(connection)
        self.last_number = int(connection.execute(select(func.coalesce(func.max(results.c.number), 0))).scalar_one())

    async def _connect_patiently(self) -> None:
        attempts = 1 if self._engine.dialect.name == "sqlite" else _CONNECT_ATTEMPTS
        for left in reversed(range(attempts)):
            try:
                await self._writer.open()
            except (SQLAlchemyError, OSError) as e:
                if not left:
                    raise
                log.warning("waiting for the database", attempt=attempts - left, error=str(e))
                await asyncio.sleep(1)
            else:
                return


def _refused(error: DBAPIError) -> bool:
    """Whether it is due to what was to be stored. Else the same may be stored another time.

    SQLAlchemy has no class of its own for PostgreSQL's codes 22, data that is none of its types', and 54, too large.
    """
    code = getattr(error.orig, "sqlstate", None) or ""
    return isinstance(error, DataError | IntegrityError) or code[:2] in ("22", "54")


def _cause(error: Exception) -> str:
    """What the driver said, without the SQL."""
    said = getattr(error, "orig", None) or error
    return str(said) or type(said).__name__


def _columns(row: Record) -> dict[str, Any]:
    return {name: getattr(row, name) for name in Record.__slots__}
