"""The packed JSON: its documented form, a body -> `Packed`, a `PackedForecast` -> its bytes.

Both ways go a slice at a time (see `scan`), so that a body of any size holds up nobody else.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from service.api.bulk.names import Names
from service.api.bulk.packed import PackedForecast
from service.api.bulk.panel import Floats, Packed, Texts
from service.api.bulk.scan import Scanner
from service.api.model_name import read_model
from service.contract.grid import Moments
from service.contract.timestamp import InvalidTimestamp, Zone, format_timestamps, read_timestamp
from service.errors import Malformed, Unservable

NUMBERS = 8192  # of an answer that are written at once: about 0.15 ms
_TEXTS = 1024  # timestamps or item_ids that are read or written at once

_ItemId = Annotated[str, msgspec.Meta(max_length=256)]

Numbers = list[float | None]


class BulkBody(BaseModel):
    """Many series end to end, oldest value first; every covariate is packed like y."""

    model: str = Field(description="name, name@version or name@alias", examples=["airline"])
    y: Numbers = Field(
        description="The values of the first series, then those of the second, ...; null = missing",
        examples=[[417.0, 391.0, None, 461.0, 112.0, 118.0, 132.0]],
    )
    sizes: list[int] = Field(description="How many values each series has", examples=[[4, 3]])
    start: str | list[str] = Field(
        description="Timestamp of the first value of each series, or one for all; ISO 8601",
        examples=["1960-01-01"],
    )
    item_ids: list[str] | None = Field(
        None, description="One for each series, all distinct; default: 0, 1, 2, ..."
    )
    freq: str | None = Field(None, description="Must be the model's own", examples=["MS"])
    horizon: int | None = Field(None, description="Steps, 1 to the model's own; default: all")
    quantile_levels: list[float] | None = Field(
        None, description="Some of the model's own; default: all", examples=[[0.1, 0.5, 0.9]]
    )
    past_covariates: dict[str, Numbers] = Field(
        default_factory=dict, description="By name: as many values as y, those of each series"
    )
    known_covariates: dict[str, Numbers] = Field(
        default_factory=dict,
        description="By name: for each series its steps and the model's whole horizon behind them",
    )
    static_features: dict[str, list[float | None] | list[str | None]] = Field(
        default_factory=dict, description="By name: one number or text for each series"
    )


class BulkAnswer(BaseModel):
    """N forecasts of H steps each, end to end in the order of the request."""

    model: str
    version: int
    horizon: int = Field(description="H: steps of each series")
    quantile_levels: list[float]
    item_ids: list[str]
    start: list[str] = Field(description="The first timestamp of each forecast")
    shortened: list[int] = Field(
        description="Positions of the series of which only the newest context_length steps count"
    )
    quantiles: dict[str, list[float]] = Field(description="By level: N * H values")
    median: list[float]


async def read_packed(body: bytes, most: int) -> Packed:
    """A body of the documented form.

    Args:
        most: series of one request.

    Raises:
        Malformed: not of the documented form.
        TooLarge: more series than `most`.
        Unservable: a timestamp that cannot be.
    """
    reader = _Reader(Scanner(body), most)
    given = await reader.read()
    for name in ("model", "y", "sizes", "start"):
        if name not in given:
            raise Malformed(f"{name} is missing; see /docs", name)
    model, version = read_model(given.pop("model"))
    sizes = given["sizes"]
    starts, zone = await read_starts(given.pop("start"), len(sizes))
    item_ids = given.pop("item_ids", None)
    named = item_ids is not None
    if item_ids is None:
        item_ids = await _numbered(len(sizes))
    packed = Packed(
        model=model,
        version=version,
        starts=starts,
        zone=zone,
        item_ids=item_ids,
        named=named,
        **given,
    )
    packed.check()
    return packed


async def read_starts(start: str | list[str], count: int) -> tuple[Moments, Zone]:
    """One text for all series, or one for each, as moments, and what says that they are UTC.

    Raises:
        Unservable: a text that is no timestamp, or UTC for some of them only.
    """
    texts = [start] if isinstance(start, str) else start
    moments = np.empty(len(texts), "datetime64[us]")
    zone: Zone = ""
    for at, text in enumerate(texts):
        field = "start" if isinstance(start, str) else f"start[{at}]"
        try:
            read = read_timestamp(text)
        except InvalidTimestamp as error:
            raise Unservable(f"{field}: {error}", field) from error
        if at and read.zone != zone:
            message = f"{field} is {text!r} and start[0] {texts[0]!r}; end all with Z or none"
            raise Unservable(message, field)
        moments[at], zone = read.value, read.zone
        if at % _TEXTS == _TEXTS - 1:
            await asyncio.sleep(0)
    return (np.repeat(moments, count) if isinstance(start, str) else moments), zone


async def _numbered(count: int) -> Names:
    """0, 1, 2, ..."""
    parts: list[Names] = []
    for first in range(0, count, _TEXTS):
        parts.append(Names.of([str(at) for at in range(first, min(first + _TEXTS, count))]))
        if first:
            await asyncio.sleep(0)
    return Names.joined(parts)


class _Reader:
    """Reads each field of a body by its own rule."""

    def __init__(self, scanner: Scanner, most: int) -> None:
        self._scanner = scanner
        self._most = most
        self._given: dict[str, Any] = {}

    async def read(self) -> dict[str, Any]:
        """Every field that is there and not null."""
        await self._scanner.space()
        async for name in self._scanner.keys():
            if name not in BulkBody.model_fields:
                raise Malformed(f"{name[:60]} is not a field of this request; see /docs", name)
            if self._scanner.begins(b"null") and name not in ("model", "y", "sizes", "start"):
                self._scanner.scalar(None, name)
            else:
                self._given[name] = await self._value(name)
        await self._scanner.end()
        return self._given

    async def _value(self, name: str) -> Any:
        scanner = self._scanner
        if name == "y":
            return await scanner.numbers(name)
        if name == "sizes":
            return await scanner.counts(name, self._most)
        if name == "item_ids":
            return await scanner.names(name, _ItemId, self._most)
        if name == "start" and scanner.begins(b"["):
            return await scanner.elements(name, str, self._most)
        if name in ("past_covariates", "known_covariates"):
            return {key: await scanner.numbers(f"{name}.{key}") async for key in scanner.keys(name)}
        if name == "static_features":
            return {key: await self._features(f"{name}.{key}") async for key in scanner.keys(name)}
        if name == "quantile_levels":
            return tuple(scanner.scalar(list[float], name))
        return scanner.scalar(int if name == "horizon" else str, name)

    async def _features(self, name: str) -> Floats | Texts:
        """Numbers or texts, but not both."""
        values = await self._scanner.elements(name, str | float | None, self._most)
        texts = [isinstance(value, str) for value in values]
        if not any(texts):
            return np.array(values, np.float64)
        for at, (value, text) in enumerate(zip(values, texts, strict=True)):
            if not (text or value is None):
                message = f"{name}[{at}] is {value:g} among texts; send all as texts or as numbers"
                raise Malformed(message, f"{name}[{at}]")
        return values


async def write_forecast(answer: PackedForecast) -> AsyncIterator[bytes]:
    """The documented JSON, in parts."""
    head = {
        "model": answer.model,
        "version": answer.version,
        "horizon": answer.timestamps.shape[1],
        "quantile_levels": answer.quantile_levels,
    }
    yield orjson.dumps(head)[:-1] + b',"item_ids":['
    count = len(answer.item_ids)
    for first in range(0, count, _TEXTS):
        yield _elements(answer.item_ids[first : first + _TEXTS], first)
    yield b'],"start":['
    for first in range(0, count, _TEXTS):
        moments = answer.timestamps[first : first + _TEXTS, 0]
        yield _elements(format_timestamps(moments, answer.zone), first)
    yield b'],"shortened":['
    async for part in _numbers(np.flatnonzero(answer.shortened)):
        yield part
    yield b'],"quantiles":{'
    for at, level in enumerate(answer.quantile_levels):
        yield b'%b"%b":[' % (b"," if at else b"", str(level).encode())
        async for part in _numbers(answer.quantiles[at].reshape(-1)):
            yield part
        yield b"]"
    yield b'},"median":['
    async for part in _numbers(answer.median.reshape(-1)):
        yield part
    yield b"]}"


async def _numbers(values: NDArray[Any]) -> AsyncIterator[bytes]:
    for first in range(0, len(values), NUMBERS):
        yield _elements(values[first : first + NUMBERS], first)


def _elements(values: Any, before: int) -> bytes:
    """Some elements of a list, of which so many came before."""
    written = orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
    return b",%b" % written if before else written
