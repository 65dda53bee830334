"""Which packets of a batch have no result yet: each has one for ever, however often it is sent."""

from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.frame import Result
from cloud.store.aging import Epoch
from cloud.store.tables import results


async def fresh(writer: AsyncConnection, batch: Sequence[Result], aged: Mapping[Epoch, int]) -> list[int]:
    """The places in the batch of those that are not stored, were not deleted for their age, and come first here."""
    wanted: dict[Epoch, dict[int, int]] = {}
    for i, result in enumerate(batch):
        edge, epoch, seq = result.frame.key
        if seq > aged.get((edge, epoch), -1):
            wanted.setdefault((edge, epoch), {}).setdefault(seq, i)
    found = []
    for (edge, epoch), places in wanted.items():
        c = results.c
        query = select(c.seq).where(c.edge == edge, c.epoch == epoch, c.seq.in_(places))
        stored = set((await writer.execute(query)).scalars())
        found += [i for seq, i in places.items() if seq not in stored]
    return sorted(found)
