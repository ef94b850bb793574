"""Arrow and Parquet over a real socket, written and read by pandas, polars and pyarrow."""

import io
import json
from typing import Any

import httpx
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.artifacts import toy
from tests.end_to_end.server import client, serving
from tests.end_to_end.test_bulk import ask, packed
from tests.end_to_end.test_covariates import GOOD, SHOWN

STREAM = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"
LEVELS = [f"0.{level}" for level in range(1, 10)]
TARGETS: list[list[Any]] = [[1.0, None, 3.0], [5.5], [*map(float, range(40))]]
NAMES = [f"s{at}" for at in range(len(TARGETS))]
LIVE = settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def long(targets: list[list[Any]] = TARGETS) -> pl.DataFrame:
    """A long table of the model `tiny`; every fourth hour a row."""
    days = pd.date_range("2024-01-01", periods=max(map(len, targets)), freq="4h")
    return pl.DataFrame(
        {
            "item_id": [f"s{at}" for at, target in enumerate(targets) for _ in target],
            "timestamp": [moment for target in targets for moment in days[: len(target)]],
            "target": [value for target in targets for value in target],
        },
        schema={"item_id": pl.String, "timestamp": pl.Datetime("us"), "target": pl.Float64},
    )


def parquet(table: pl.DataFrame) -> bytes:
    sink = io.BytesIO()
    table.write_parquet(sink)
    return sink.getvalue()


def stream(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def post(
    http: httpx.Client, body: bytes, media: str, accept: str | None = None, **query: str
) -> httpx.Response:
    headers = {"content-type": media} | ({} if accept is None else {"accept": accept})
    return http.post(
        "/v1/forecast/bulk", content=body, headers=headers, params={"model": "tiny"} | query
    )


def told(http: httpx.Client, body: bytes, media: str, **query: str) -> pl.DataFrame:
    answer = post(http, body, media, **query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == media
    read = pl.read_ipc_stream if media == STREAM else pl.read_parquet
    return read(io.BytesIO(answer.content))


@pytest.fixture(scope="module")
def expected(server: Any) -> pl.DataFrame:
    """The answer about TARGETS, told by packed JSON."""
    with client(server) as http:
        answer = ask(http, packed(TARGETS))
    steps = answer["horizon"]
    moments = [pd.date_range(start, periods=steps, freq="4h") for start in answer["start"]]
    levels = {k: pl.Series(v, dtype=pl.Float32) for k, v in answer["quantiles"].items()}
    return pl.DataFrame(
        {
            "item_id": np.repeat(NAMES, steps),
            "timestamp": pl.Series(np.concatenate(moments)).cast(pl.Datetime("us")),
        }
        | levels
    )


def test_polars_asks_and_reads_in_parquet(http: httpx.Client, expected: pl.DataFrame) -> None:
    assert told(http, parquet(long()), PARQUET).equals(expected)
    assert expected.columns == ["item_id", "timestamp", *LEVELS]


@pytest.mark.parametrize("newest", [True, False])
def test_polars_asks_and_reads_an_arrow_stream(
    http: httpx.Client, expected: pl.DataFrame, newest: bool
) -> None:
    sink = io.BytesIO()
    long().write_ipc_stream(sink, compat_level=None if newest else pl.CompatLevel.oldest())
    assert told(http, sink.getvalue(), STREAM).equals(expected)


def test_pandas_asks_and_reads(http: httpx.Client, expected: pl.DataFrame) -> None:
    names = {"item_id": "unique_id", "timestamp": "ds", "target": "y"}
    sink = io.BytesIO()
    long().to_pandas().rename(columns=names).to_parquet(sink, index=False)
    answer = post(http, sink.getvalue(), PARQUET)
    assert answer.status_code == 200, answer.text
    frame = pd.read_parquet(io.BytesIO(answer.content))
    pd.testing.assert_frame_equal(frame, expected.to_pandas(), check_dtype=False, check_exact=True)
    assert frame["0.1"].dtype == np.float32


ITEMS = {"s0": 7, "s1": 8, "s2": 9}
AS: dict[str, Any] = {
    "categories": lambda table: table.with_columns(pl.col("item_id").cast(pl.Categorical)),
    "nanoseconds": lambda table: table.with_columns(pl.col("timestamp").cast(pl.Datetime("ns"))),
    "milliseconds": lambda table: table.with_columns(pl.col("timestamp").cast(pl.Datetime("ms"))),
    "float32": lambda table: table.with_columns(pl.col("target").cast(pl.Float32)),
    "NaN": lambda table: table.with_columns(pl.col("target").fill_null(float("nan"))),
    "a row left out": lambda table: table.filter(pl.col("target").is_not_null()),
    "columns in another order": lambda table: table.select("target", "timestamp", "item_id"),
    "items mixed": lambda table: table.sort("timestamp", maintain_order=True),
}


@pytest.mark.parametrize("way", AS)
@pytest.mark.parametrize("media", [STREAM, PARQUET])
def test_a_table_is_read_as_users_have_it(
    http: httpx.Client, expected: pl.DataFrame, way: str, media: str
) -> None:
    table = AS[way](long())
    body = parquet(table) if media == PARQUET else stream(table.to_arrow())
    assert told(http, body, media).equals(expected)


def test_integers_name_items_and_dates_are_midnights(http: httpx.Client) -> None:
    table = pa.table(
        {
            "item_id": pa.array([7, 8], pa.int64()),
            "timestamp": pa.array([19_723, 19_723], pa.int32()).cast(pa.date32()),
            "target": pa.array([1, 2], pa.int64()),
        }
    )
    found = told(http, stream(table), STREAM, horizon="1")
    assert found["item_id"].to_list() == ["7", "8"]
    assert found["timestamp"].to_list() == [pd.Timestamp("2024-01-01T04:00")] * 2


def test_utc_stays_utc(http: httpx.Client) -> None:
    table = long().with_columns(pl.col("timestamp").dt.replace_time_zone("UTC"))
    found = told(http, parquet(table), PARQUET)
    assert found["timestamp"].dtype == pl.Datetime("us", "UTC")


def lists(targets: list[list[Any]] = TARGETS, **more: Any) -> pa.Table:
    """One row for each series."""
    start = pa.array([pd.Timestamp("2024-01-01")] * len(targets), pa.timestamp("ms"))
    names = [f"s{at}" for at in range(len(targets))]
    target = pa.array(targets, pa.list_(pa.float64()))
    return pa.table({"item_id": names, "start": start, "target": target} | more)


@pytest.mark.parametrize("media", [STREAM, PARQUET])
def test_a_row_may_hold_a_whole_series(
    http: httpx.Client, expected: pl.DataFrame, media: str
) -> None:
    sink = io.BytesIO()
    pq.write_table(lists(), sink)
    body = sink.getvalue() if media == PARQUET else stream(lists())
    assert told(http, body, media).equals(expected)


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_compressed_stream_is_read(
    http: httpx.Client, expected: pl.DataFrame, compression: str
) -> None:
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, lists().schema, options=options) as writer:
        writer.write_table(lists(), max_chunksize=1)
    assert told(http, sink.getvalue(), STREAM).equals(expected)


def test_horizon_and_levels_are_asked_in_the_query(
    http: httpx.Client, expected: pl.DataFrame
) -> None:
    query = {"horizon": "2", "quantile_levels": "0.9,0.5", "freq": "240min"}
    found = told(http, stream(lists()), STREAM, **query)
    wanted = expected.filter(pl.int_range(pl.len()) % 6 < 2)
    assert found.equals(wanted.select("item_id", "timestamp", "0.9", "0.5"))


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("*/*", STREAM),
        ("application/json", "application/json"),
        (f"text/html, {PARQUET};q=0.9, */*", PARQUET),
        ("text/html", STREAM),
    ],
)
def test_the_form_of_the_answer_is_asked_by_accept(
    http: httpx.Client, accept: str, media: str
) -> None:
    answer = post(http, stream(lists()), STREAM, accept)
    assert (answer.status_code, answer.headers["content-type"]) == (200, media)
    if media == "application/json":
        assert answer.json() == ask(http, packed(TARGETS))


