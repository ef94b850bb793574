"""The tables of the database, the same in SQLite and PostgreSQL.

A forecast of one series is one row, its steps and levels packed: a row for each value would be
hundreds, of which nobody asks for one. Moments are microseconds since 1970-01-01, as in the
service; when something was done is seconds.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
)

SCHEMA = 1  # of these tables

metadata = MetaData()
_Id = BigInteger().with_variant(Integer, "sqlite")  # the only integer that counts by itself there

schema = Table("gatecast_schema", metadata, Column("version", Integer, primary_key=True))

versions = Table(
    "gatecast_versions",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("model", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("levels", String, nullable=False),  # JSON
    UniqueConstraint("model", "version", "levels"),
)

forecasts = Table(
    "gatecast_forecasts",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("version_id", BigInteger, nullable=False),
    Column("item_id", String, nullable=False),
    Column("cutoff", BigInteger, nullable=False),  # of the last value that was known
    Column("last", BigInteger, nullable=False),  # of the last step
    Column("moments", LargeBinary, nullable=False),  # int64 [H]
    Column("quantiles", LargeBinary, nullable=False),  # float32 [H, Q]
    Column("scale", Double),  # the seasonal error of the history; NULL = undefined
    Column("outside", SmallInteger),  # 1: a value outside the range of training; NULL = unknown
    Column("drift", Double),  # ln(scale) less its mean in training; NULL = unknown
    Column("made_at", Double, nullable=False),
    UniqueConstraint("version_id", "item_id", "cutoff"),
    Index("gatecast_forecasts_item", "item_id", "last"),
    Index("gatecast_forecasts_made", "version_id", "made_at"),
)

actuals = Table(
    "gatecast_actuals",
    metadata,
    Column("item_id", String, primary_key=True),
    Column("timestamp", BigInteger, primary_key=True, autoincrement=False),
    Column("model", String, primary_key=True),  # '' = of all models
    Column("value", Double, nullable=False),
    Column("posted_at", Double, nullable=False),
    Index("gatecast_actuals_posted", "posted_at"),
)

points = Table(
    "gatecast_points",
    metadata,
    Column("forecast_id", BigInteger, primary_key=True, autoincrement=False),
    Column("step", Integer, primary_key=True, autoincrement=False),  # 1..H
    Column("version_id", BigInteger, nullable=False),
    Column("joined_at", Double, nullable=False),
    Column("actual", Double, nullable=False),
    Column("scaled", Double),  # NULL = no seasonal error to divide by
    Column("pinball", Double, nullable=False),
    Column("depth", SmallInteger, nullable=False),
    Index("gatecast_points_joined", "version_id", "joined_at"),
)

rollbacks = Table(
    "gatecast_rollbacks",
    metadata,
    Column("model", String, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
)
