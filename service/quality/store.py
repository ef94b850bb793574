"""The database: reached, made ready, and one writer at a time.

All that writes holds one lock of the database, so that a forecast and its actual, written at once
by two workers, cannot miss each other. Every call may find the database gone; the next one tries
again, and makes the tables again where they are gone, too.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, create_engine, delete, event, func, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

from service.quality import tables

BUSY_S = 5.0  # that a writer waits for another process
CONNECT_S = 3  # whole seconds until a server must have answered
STATEMENT_MS = 30_000
_AGAIN_S = 0.01  # between two tries where SQLite itself does not wait

_LOCK = 0x6761746563617374  # of PostgreSQL, for all writers of this service
_PRUNED = 10_000  # forecasts deleted in one transaction


class Unreachable(Exception):
    """The database cannot be used now; says why, in one line."""


class Refused(Exception):
    """The database does not take what it was given; says why."""


class Store:
    """One database, used by one thread of each worker."""

    def __init__(self, url: str) -> None:
        """Nothing is connected yet."""
        self.url = url
        self._postgres = url.startswith("postgresql")
        self._engine = create_engine(
            url,
            pool_size=1,
            max_overflow=0,
            pool_pre_ping=True,
            connect_args=_options() if self._postgres else {"timeout": BUSY_S},
        )
        if not self._postgres:
            event.listen(self._engine, "connect", _configure)
            event.listen(self._engine, "begin", _begin)
        self._ready = False

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state.

        Raises:
            Unreachable, Refused: see there.
        """
        with self._reached():
            self._prepare()
            with self._engine.begin() as connection:
                yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction with which no other of a writer overlaps.

        Raises:
            Unreachable, Refused: see there.
        """
        with self._reached():
            self._prepare()
            with self._locked() as connection:
                yield connection

    def insert(self, table: Any) -> Any:
        """The kind of INSERT that may say what is done about a row that is there already."""
        return (postgresql if self._postgres else sqlite).insert(table)

    def prune(self, oldest: float, most: int) -> None:
        """Delete what was made before a moment, and the oldest of more forecasts than `most`.

        Raises:
            Unreachable, Refused: see there.
        """
        while self._pruned(oldest, most):
            pass

    def close(self) -> None:
        """Let go of the connection."""
        self._engine.dispose()

    def _pruned(self, oldest: float, most: int) -> bool:
        """Whether more is left; other writers get their turn between two slices."""
        of, points = tables.forecasts.c, tables.points.c
        with self.writing() as connection:
            connection.execute(delete(tables.actuals).where(tables.actuals.c.posted_at < oldest))
            beyond = select(of.id).order_by(of.id.desc()).limit(1).offset(most).scalar_subquery()
            stale = select(func.max(of.id)).where(of.made_at < oldest).scalar_subquery()
            ends = connection.execute(
                select(beyond, stale, select(func.min(of.id)).scalar_subquery())
            )
            too_many, too_old, first = ends.one()
            if too_many is None and too_old is None:
                return False
            last = max(too_many or 0, too_old or 0)
            slice_end = min(last, first + _PRUNED)
            connection.execute(delete(tables.points).where(points.forecast_id <= slice_end))
            connection.execute(delete(tables.forecasts).where(of.id <= slice_end))
        return bool(slice_end < last)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError, OSError) as error:
            self._ready = False
            raise Unreachable(_line(error)) from error
        except SQLAlchemyError as error:
            self._ready = False
            raise Refused(_line(error)) from error

    def _prepare(self) -> None:
        """Make the tables, once after each time that the database was away."""
        if self._ready:
            return
        with self._locked() as connection:
            tables.metadata.create_all(connection)
            found = connection.execute(select(tables.schema.c.version)).scalar_one_or_none()
            if found is None:
                connection.execute(tables.schema.insert().values(version=tables.SCHEMA))
            elif found != tables.SCHEMA:
                raise Refused(
                    f"its tables have schema {found}, this service knows {tables.SCHEMA}; "
                    "give it a database of its own, or the service that made them"
                )
        self._ready = True

    @contextmanager
    def _locked(self) -> Iterator[Connection]:
        opened = self._engine.connect().execution_options(gatecast_writes=True)
        with opened as connection, connection.begin():
            if self._postgres:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            yield connection


def _options() -> dict[str, Any]:
    return {
        "connect_timeout": CONNECT_S,
        "options": f"-c statement_timeout={STATEMENT_MS} -c lock_timeout={STATEMENT_MS}",
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
        "application_name": "gatecast",
    }


def _configure(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # transactions begin where `_begin` says so
    _keep_a_log(connection)
    connection.execute("PRAGMA synchronous=NORMAL")  # a power cut may take the last second


def _keep_a_log(connection: sqlite3.Connection) -> None:
    """Let readers not wait for the writer.

    Of two that make this change of a new file at once, SQLite tells one at once that the file is
    locked, whatever its timeout: each would wait for the other.
    """
    until = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_AGAIN_S)


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("gatecast_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _line(error: BaseException) -> str:
    """What the driver says, without the statement and its values."""
    original = getattr(error, "orig", None) or error
    return " ".join(str(original).split())[:300] or type(original).__name__