def test_packed_json_may_be_answered_with_a_table(
    http: httpx.Client, expected: pl.DataFrame
) -> None:
    answer = http.post(
        "/v1/forecast/bulk", content=json.dumps(packed(TARGETS)), headers={"accept": PARQUET}
    )
    assert pl.read_parquet(io.BytesIO(answer.content)).equals(expected)


@LIVE
@given(
    targets=st.lists(
        st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), min_size=1, max_size=6
    )
)
def test_every_form_gives_the_same_bits(http: httpx.Client, targets: list[list[float]]) -> None:
    said = ask(http, packed(targets))["quantiles"]
    quantiles = {level: np.array(values, np.float32) for level, values in said.items()}
    for body, media in (
        (stream(lists(targets)), STREAM),
        (stream(long(targets).to_arrow()), STREAM),
        (parquet(long(targets)), PARQUET),
    ):
        found = told(http, body, media)
        for level in LEVELS:
            assert found[level].to_numpy().tobytes() == quantiles[level].tobytes()


def test_a_large_table_comes_whole(http: httpx.Client) -> None:
    random = np.random.default_rng(1)
    targets = random.normal(10, 3, (3000, 24)).tolist()
    found = told(http, stream(lists(targets)), STREAM)
    assert found.height == 3000 * 6
    few = told(http, stream(lists(targets[-2:])), STREAM)
    assert found.tail(12).select(LEVELS).equals(few.select(LEVELS))


def covariates() -> pl.DataFrame:
    """The series of the covariates' tests as a long table, its horizon without a target."""
    past, known = GOOD["past_covariates"], GOOD["known_covariates"]
    days = pd.date_range(GOOD["start"], periods=7)
    return pl.DataFrame(
        {
            "item_id": ["a"] * 7,
            "timestamp": pl.Series(days).cast(pl.Datetime("us")),
            "target": [*map(float, [1, 2]), None, 4.0, None, None, None],
            "price": [*past["price"], None, None, None],
            "stock": [*past["stock"], None, None, None],
            "promo": known["promo"],
            "size": [7.5] * 7,
            "region": ["south"] * 7,
        }
    )


def test_covariates_are_columns(tmp_path: Any) -> None:
    toy.write(tmp_path)
    rows = stream(covariates().to_arrow())
    as_lists = {
        "item_id": ["a"],
        "start": pl.Series([GOOD["start"]]).str.to_datetime(),
        "target": [GOOD["target"]],
        **{name: [values] for name, values in GOOD["past_covariates"].items()},
        "promo": [GOOD["known_covariates"]["promo"]],
        "size": [7.5],
        "region": ["south"],
    }
    with serving(tmp_path) as server, client(server) as http:
        for body in (rows, stream(pl.DataFrame(as_lists, strict=False).to_arrow())):
            found = told(http, body, STREAM, model="toy")
            assert {level: found[level].to_list() for level in LEVELS} == SHOWN
            assert found["timestamp"][0] == pd.Timestamp("2024-03-02")
        unknown = covariates().with_columns(colour=pl.lit("red"))
        answer = post(http, stream(unknown.to_arrow()), STREAM, model="toy")
        assert answer.status_code == 400
        assert "'colour' is unknown to this model" in answer.text
        answer = post(http, stream(covariates().drop("price").to_arrow()), STREAM, model="toy")
        assert "column price is missing" in answer.text
