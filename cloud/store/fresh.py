"""Which packets of a batch have no result yet: each has one for ever, however often it is sent."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, bindparam, select

from cloud.frame import Result
from cloud.store.aging import Of, reached
from cloud.store.tables import results

_STORED = select(results.c.seq).where(
    results.c.edge == bindparam("edge"),
    results.c.epoch == bindparam("epoch"),
    results.c.seq.in_(bindparam("places", expanding=True)),
)
_AT_ONCE = 1000
"""Each is a parameter of the statement, of which databases take some 32,000."""


def fresh(writer: Connection, batch: Sequence[Result], aged: Mapping[Of, int]) -> list[int]:
    """The places in the batch of those that are not stored, were not deleted for their age, and come first here."""
    wanted: dict[tuple[str, str], dict[int, int]] = {}
    for i, result in enumerate(batch):
        edge, epoch, seq = result.frame.key
        if not reached(aged, result.frame):
            wanted.setdefault((edge, epoch), {}).setdefault(seq, i)
    found = []
    for (edge, epoch), places in wanted.items():
        stored = _stored(writer, edge, epoch, list(places))
        found += [i for seq, i in places.items() if seq not in stored]
    return sorted(found)


def _stored(writer: Connection, edge: str, epoch: str, seqs: Sequence[int]) -> set[int]:
    stored: set[int] = set()
    for begin in range(0, len(seqs), _AT_ONCE):
        of = {"edge": edge, "epoch": epoch, "places": seqs[begin : begin + _AT_ONCE]}
        stored.update(writer.execute(_STORED, of).scalars())
    return stored
