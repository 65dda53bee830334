"""A statement that is run for many rows, again and again: compiled once, and its rows handed to the driver as they are.

SQLAlchemy's own way looks at every value of every row on its way to the driver, which for a batch of results took as
long as the database did.
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Dialect
from sqlalchemy.sql.dml import UpdateBase


class Many:
    """`run` it with a mapping for each row, of the columns that the statement has values for: two at least."""

    def __init__(self, statement: UpdateBase, dialect: Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect)
        self._sql = str(compiled)
        self._values = itemgetter(*compiled.positiontup)

    def run(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """For all rows in their order; for none, nothing is done."""
        if rows:
            connection.exec_driver_sql(self._sql, [self._values(row) for row in rows])
