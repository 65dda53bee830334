"""Rules as rows."""

from typing import Any

from sqlalchemy import Connection, delete, func, select

from cloud.store.record import Rule
from cloud.store.tables import rules


def upsert(insert: Any) -> Any:
    """The statement that keeps a rule, whether there was one of its name or not."""
    new = insert.excluded
    columns = [name for name in Rule.__slots__ if name != "name"]
    return insert.on_conflict_do_update(index_elements=["name"], set_={name: new[name] for name in columns})


def columns(rule: Rule) -> dict[str, Any]:
    """The row of a rule."""
    return {name: getattr(rule, name) for name in Rule.__slots__}


def every(connection: Connection) -> list[Rule]:
    """All of them, by name."""
    return [Rule(*row) for row in connection.execute(select(rules).order_by(rules.c.name))]


def remove(writer: Connection, name: str) -> bool:
    """Whether there was one of this name."""
    before = writer.execute(select(func.count()).where(rules.c.name == name)).scalar_one()
    writer.execute(delete(rules).where(rules.c.name == name))
    return bool(before)
