"""What a series brings beside its target: agreed with what the model declares, then put in order.

A declared covariate must be sent, because a forgotten one would quietly give a worse forecast; what
is not known of it is sent as missing. Of a long history only what the model sees is judged.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.contract.forecast import ForecastSignature
from service.contract.grid import Moments
from service.contract.placement import LARGEST_VALUE, History
from service.errors import Unservable
from service.forecasting.inquiry import Numbers, Series

_SHOWN = 5  # names in one message
_LONGEST = 40  # characters of a name or a text in one message


def agree_covariates(series: Series, at: int, signature: ForecastSignature) -> None:
    """Check what one series brings against what the model declares.

    Raises:
        Unservable: naming the series, the covariate, what was expected, what came, and the remedy.
    """
    declared, steps, ahead = signature.covariates, len(series.target), signature.horizon
    beside = f"{steps}, one per step of target"
    beyond = f"{steps + ahead}, {steps} beside target and {ahead} for the model's horizon"
    past = _Field(series.item_id, at, "past_covariates")
    past.agree_names(series.past_covariates, declared.past, f"numbers of each, {beside}")
    past.agree_numbers(series.past_covariates, beside, steps, signature.context_length)
    known = _Field(series.item_id, at, "known_covariates")
    known.agree_names(series.known_covariates, declared.known, f"numbers of each, {beyond}")
    known.agree_numbers(
        series.known_covariates, beyond, steps + ahead, signature.context_length + ahead
    )
    texts = tuple(category.name for category in declared.categories)
    static = _Field(series.item_id, at, "static_features")
    static.agree_names(series.static_features, (*declared.static, *texts), "a number or a text")
    for name, value in series.static_features.items():
        static.agree_feature(name, value, is_text=name in texts)


def history(series: Series, moments: Moments, signature: ForecastSignature) -> History:
    """The newest `context_length` steps of a series that agrees with the model.

    Args:
        moments: of these steps and of the horizon; without a calendar they are not looked at.
    """
    declared, features = signature.covariates, series.static_features
    steps = min(len(series.target), signature.context_length)
    texts = [features[category.name] for category in declared.categories]
    codes = declared.codes([text if isinstance(text, str) else None for text in texts])
    return History(
        target=series.target[-steps:],
        timestamps=seconds(moments) if signature.calendar else None,
        past=_columns(series.past_covariates, declared.past, steps),
        known=_columns(series.known_covariates, declared.known, steps + signature.horizon),
        static=np.array([features[name] for name in declared.static], np.float64),
        categories=np.array(codes, np.int64),
    )


@dataclass(frozen=True)
class _Field:
    """One field of one series, and what can be wrong with it."""

    item_id: str
    at: int
    name: str

    def agree_names(self, given: Collection[str], declared: Sequence[str], wanted: str) -> None:
        """Exactly what is declared must be there."""
        if unknown := [name for name in given if name not in declared]:
            knows = f"it knows {_listed(declared)}" if declared else "it takes none, leave it out"
            message = f"has {_listed(unknown)}, unknown to this model; {knows}"
            raise self._refuse(message, f".{unknown[0]}")
        if missing := [name for name in declared if name not in given]:
            raise self._refuse(f"lacks {_listed(missing)}; send {wanted}, null = missing")

    def agree_numbers(self, given: Numbers, wanted: str, steps: int, newest: int) -> None:
        """So many steps of each, and none of the newest too large."""
        for name, values in given.items():
            if len(values) != steps:
                message = f"{_short(name)} has {len(values)} values, expected {wanted}"
                raise self._refuse(message, f".{name}")
            large = np.flatnonzero(np.abs(values[-newest:]) > LARGEST_VALUE)
            if large.size:
                index = max(steps - newest, 0) + int(large[0])
                raise self._too_large(name, values[index], f"[{index}]")

    def agree_feature(self, name: str, value: float | str | None, *, is_text: bool) -> None:
        """A text of a category, a number of any other; either may be missing."""
        if value is None:
            return
        if isinstance(value, str) != is_text:
            wanted = "a text or null: it is a category" if is_text else "a number or null"
            raise self._refuse(f"{_short(name)} is {_short(value)}, expected {wanted}", f".{name}")
        if not isinstance(value, str) and abs(value) > LARGEST_VALUE:
            raise self._too_large(name, value)

    def _too_large(self, name: str, value: float, place: str = "") -> Unservable:
        message = f"{_short(name)} holds {value:g}; the largest magnitude is {LARGEST_VALUE:g}"
        return self._refuse(message, f".{name}{place}")

    def _refuse(self, message: str, place: str = "") -> Unservable:
        return Unservable(
            f"series {self.item_id!r}: {self.name} {message}",
            f"series[{self.at}].{self.name}{place}",
        )


def seconds(moments: Moments) -> NDArray[np.int64]:
    """Since 1970-01-01, rounded down."""
    return moments.astype("datetime64[s]").astype(np.int64)


def _columns(given: Numbers, names: Sequence[str], steps: int) -> NDArray[np.float64]:
    """The newest steps of the named covariates, side by side [steps, len(names)]."""
    columns = [given[name][-steps:] for name in names]
    return np.stack(columns, axis=1) if columns else np.empty((steps, 0))


def _listed(names: Sequence[str]) -> str:
    """The first few names, quoted, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(_short, names[:_SHOWN])) + more


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
