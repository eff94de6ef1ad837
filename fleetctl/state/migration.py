"""The way from an older store's tables to today's, step by step, in one transaction each.

The words are those of that day: they stay as they are when the tables change again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

# By the schema that they start from. A fleetctl of that schema which still runs can go on writing.
STEPS: dict[int, tuple[str, ...]] = {
    1: (
        "ALTER TABLE wishes ADD COLUMN owner TEXT DEFAULT '' NOT NULL",
        "ALTER TABLE wishes ADD COLUMN orphan BOOLEAN DEFAULT FALSE NOT NULL",
        "ALTER TABLE wishes ADD COLUMN scaled BOOLEAN DEFAULT FALSE NOT NULL",
        "ALTER TABLE plans ADD COLUMN behind TEXT DEFAULT '{}' NOT NULL",
        """CREATE TABLE cordons (
            fleet VARCHAR NOT NULL, host VARCHAR NOT NULL, cordon TEXT NOT NULL,
            PRIMARY KEY (fleet, host))""",
        """CREATE TABLE failures (
            fleet VARCHAR NOT NULL, number INTEGER NOT NULL, job VARCHAR NOT NULL,
            failure TEXT NOT NULL, boot VARCHAR NOT NULL, wall_at_zero FLOAT NOT NULL,
            PRIMARY KEY (fleet, number))""",
        """CREATE TABLE incidents (
            fleet VARCHAR NOT NULL, kind VARCHAR NOT NULL, subject VARCHAR NOT NULL, incident TEXT NOT NULL,
            PRIMARY KEY (fleet, kind, subject))""",
    ),
}


def migrate(connection: Connection, schema: int) -> int:
    """Brings the tables of `schema` as far as there are steps; which schema they have now, for the caller to keep."""
    while schema in STEPS:
        for statement in STEPS[schema]:
            connection.exec_driver_sql(statement)
        schema += 1
    return schema
