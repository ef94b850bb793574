"""Exogenous columns, which TimeGPT sends without their names, as the covariates of a model.

They are told apart by their order: first those with values for the future, which are the known
covariates, then the past covariates, then the static features and the categories, which a column
repeats at every step. The client sends them so when the columns of `X_df`, `hist_exog_list` and
`categorical_exog_list` are in the order of the model's signature.

Shape letters: N series, M steps of all of them, h steps asked, H steps of the model.
"""

import asyncio

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.api.bulk.panel import Floats, Texts
from service.api.json_body import JsonBody
from service.contract.forecast import ForecastSignature
from service.errors import Malformed, Unservable

X, X_FUTURE, CATEGORICAL = "series.X", "series.X_future", "series.categorical_exog"


class Columns:
    """The columns of one request, by the names that the model declares."""

    def __init__(
        self,
        body: JsonBody,
        past: list[msgspec.Raw],
        future: list[msgspec.Raw],
        categorical: list[int],
        signature: ForecastSignature,
    ) -> None:
        """Agree with the model about how many there are.

        Raises:
            Unservable: others than the model declares.
        """
        declared = signature.covariates
        self._body, self._past, self._future = body, past, future
        self._known, self._beside, self._static = declared.known, declared.past, declared.static
        self._texts = tuple(category.name for category in declared.categories)
        self._horizon = signature.horizon
        names = (*self._known, *self._beside, *self._static, *self._texts)
        self._places = {name: at for at, name in enumerate(names)}
        self._agree(X, len(past), len(names))
        self._agree(X_FUTURE, len(future), len(self._known))
        if sorted(set(categorical)) != [self._places[name] for name in self._texts]:
            raise self._refuse(CATEGORICAL, f"names the columns {categorical}")

    async def past(self, steps: int) -> dict[str, Floats]:
        """[M] of each past covariate."""
        return {name: await self._column(name, steps) for name in self._beside}

    async def known(self, sizes: NDArray[np.int64], h: int) -> dict[str, Floats]:
        """[M + N * H] of each known covariate; NaN for the steps after h."""
        found: dict[str, Floats] = {}
        for name in self._known:
            behind = await self._column(name, int(sizes.sum()))
            place = self._places[name]
            ahead = await self._body.numbers(self._future[place], f"{X_FUTURE}[{place}]")
            if len(ahead) != len(sizes) * h:
                expected = f"{len(sizes) * h}, h for each series"
                raise _wrong_length(f"{X_FUTURE}[{place}]", len(ahead), expected)
            found[name] = await asyncio.to_thread(_join, behind, ahead, sizes, h, self._horizon)
        return found

    async def static(self, sizes: NDArray[np.int64]) -> dict[str, Floats | Texts]:
        """N of each static feature and category.

        Raises:
            Unservable: a column that changes within a series.
        """
        steps = int(sizes.sum())
        found: dict[str, Floats | Texts] = {}
        for name in self._static:
            numbers = await self._column(name, steps)
            found[name] = await asyncio.to_thread(self._constant, name, numbers, sizes)
        for name in self._texts:
            place = self._places[name]
            texts = self._body.texts(self._past[place], f"{X}[{place}]")
            if len(texts) != steps:
                raise _wrong_length(f"{X}[{place}]", len(texts), f"{steps}, as many as y")
            codes, values = _encode(texts)
            rows = await asyncio.to_thread(self._constant, name, codes, sizes)
            found[name] = [values[int(code)] for code in rows]
        return found

    async def _column(self, name: str, steps: int) -> Floats:
        place = self._places[name]
        values = await self._body.numbers(self._past[place], f"{X}[{place}]")
        if len(values) != steps:
            raise _wrong_length(f"{X}[{place}]", len(values), f"{steps}, as many as y")
        return values

    def _constant(self, name: str, values: Floats, sizes: NDArray[np.int64]) -> Floats:
        """[N] the one value of each series."""
        ends = np.cumsum(sizes)
        firsts: Floats = values[ends - sizes]
        expected = np.repeat(firsts, sizes)
        changes = np.flatnonzero((values != expected) & ~(np.isnan(values) & np.isnan(expected)))
        if changes.size:
            step, place = int(changes[0]), self._places[name]
            series = int(np.searchsorted(ends, step, side="right"))
            field = f"{X}[{place}][{step}]"
            message = f"changes within series {series}; {name!r} has one value for each series"
            raise Unservable(f"{field} {message}", field)
        return firsts

    def _agree(self, field: str, came: int, expected: int) -> None:
        if came != expected:
            raise self._refuse(field, f"has {came} columns, expected {expected}")

    def _refuse(self, field: str, message: str) -> Unservable:
        """What the model declares, in the order in which columns are read."""
        kinds = {
            "with their future in X_df": self._known,
            "in hist_exog_list": self._beside,
            "in hist_exog_list, the same at every step": self._static,
            "in categorical_exog_list, the same at every step": self._texts,
        }
        parts = [f"{', '.join(names)} {where}" for where, names in kinds.items() if names]
        wanted = "; then ".join(parts) or "no exogenous columns"
        return Unservable(f"{field} {message}; this model takes {wanted}", field)


def _join(behind: Floats, ahead: Floats, sizes: NDArray[np.int64], h: int, horizon: int) -> Floats:
    """Of each series its steps, then its h future steps and NaN to the model's horizon."""
    count = len(sizes)
    joined = np.full(len(behind) + count * horizon, np.nan)
    series = np.arange(count)
    joined[np.arange(len(behind)) + np.repeat(series * horizon, sizes)] = behind
    firsts = np.cumsum(sizes) + series * horizon
    joined[(firsts[:, None] + np.arange(h)).reshape(-1)] = ahead
    return joined


def _encode(texts: list[str | None]) -> tuple[Floats, list[str | None]]:
    """Texts as numbers [M], and the text of each number."""
    codes: dict[str | None, int] = {}
    numbers = np.array([codes.setdefault(text, len(codes)) for text in texts], np.float64)
    return numbers, list(codes)


def _wrong_length(field: str, came: int, expected: str) -> Malformed:
    return Malformed(f"{field} has {came} values, expected {expected}", field)
