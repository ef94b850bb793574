"""Arrow and Parquet: bytes -> typed columns -> series end to end, and forecasts -> bytes.

pyarrow is optional and imported here and in `columns` only, in the process of `helper`. A table is
judged by what it says of itself first, then batch by batch, so that little is unpacked of one that
is too large.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from service.api.bulk.columns import (
    check_type,
    codes,
    is_text,
    lists,
    moments,
    numbers,
    refuse_beyond_dates,
    refuse_null,
    texts,
)
from service.api.bulk.helper import STREAM
from service.api.bulk.names import Names
from service.api.bulk.rows import Ends, Rows, end_to_end
from service.contract.forecast import Covariates, ForecastSignature
from service.contract.timestamp import Zone
from service.errors import Malformed, TooLarge, Unservable

_LONG = ("item_id", "timestamp", "target")
_LISTS = ("item_id", "start", "target")
_OTHER_NAMES = {"unique_id": "item_id", "ds": "timestamp", "y": "target"}
_BATCH = 65536  # rows

Array = NDArray[Any]


def read(said: dict[str, Any], arrays: Sequence[Array]) -> tuple[dict[str, Any], list[Array]]:
    """A table -> what `Packed` is made of.

    Args:
        said: media; signature, JSON; bytes: that the table may unpack to.
        arrays: the body, uint8.

    Returns:
        zone, and the names of the covariates that the arrays are of: target, sizes, starts, two of
        the item_ids, then past, known, static features, and codes of categories.

    Raises:
        Malformed, TooLarge, Unservable: naming the column, or the item and its row.
    """
    signature = ForecastSignature.model_validate_json(said["signature"])
    try:
        table = _open(said["media"], arrays[0], said["bytes"], signature.covariates)
        zone, ends = _ends(table, signature, said["bytes"] // 8)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, MemoryError):
            raise
        reason = str(error).strip().partition("\n")[0]
        raise Malformed(f"the body cannot be read as {said['media']}: {reason}") from None
    names = Names.of(ends.item_ids)
    covariates = (ends.past, ends.known, ends.static, ends.codes)
    found: list[Array] = [
        ends.target,
        ends.sizes,
        ends.starts.astype(np.int64),
        names.utf8,
        names.ends,
    ]
    return (
        {"zone": zone, "names": [list(some) for some in covariates]},
        [*found, *(array for some in covariates for array in some.values())],
    )


def write(said: dict[str, Any], arrays: Sequence[Array]) -> tuple[dict[str, Any], list[Array]]:
    """A forecast as a long table: item_id, timestamp, and one column per level, "0.1", ...

    Args:
        said: media; levels; zone.
        arrays: utf8 and ends of N item_ids, timestamps int64 [N, H], quantiles float32 [Q, N, H].

    Returns:
        The bytes of the table.
    """
    utf8, ends, timestamps, quantiles = arrays
    count, horizon = timestamps.shape
    sink = pa.BufferOutputStream()
    fields = [
        ("item_id", pa.string()),
        ("timestamp", pa.timestamp("us", "UTC" if said["zone"] else None)),
        *((level, pa.float32()) for level in said["levels"]),
    ]
    schema = pa.schema(fields)
    names = Names(utf8, ends)
    with (
        pa.ipc.new_stream(sink, schema)
        if said["media"] == STREAM
        else pq.ParquetWriter(sink, schema)
    ) as writer:
        some = max(_BATCH // horizon, 1)
        for first in range(0, count, some):
            part = slice(first, first + some)
            item_ids = pa.array(names[part], pa.string())
            rows = pa.array(np.repeat(np.arange(len(item_ids)), horizon))
            columns = [
                item_ids.take(rows),
                pa.array(timestamps[part].reshape(-1)).cast(schema.field("timestamp").type),
                *(pa.array(values[part].reshape(-1)) for values in quantiles),
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))
    return {}, [np.frombuffer(sink.getvalue(), np.uint8)]


def _open(media: str, body: Array, most: int, covariates: Covariates) -> pa.Table:
    """All columns, under our names; every byte of them checked."""
    schema, batches = (_stream if media == STREAM else _parquet)(pa.py_buffer(body.data), most)
    names = [_OTHER_NAMES.get(name, name) for name in schema.names]
    _check_names(names, covariates)
    for name, column in zip(names, schema, strict=True):
        check_type(name, column.type)
    found = []
    size = rows = 0
    for batch in batches:
        rows += batch.num_rows
        size += sum(_size(column) for column in batch.columns)
        if max(size, 8 * rows) > most:
            raise _too_large(most)
        batch.validate(full=True)
        found.append(pa.record_batch(batch.columns, names=names))
    if not rows:
        raise Unservable("the table has no rows; send at least one series", "item_id")
    return pa.Table.from_batches(found)


def _stream(source: pa.Buffer, most: int) -> tuple[pa.Schema, Iterable[pa.RecordBatch]]:
    if source[:6].to_pybytes() == b"ARROW1":
        raise Malformed("the body is an Arrow file, expected an Arrow stream; write it as that")
    reader = pa.ipc.open_stream(source)
    return reader.schema, reader


def _parquet(source: pa.Buffer, most: int) -> tuple[pa.Schema, Iterable[pa.RecordBatch]]:
    """A file whose own account of its size is within the limit; it may lie."""
    about = pq.read_metadata(pa.BufferReader(source))
    sizes = [about.row_group(at).total_byte_size for at in range(about.num_row_groups)]
    if max(sum(sizes), 8 * about.num_rows) > most:
        raise _too_large(most)
    schema = pq.read_schema(pa.BufferReader(source))
    coded = [column.name for column in schema if is_text(column.type)]
    file = pq.ParquetFile(pa.BufferReader(source), read_dictionary=coded)
    return file.schema_arrow, file.iter_batches(_BATCH, use_threads=False)


def _check_names(names: Sequence[str], covariates: Covariates) -> None:
    """The columns of one of the two forms, those of the model, and no others."""
    own = [*covariates.past, *covariates.known, *covariates.static]
    own += [category.name for category in covariates.categories]
    form = _LISTS if "start" in names and "timestamp" not in names else _LONG
    if missing := [name for name in [*form, *own] if name not in names]:
        message = f"column {', '.join(missing)} is missing, found {', '.join(names) or 'none'}"
        raise Malformed(f"{message}; send {', '.join([*form, *own])}", missing[0])
    if other := [name for name in names if name not in (*form, *own)]:
        knows = f"it knows {', '.join(own)}" if own else "it takes no covariates"
        message = f"column {', '.join(other)[:200]!r} is unknown to this model; {knows}: drop it"
        raise Malformed(message, other[0])
    if len(set(names)) < len(names):
        twice = next(name for at, name in enumerate(names) if name in names[:at])
        raise Malformed(f"column {twice} is there twice; rename one", twice)


def _ends(table: pa.Table, signature: ForecastSignature, most: int) -> tuple[Zone, Ends]:
    """The series of either form."""
    if "timestamp" not in table.column_names:
        return _lists(table, signature)
    item, item_ids = texts(table, "item_id")
    refuse_null(item < 0, "item_id")
    declared = signature.covariates
    numeric = [*declared.past, *declared.known, *declared.static]
    timestamps, zone = moments(table, "timestamp")
    rows = Rows(
        item=item,
        item_ids=item_ids,
        timestamps=timestamps,
        target=numbers(table.column("target"), "target"),
        numbers={name: numbers(table.column(name), name) for name in numeric},
        codes={one.name: codes(table, one) for one in declared.categories},
    )
    return zone, end_to_end(rows, signature, most)


def _lists(table: pa.Table, signature: ForecastSignature) -> tuple[Zone, Ends]:
    """One row for each series, with its numbers as lists."""
    declared = signature.covariates
    item, item_ids = texts(table, "item_id")
    refuse_null(item < 0, "item_id")
    starts, zone = moments(table, "start")
    refuse_beyond_dates(starts, "start")
    target, sizes = lists(table, "target", 0)
    if (sizes < 1).any():
        at = int((sizes < 1).argmax())
        raise Unservable(f"row {at + 1}: target has no values; drop the row", f"row[{at + 1}]")
    beside = [(name, 0) for name in declared.past]
    beside += [(name, signature.horizon) for name in declared.known]
    values = {}
    for name, ahead in beside:
        values[name], counts = lists(table, name, ahead)
        if (differs := counts != sizes + ahead).any():
            at = int(differs.argmax())
            expected = f"expected {sizes[at] + ahead}, {sizes[at]} beside target and {ahead} ahead"
            message = f"row {at + 1}: {name} has {counts[at]} values, {expected}"
            raise Unservable(message, f"row[{at + 1}]")
    return zone, Ends(
        item_ids=[item_ids[code] for code in item.tolist()],
        starts=starts,
        sizes=sizes,
        target=target,
        past={name: values[name] for name in declared.past},
        known={name: values[name] for name in declared.known},
        static={name: numbers(table.column(name), name) for name in declared.static},
        codes={one.name: codes(table, one) for one in declared.categories},
    )


def _size(column: pa.Array) -> int:
    """Bytes; a dictionary, which batches share, is not counted."""
    if pa.types.is_string_view(column.type):
        return int(column.get_total_buffer_size())
    counted = column.indices if pa.types.is_dictionary(column.type) else column
    return int(counted.nbytes)


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"the table unpacks to more than {most} bytes; split the request")
