"""The query of a table, and a service that cannot read tables."""

import importlib.util

import pytest

from service.api.bulk.helper import PARQUET
from service.api.bulk.tables import Asked, check_installed, read_query
from service.errors import Malformed, UnsupportedMedia


def test_a_query_says_what_a_body_of_json_would() -> None:
    query = {"model": "a@3", "horizon": "2", "quantile_levels": "0.1,0.5", "freq": "h"}
    assert read_query(query) == Asked("a", 3, 2, (0.1, 0.5), "h")
    assert read_query({"model": "a"}) == Asked("a", None, None, None, None)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({}, "model"),
        ({"model": ""}, "model"),
        ({"model": "a", "horizon": "two"}, "horizon"),
        ({"model": "a", "quantile_levels": ""}, "quantile_levels"),
        ({"model": "a", "quantile_levels": "0.1,"}, "quantile_levels"),
        ({"model": "a", "levels": "0.1"}, "levels"),
    ],
)
def test_a_wrong_query_names_its_parameter(query: dict[str, str], field: str) -> None:
    with pytest.raises(Malformed) as caught:
        read_query(query)
    assert caught.value.field == field


def test_without_pyarrow_tables_are_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check_installed(PARQUET)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedMedia, match=r"install gatecast\[arrow\]"):
        check_installed(PARQUET)
