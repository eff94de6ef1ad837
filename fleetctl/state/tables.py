"""The tables of the store. Plain types alone, so that SQLite and PostgreSQL take them alike.

Times that end in `_wall` are seconds since the epoch. A change of these tables needs a new SCHEMA and a way from the
one before, in `migration`.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
    text,
)

SCHEMA = 2

METADATA = MetaData()

meta = Table("meta", METADATA, Column("name", String, primary_key=True), Column("value", Text, nullable=False))

fleets = Table(
    "fleets",
    METADATA,
    Column("fleet", String, primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Column("inventory", Text),  # absolute path, kept by the last deploy
)

locks = Table(
    "locks",
    METADATA,
    Column("fleet", String, primary_key=True),
    Column("token", String, nullable=False),
    Column("run", Integer, nullable=False),
    Column("holder", Text, nullable=False),
    Column("command", Text, nullable=False),
    Column("since_wall", Float, nullable=False),
    Column("ends_wall", Float, nullable=False),
    Column("ends_boottime", Float, nullable=False),  # counts in the holder's boot
)

runs = Table(
    "runs",
    METADATA,
    Column("run", Integer, primary_key=True),
    Column("fleet", String, nullable=False, index=True),
    Column("command", Text, nullable=False),
    Column("driver", Text, nullable=False),
    Column("started_wall", Float, nullable=False),
    Column("ended_wall", Float),  # absent: runs, or was killed
    Column("exit_code", Integer),
    Column("lines", Text, nullable=False),
)

releases = Table(
    "releases",
    METADATA,
    Column("fleet", String, primary_key=True),
    Column("job", String, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("spec", Text, nullable=False),
    Column("artifact", String),
    Column("made_wall", Float, nullable=False),
    Column("good", Boolean, nullable=False),
)

wishes = Table(
    "wishes",
    METADATA,
    Column("fleet", String, primary_key=True),
    Column("job", String, primary_key=True),
    Column("release", Integer, nullable=False),
    Column("replicas", Integer, nullable=False),
    Column("stopped", Boolean, nullable=False),
    Column("owner", Text, nullable=False, server_default=text("''")),
    Column("orphan", Boolean, nullable=False, server_default=false()),
    Column("scaled", Boolean, nullable=False, server_default=false()),
    ForeignKeyConstraint(["fleet", "job", "release"], ["releases.fleet", "releases.job", "releases.number"]),
)

hosts = Table(
    "hosts",
    METADATA,
    Column("fleet", String, primary_key=True),
    Column("host", String, primary_key=True),
    Column("memory", Text, nullable=False),
    Column("boot", String, nullable=False),  # in which the memory's instants count
    Column("wall_at_zero", Float, nullable=False),
)

plans = Table(
    "plans",
    METADATA,
    Column("fleet", String, primary_key=True),
    Column("generation", BigInteger, primary_key=True, autoincrement=False),
    Column("run", Integer, nullable=False),
    Column("written_wall", Float, nullable=False),
    Column("held", Text, nullable=False),
    Column("verdicts", Text, nullable=False),
    Column("behind", Text, nullable=False, server_default=text("'{}'")),
    Column("boot", String, nullable=False),  # in which the verdicts' instants count
    Column("wall_at_zero", Float, nullable=False),
)

actions = Table(
    "actions",
    METADATA,
    Column("fleet", String, primary_key=True),
    Column("generation", BigInteger, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),  # in Plan.actions
    Column("stage", Integer, nullable=False),
    Column("kind", String, nullable=False),
    Column("action", Text, nullable=False),
    Column("outcome", String),  # absent: not tried, or the run was killed while it was under way
    Column("detail", Text, nullable=False),
    Column("ended_wall", Float),
    ForeignKeyConstraint(["fleet", "generation"], ["plans.fleet", "plans.generation"]),
)

cordons = Table(
    "cordons",
    METADATA,
    Column("fleet", String, primary_key=True),
    Column("host", String, primary_key=True),
    Column("cordon", Text, nullable=False),
)

failures = Table(
    "failures",
    METADATA,
    Column("fleet", String, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("job", String, nullable=False),
    Column("failure", Text, nullable=False),
    Column("boot", String, nullable=False),  # in which its instant counts
    Column("wall_at_zero", Float, nullable=False),
)

incidents = Table(
    "incidents",
    METADATA,
    Column("fleet", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("subject", String, primary_key=True),
    Column("incident", Text, nullable=False),
)
