"""An inquiry against what the model can do: refused here with a sentence, or not at all."""

from collections.abc import Iterable, Sequence

import numpy as np

from service.contract.forecast import ForecastSignature
from service.contract.frequency import Frequency, InvalidFrequency
from service.contract.placement import LARGEST_VALUE
from service.errors import Unservable
from service.forecasting.covariates import agree_covariates
from service.forecasting.inquiry import Inquiry, Series


def agree(inquiry: Inquiry, signature: ForecastSignature) -> tuple[int, tuple[float, ...]]:
    """Check an inquiry against what the model can do; the horizon and levels it comes to.

    Raises:
        Unservable: naming the field and, where there is one, the series.
    """
    if not inquiry.series:
        raise Unservable("series is empty; send at least one series", "series")
    horizon = _agree_horizon(inquiry.horizon, signature)
    levels = _agree_levels(inquiry.quantile_levels, signature)
    _agree_names(inquiry.series)
    declared = bool(signature.covariates)
    for at, series in enumerate(inquiry.series):
        if series.freq is not None:
            _agree_freq(series, series.freq, at, signature)
        if declared or series.past_covariates or series.known_covariates or series.static_features:
            agree_covariates(series, at, signature)
    _agree_targets(inquiry.series, signature)
    return horizon, levels


def _agree_names(many: Sequence[Series]) -> None:
    if len(many) == 1 or len({series.item_id for series in many}) == len(many):
        return
    raise used_twice([series.item_id for series in many])


def used_twice(item_ids: Iterable[str]) -> Unservable:
    """What is said of item_ids of which one is there twice."""
    seen: dict[str, int] = {}
    for at, item_id in enumerate(item_ids):
        first = seen.setdefault(item_id, at)
        if first != at:
            return Unservable(
                f"item_id {item_id!r} is used by series {first} and {at}; "
                "each series needs its own",
                f"series[{at}].item_id",
            )
    raise AssertionError("no item_id is there twice")


def _agree_horizon(horizon: int | None, signature: ForecastSignature) -> int:
    if horizon is None:
        return signature.horizon
    if not 1 <= horizon <= signature.horizon:
        raise Unservable(
            f"horizon is {horizon}; this model forecasts 1 to {signature.horizon} steps", "horizon"
        )
    return horizon


def _agree_levels(
    levels: tuple[float, ...] | None, signature: ForecastSignature
) -> tuple[float, ...]:
    if levels is None:
        return signature.quantile_levels
    known = ", ".join(str(level) for level in signature.quantile_levels)
    if not levels:
        raise Unservable(f"quantile_levels is empty; this model has {known}", "quantile_levels")
    for at, level in enumerate(levels):
        if level not in signature.quantile_levels:
            raise Unservable(
                f"quantile level {level} is not one of this model's: {known}",
                f"quantile_levels[{at}]",
            )
        if level in levels[:at]:
            raise Unservable(f"quantile level {level} is asked twice", f"quantile_levels[{at}]")
    return levels


def _agree_freq(series: Series, freq: str, at: int, signature: ForecastSignature) -> None:
    field = f"series[{at}].freq"
    try:
        frequency = Frequency.parse(freq)
    except InvalidFrequency as error:
        raise Unservable(f"series {series.item_id!r}: {error}", field) from error
    if frequency != Frequency.parse(signature.freq):
        raise Unservable(
            f"series {series.item_id!r}: freq is {freq!r}, this model was trained on "
            f"{signature.freq!r}; resample the series or use another model",
            field,
        )


def _agree_targets(many: Sequence[Series], signature: ForecastSignature) -> None:
    """Several at once; they are looked at one by one only to say what is wrong."""
    if len(many) > 1 and min([len(series.target) for series in many]) >= signature.minimum_context:
        newest = [series.target[-signature.context_length :] for series in many]
        ends = np.cumsum([0, *map(len, newest[:-1])])
        peak = np.fmax.reduceat(np.abs(np.concatenate(newest)), ends).max()  # NaN where one is
        if peak <= LARGEST_VALUE:
            return
    for at, series in enumerate(many):
        _agree_target(series, at, signature)


def _agree_target(series: Series, at: int, signature: ForecastSignature) -> None:
    newest = series.target[-signature.context_length :]
    is_long = len(newest) >= signature.minimum_context
    if is_long and np.fmax.reduce(np.abs(newest)) <= LARGEST_VALUE:  # NaN where all are
        return
    field = f"series[{at}].target"
    label = f"series {series.item_id!r}: target"
    if not is_long:
        raise Unservable(
            f"{label} has {len(series.target)} values, this model needs at least "
            f"{signature.minimum_context}",
            field,
        )
    if np.isnan(newest).all():
        raise Unservable(
            f"{label} has no observed value in its newest {len(newest)} steps; "
            "at least one must not be null",
            field,
        )
    large = int(np.flatnonzero(np.abs(newest) > LARGEST_VALUE)[0])
    index = len(series.target) - len(newest) + large
    raise Unservable(
        f"{label} holds {series.target[index]:g}; the largest magnitude is {LARGEST_VALUE:g}",
        f"{field}[{index}]",
    )
