"""A usual body of `POST /v1/forecast`, read and answered in C: the handler's answer, sooner."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from service.api.asked import Asked, is_plain, is_usual
from service.api.exchange import Exchange
from service.api.model_name import read_model
from service.api.native_answer import write_moments
from service.contract.buckets import buckets
from service.contract.forecast import ForecastMetadata, ForecastSignature
from service.contract.frequency import OffCalendar, OffGrid
from service.contract.timestamp import InvalidTimestamp, read_timestamp
from service.errors import ServiceError
from service.express._express import MOST_LEVELS, Form, Question, read_forecast
from service.forecasting.covariates import seconds
from service.forecasting.timelines import FEW, moments
from service.repository.live import AnyModel

Levels = tuple[float, ...]


class _Steps(NamedTuple):
    """The moments of a series, as the answer and as the model want them."""

    text: bytes  # of the horizon, a JSON array
    seconds: NDArray[np.int64]  # since 1970-01-01, of the context and the model's whole horizon


class _Plan(NamedTuple):
    """How a model is asked for some horizon and levels."""

    freq: str
    is_dated: bool  # the model has a calendar
    buckets: NDArray[np.int64]
    steps: Callable[[str, int], _Steps]  # of a series, by its start and length
    write: Callable[[Question, list[bytes], NDArray[np.float32]], bytes]


def ask(exchange: Exchange, body: bytes) -> Asked | None:
    """What a body asks; None: the handler is to look at it."""
    if not is_plain(exchange, body) or exchange.house.desk is not None:
        return None
    question = read_forecast(body)
    if question is None or not question.differ():
        return None
    try:
        name, which = read_model(question.name or "")
        model = exchange.house.inference.repository.get(name, which, question.first)
    except ServiceError:
        return None
    if not is_usual(exchange, question, model):
        return None
    plan = _plan(model, question.horizon, question.levels)
    times = question.times()
    if plan is None or not question.has_freq(plan.freq):
        return None
    if len(times) > FEW and len(set(times)) > FEW:  # whose moments the handler finds all at once
        return None
    try:
        steps = [plan.steps(*time) for time in times]
    except (InvalidTimestamp, OffGrid, OffCalendar):
        return None
    dates = [one.seconds for one in steps] if plan.is_dated else None
    write = partial(plan.write, question, [one.text for one in steps])
    return Asked(model, question.rows(plan.buckets, dates), exchange.timeout_s, write)


_MOST_PLANS = 256  # of one model


def _plan(model: AnyModel, horizon: int | None, levels: Levels | None) -> _Plan | None:
    """That of a model, made once; None where it has no such horizon or level."""
    plans: dict[tuple[int | None, Levels | None], _Plan | None]
    plans = model.notes.setdefault(_Plan, {})
    key = horizon, levels
    if key not in plans:
        if len(plans) >= _MOST_PLANS:
            plans.clear()
        plans[key] = _make_plan(model, horizon, levels)
    return plans[key]


def _make_plan(model: AnyModel, horizon: int | None, levels: Levels | None) -> _Plan | None:
    metadata = model.metadata
    assert isinstance(metadata, ForecastMetadata)
    signature = metadata.signature
    known = signature.quantile_levels
    horizon = horizon or signature.horizon
    levels = known if levels is None else levels
    if horizon > signature.horizon or not levels or not set(levels) <= set(known):
        return None
    if len(set(levels)) < len(levels) or len(levels) > MOST_LEVELS:
        return None
    begin = orjson.dumps({"model": metadata.name, "version": metadata.version})[:-1]
    form = Form(
        begin + b',"series":[',
        tuple([orjson.dumps(str(level)) for level in levels]),
        tuple([known.index(level) for level in levels]),
        known.index(0.5),
        horizon,
    )
    return _Plan(
        signature.freq,
        signature.calendar,
        buckets(signature.context_length),
        lru_cache(maxsize=1024)(partial(_steps, signature, horizon)),
        form.write,
    )


def _steps(signature: ForecastSignature, horizon: int, start: str, length: int) -> _Steps:
    """The moments of a series.

    Raises:
        InvalidTimestamp, OffGrid, OffCalendar: it has none.
    """
    begin = read_timestamp(start)
    if not signature.calendar:
        line = moments(signature.freq, begin.value, length, horizon)
        return _Steps(write_moments(line.tobytes(), begin.zone), np.empty(0, np.int64))
    kept = min(length, signature.context_length)
    count = kept + signature.horizon
    line = moments(signature.freq, begin.value, length - kept, count)
    return _Steps(write_moments(line[kept:][:horizon].tobytes(), begin.zone), seconds(line))
