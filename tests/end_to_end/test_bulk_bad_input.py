"""Whatever is wrong in a bulk body gets a status and a reason, before anything runs."""

import gzip
import io
import json
import random
import re
import struct
from typing import Any

import httpx
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.end_to_end.server import ServerProcess, client, serving
from tests.end_to_end.test_bulk import packed
from tests.end_to_end.test_bulk_tables import PARQUET, STREAM, lists, long, parquet, post, stream

KINDS = {400: "malformed", 404: "not_found", 413: "too_large", 422: "unservable"}
KINDS |= {415: "unsupported_media", 405: "wrong_method", 504: "deadline"}
GOOD = packed([[1.0, 2.0], [3.0, None]])


def check(answer: httpx.Response, status: int, field: str | None, message: str) -> None:
    """A refusal in the words of the native dialect."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["type"] == KINDS[status]
    assert error.get("field") == field
    assert re.search(message, error["message"]), error["message"]
    assert "Traceback" not in answer.text
    assert len(answer.text) < 1500


def without(field: str) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name != field}


RAW = '{"model": "tiny", "y": %s, "sizes": [2], "start": "2024-01-01"}'
JSON: dict[str, tuple[object, int, str | None, str]] = {
    "no body": (b"", 400, None, "expected, there the body ends"),
    "truncated": (json.dumps(GOOD)[:-9], 400, None, "not the documented JSON"),
    "invalid UTF-8": (b'{"model": "\xff"}', 400, "model", "UTF-8"),
    "a list": ([], 400, None, "{ is expected"),
    "deep nesting": ('{"y":' + "[" * 100_000, 400, None, "nested 100001 deep"),
    "no model": (without("model"), 400, "model", "missing"),
    "no y": (without("y"), 400, "y", "missing"),
    "no sizes": (without("sizes"), 400, "sizes", "missing"),
    "no start": (without("start"), 400, "start", "missing"),
    "unknown field": (GOOD | {"series": 1}, 400, "series", "not a field"),
    "a text in y": (RAW % '[1, "2"]', 400, "y[1]", "str"),
    "a list in y": (RAW % "[[1], 2]", 400, "y[0]", "array"),
    "NaN": (RAW % "[NaN, 2]", 400, "y", "NaN.*null"),
    "Infinity": (RAW % "[1, Infinity]", 400, "y", "Infinity.*null"),
    "1e999": (RAW % "[1, 1e999]", 400, "y[1]", "out of range"),
    "sizes too small": (GOOD | {"sizes": [2, 1]}, 400, "sizes", "add up to 3, but y has 4"),
    "sizes too large": (GOOD | {"sizes": [2, 4]}, 400, "sizes", "add up to 6, but y has 4"),
    "a size of zero": (GOOD | {"sizes": [4, 0]}, 400, "sizes[1]", ">= 1"),
    "a negative size": (GOOD | {"sizes": [-1, 5]}, 400, "sizes[0]", ">= 1"),
    "a huge size": (GOOD | {"sizes": [2**39, 2]}, 400, "sizes[0]", "1 to 4"),
    "a fraction as size": (GOOD | {"sizes": [2.5, 1.5]}, 400, "sizes[0]", "float"),
    "too few names": (GOOD | {"item_ids": ["a"]}, 400, "item_ids", "1 elements, expected 2"),
    "a long name": (GOOD | {"item_ids": ["a", "b" * 257]}, 400, "item_ids[1]", "256"),
    "too few starts": (GOOD | {"start": ["2024-01-01"]}, 400, "start", "1 elements, expected 2"),
    "horizon a text": (GOOD | {"horizon": "3"}, 400, "horizon", "int"),
    "level a text": (GOOD | {"quantile_levels": ["a"]}, 400, None, "value of quantile_levels"),
    "features mixed": (
        GOOD | {"static_features": {"a": ["x", 1]}},
        400,
        "static_features.a[1]",
        "1 among texts",
    ),
    "a model of another form": (GOOD | {"model": "tiny@0.5"}, 400, "model", "name@version"),
    "unknown model": (GOOD | {"model": "nope"}, 404, "model", "not served.*tiny"),
    "no series": (GOOD | {"y": [], "sizes": [], "item_ids": []}, 422, "series", "no series"),
    "a name twice": (GOOD | {"item_ids": ["a", "a"]}, 422, "series[1].item_id", "0 and 1"),
    "all missing": (GOOD | {"y": [1, 2, None, None]}, 422, "series[1].target", "'s1'.*observed"),
    "too large": (GOOD | {"y": [1, 2, 3, 2e36]}, 422, "series[1].target[1]", "1e.36"),
    "bad date": (GOOD | {"start": "soon"}, 422, "start", "ISO 8601"),
    "one bad date": (GOOD | {"start": ["2024-01-01", "x"]}, 422, "start[1]", "ISO 8601"),
    "UTC for one": (GOOD | {"start": ["2024-01-01", "2024-01-01T00:00Z"]}, 422, "start[1]", "Z"),
    "horizon too long": (GOOD | {"horizon": 7}, 422, "horizon", "7.*1 to 6"),
    "another freq": (GOOD | {"freq": "D"}, 422, "series[0].freq", "'D'.*'4h'"),
    "a covariate": (
        GOOD | {"past_covariates": {"price": [1, 2, 3, 4]}},
        422,
        "series[0].past_covariates.price",
        "takes none",
    ),
}


@pytest.mark.parametrize("case", JSON)
def test_wrong_packed_json_is_refused_with_its_reason(http: httpx.Client, case: str) -> None:
    body, status, field, message = JSON[case]
    content = body if isinstance(body, (bytes, str)) else json.dumps(body)
    answer = http.post("/v1/forecast/bulk", content=content)
    check(answer, status, field, message)


def changed(**columns: Any) -> bytes:
    return stream(long().with_columns(**columns).to_arrow())


def rows(**columns: Any) -> bytes:
    """A stream of these columns in place of those of one good row."""
    good = {"item_id": ["a"], "timestamp": [pd.Timestamp("2024-01-01")], "target": [1.0]}
    return stream(pa.table(good | columns))


def two(**columns: Any) -> bytes:
    days = [pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-01T04")]
    return rows(**({"item_id": ["a", "a"], "timestamp": days, "target": [1.0, 2.0]} | columns))


NOTHING = pa.table({"item_id": ["a"]}).slice(0, 0)
DAY = pd.Timestamp("2024-01-01")
TABLES: dict[str, tuple[bytes, int, str | None, str]] = {
    "no body": (b"", 400, None, "cannot be read"),
    "no Arrow": (b"item_id,timestamp,target", 400, None, "cannot be read"),
    "truncated": (stream(lists())[:-200], 400, None, "cannot be read"),
    "an Arrow file": (b"ARROW1\0\0", 400, None, "expected an Arrow stream"),
    "no rows": (stream(long().to_arrow().slice(0, 0)), 422, "item_id", "no rows"),
    "no target": (stream(long().drop("target").to_arrow()), 400, "target", "target is missing"),
    "another column": (changed(price=pl.lit(1)), 400, "price", "'price' is unknown.*drop"),
    "a column twice": (
        stream(pa.table([["a"], [DAY], [1.0], [2.0]], ["item_id", "timestamp", "target", "y"])),
        400,
        "target",
        "twice",
    ),
    "target a text": (changed(target=pl.lit("a")), 400, "target", "expected numbers"),
    "timestamp a text": (changed(timestamp=pl.lit("a")), 400, "timestamp", "expected timestamp"),
    "item_id a fraction": (rows(item_id=[1.5]), 400, "item_id", "text or integers"),
    "a struct": (rows(target=[{"a": 1}]), 400, "target", "convert it"),
    "item_id null": (two(item_id=["a", None]), 400, "row[2]", "row 2: item_id is null"),
    "timestamp null": (two(timestamp=[DAY, None]), 400, "row[2]", "row 2: timestamp is null"),
    "infinite": (two(target=[1.0, float("-inf")]), 400, "row[2]", "'a', row 2: target is not a fi"),
    "repeated": (two(timestamp=[DAY, DAY]), 422, "row[2]", "'a', row 2.*come after.*row 1"),
    "unsorted": (
        two(timestamp=[DAY, DAY - pd.Timedelta("4h")]),
        422,
        "row[2]",
        "'a', row 2.*come after",
    ),
    "off the grid": (
        two(timestamp=[DAY, DAY + pd.Timedelta("1h")]),
        422,
        "row[2]",
        "'a', row 2.*whole number of steps of 4h",
    ),
    "nanoseconds": (
        rows(timestamp=pa.array([1], pa.timestamp("ns"))),
        422,
        "timestamp",
        "microseconds",
    ),
    "far years": (rows(timestamp=pa.array([2**60], pa.timestamp("us"))), 422, "row[1]", "years"),
    "another zone": (
        rows(timestamp=pa.array([DAY], pa.timestamp("us", "Europe/Berlin"))),
        422,
        "timestamp",
        "Europe/Berlin.*UTC",
    ),
    "all missing": (rows(target=[None]), 422, "series[0].target", "'a'.*no observed"),
    "too large": (two(target=[1.0, 1e37]), 422, "series[0].target[1]", "'a'.*1e.36"),
    "an empty list": (stream(lists([[1.0], []])), 422, "row[2]", "row 2: target has no values"),
    "a null list": (stream(lists([[1.0], None])), 400, "row[2]", "row 2: target is null"),  # type: ignore[list-item]
    "infinite in a list": (
        stream(lists([[1.0], [2.0, float("inf")]])),
        400,
        "row[2]",
        "row 2: target holds Inf",
    ),
    "a name twice": (
        stream(lists([[1.0], [2.0]]).set_column(0, "item_id", [["a", "a"]])),
        422,
        "series[1].item_id",
        "'a'.*0 and 1",
    ),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_wrong_table_is_refused_with_its_reason(http: httpx.Client, case: str) -> None:
    body, status, field, message = TABLES[case]
    check(post(http, body, STREAM), status, field, message)


@pytest.mark.parametrize("cut", [1, 8, 100, 700])
def test_truncated_parquet_is_refused(http: httpx.Client, cut: int) -> None:
    check(post(http, parquet(long())[:-cut], PARQUET), 400, None, "cannot be read")


QUERIES: dict[str, tuple[dict[str, str], int, str, str]] = {
    "horizon a text": ({"horizon": "x"}, 400, "horizon", "'x', expected a whole number"),
    "levels a text": ({"quantile_levels": "0.1;0.5"}, 400, "quantile_levels", "with commas"),
    "a level not the model's": ({"quantile_levels": "nan"}, 422, "quantile_levels[0]", "nan"),
    "an unknown parameter": ({"level": "80"}, 400, "level", "no parameter"),
    "an unknown model": ({"model": "nope"}, 404, "model", "not served"),
    "a bad version": ({"model": "tiny@0"}, 400, "model", "name@version"),
    "too far": ({"horizon": "7"}, 422, "horizon", "1 to 6"),
    "another freq": ({"freq": "D"}, 422, "series[0].freq", "'D'"),
}


@pytest.mark.parametrize("case", QUERIES)
def test_a_wrong_query_is_refused_with_its_reason(http: httpx.Client, case: str) -> None:
    query, status, field, message = QUERIES[case]
    check(post(http, stream(lists()), STREAM, **query), status, field, message)


def test_a_table_needs_a_model_and_json_no_query(http: httpx.Client) -> None:
    headers = {"content-type": STREAM}
    answer = http.post("/v1/forecast/bulk", content=stream(lists()), headers=headers)
    check(answer, 400, "model", "model is missing in the query")
    answer = http.post("/v1/forecast/bulk?model=tiny", content=json.dumps(GOOD))
    check(answer, 400, "model", "the query is for tables")


@pytest.mark.parametrize("media", ["text/csv", "application/octet-stream", "\xff", STREAM + "x"])
def test_another_content_type_is_refused(http: httpx.Client, media: str) -> None:
    headers = {"content-type": media.encode("latin-1")}
    answer = http.post("/v1/forecast/bulk", content=b"x", headers=headers)  # type: ignore[arg-type]
    check(answer, 415, "content-type", "expected one of application/json")


def test_another_method_is_refused(http: httpx.Client) -> None:
    check(http.get("/v1/forecast/bulk"), 405, None, "POST is")


def test_a_deadline_holds_for_the_whole_call(http: httpx.Client) -> None:
    content = json.dumps(packed([[1.0] * 24] * 3000))
    headers = {"gatecast-timeout-ms": "1"}
    answer = http.post("/v1/forecast/bulk", content=content, headers=headers)
    assert answer.status_code in (429, 504), answer.text


LIMIT = 200_000  # bytes of a body


@pytest.fixture(scope="module")
def small(artifacts: Any) -> Any:
    """A server that takes few series and short bodies."""
    with serving(artifacts, max_body_bytes=LIMIT, max_queue_rows=50) as running:
        yield running


def zeros(count: int) -> pa.Table:
    """One item with so many steps that are all the same."""
    names = pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), ["a"])
    moments = np.zeros(count, "datetime64[us]")
    return pa.table({"item_id": names, "timestamp": moments, "target": np.zeros(count)})


def compressed(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue()


def squeezed(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def test_too_many_series_are_refused(small: ServerProcess) -> None:
    with client(small) as http:
        many = [[1.0]] * 51
        answer = http.post("/v1/forecast/bulk", content=json.dumps(packed(many)))
        check(answer, 413, "sizes", "more than 50 elements")
        check(post(http, stream(lists(many)), STREAM), 413, "series", "51 series.*50")
        check(post(http, parquet(long(many)), PARQUET), 413, "series", "51 series.*50")


def test_what_unpacks_to_too_much_is_refused(small: ServerProcess) -> None:
    bombs = [
        (compressed(zeros(10_000_000)), STREAM),
        (squeezed(zeros(10_000_000)), PARQUET),
        (compressed(lists([[0.0] * 5_000_000])), STREAM),
        (squeezed(lists([[0.0] * 5_000_000])), PARQUET),
    ]
    with client(small) as http:
        post(http, stream(lists()), STREAM).raise_for_status()
        before = small.memory()
        for body, media in bombs:
            assert len(body) < LIMIT
            check(post(http, body, media), 413, None, "unpacks to more than 800000 bytes")
        post(http, stream(lists()), STREAM).raise_for_status()
    assert small.memory() < before + 50_000_000


def test_a_gap_of_too_many_steps_is_refused(small: ServerProcess) -> None:
    body = two(timestamp=[pd.Timestamp("1700-01-01"), pd.Timestamp("2260-01-01")])
    with client(small) as http:
        check(post(http, body, STREAM), 413, "row[2]", "'a', row 2: the gaps.*most is 100000")


def test_packed_bodies_are_unpacked_up_to_the_limit(small: ServerProcess) -> None:
    with client(small) as http:
        for content, media in (
            (RAW % f"[{'1,' * 5_000_000}1]", "application/json"),
            (stream(zeros(1_000_000)), STREAM),
        ):
            body = gzip.compress(content if isinstance(content, bytes) else content.encode())
            headers = {"content-type": media, "content-encoding": "gzip"}
            query = "?model=tiny" if media == STREAM else ""
            answer = http.post(f"/v1/forecast/bulk{query}", content=body, headers=headers)
            check(answer, 413, None, "unpacks to more than 200000 bytes")
        headers = {"content-type": STREAM, "content-encoding": "gzip"}
        body = gzip.compress(stream(lists()))
        answer = http.post("/v1/forecast/bulk?model=tiny", content=body, headers=headers)
        assert answer.status_code == 200


def test_a_buffer_that_lies_about_its_size_is_refused(small: ServerProcess) -> None:
    """Of a compressed buffer the first eight bytes are the size that it unpacks to."""
    table = pa.table({**lists([[0.0] * 8000]).to_pydict()}, schema=lists().schema)
    body = compressed(table)
    size = struct.pack("<q", 8000 * 8)
    assert body.count(size) >= 1
    at = body.rindex(size)
    with client(small) as http:
        for lie in (2**62, 2**40, 2**34, -7):
            wrong = body[:at] + struct.pack("<q", lie) + body[at + 8 :]
            answer = post(http, wrong, STREAM)
            assert answer.status_code in (400, 413), answer.text
        assert post(http, stream(lists()), STREAM).status_code == 200


@pytest.mark.parametrize("seed", range(4))
def test_damaged_tables_never_end_the_service(http: httpx.Client, seed: int) -> None:
    chance = random.Random(seed)
    bodies = [(stream(lists()), STREAM), (compressed(long().to_arrow()), STREAM)]
    bodies += [(parquet(long()), PARQUET), (squeezed(lists()), PARQUET)]
    for body, media in bodies:
        for _ in range(25):
            damaged = bytearray(body)
            for _ in range(chance.randint(1, 4)):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            answer = post(http, bytes(damaged), media)
            assert answer.status_code in (200, 400, 413, 422), answer.text
            assert answer.status_code == 200 or answer.json()["error"]["message"]
    post(http, stream(lists()), STREAM).raise_for_status()
