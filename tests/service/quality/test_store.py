"""A database is made ready by whoever comes first, and one of others is left alone."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select

from service.quality import tables
from service.quality.address import database_url
from service.quality.store import Refused, Store


@pytest.mark.parametrize("attempt", range(25))
def test_workers_that_open_a_new_file_at_once_all_write(tmp_path: Path, attempt: int) -> None:
    url = database_url(str(tmp_path / "quality.db"))
    together = threading.Barrier(4, timeout=60)

    def roll_back(version: int) -> None:
        store = Store(url)
        together.wait()
        with store.writing() as connection:
            row = {"model": "tiny", "version": version, "at": float(attempt)}
            connection.execute(insert(tables.rollbacks).values(row))
        store.close()

    with ThreadPoolExecutor(4) as workers:
        for done in [workers.submit(roll_back, version) for version in range(4)]:
            done.result()
    store = Store(url)
    with store.reading() as connection:
        assert connection.execute(select(func.count()).select_from(tables.rollbacks)).scalar() == 4
    store.close()


def test_tables_of_another_service_are_left_alone(store: Store) -> None:
    with store.writing() as connection:
        connection.execute(tables.schema.update().values(version=99))
    store.close()
    fresh = Store(str(store.url))
    with pytest.raises(Refused, match="schema 99"), fresh.reading():
        pass
    fresh.close()
    with store.writing() as connection:
        connection.execute(tables.schema.delete())
        connection.execute(insert(tables.schema).values(version=tables.SCHEMA))
