"""The task `forecast`: the next values of a series, as quantiles.

The rows of a batch are right-padded: the `lengths` steps of a row begin at 0, and of the span the
horizon's steps follow right behind them, before the padding.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from service.contract.buckets import bucket
from service.contract.frequency import Frequency
from service.contract.metadata import (
    BATCH,
    TIME,
    Frozen,
    Inputs,
    Judgement,
    Metadata,
    Signature,
    TensorSpec,
    Training,
)

CONTEXT = "context"  # float32 [batch, time], data units, NaN = missing and padding
LENGTHS = "lengths"  # int64 [batch], valid steps of each row, 1..time
TIMESTAMPS = "timestamps"  # int64 [batch, span], seconds since 1970-01-01, padding 0
PAST = "past_covariates"  # float32 [batch, time, P], NaN = missing and padding
KNOWN = "known_covariates"  # float32 [batch, span, K], NaN = missing and padding
STATIC = "static_features"  # float32 [batch, S], NaN = missing
CATEGORIES = "static_categories"  # int64 [batch, C], codes, 0 = unknown or missing
QUANTILES = "quantiles"  # float32 [batch, horizon, levels], data units, sorted along levels

SPAN = "span"  # a free axis: time + horizon

Level = Annotated[float, Field(gt=0.0, lt=1.0)]
CovariateName = Annotated[str, Field(min_length=1)]


class Category(Frozen):
    """A static feature that is text. The code of a value is its position + 1."""

    name: str = Field(min_length=1)
    values: tuple[str, ...]  # seen in training

    @model_validator(mode="after")
    def _values_are_sorted(self) -> Self:
        if list(self.values) != sorted(set(self.values)):
            raise ValueError(f"the values of category {self.name!r} must be sorted and distinct")
        return self

    def code(self, value: str | None) -> int:
        """1.. for a value seen in training, 0 for any other and for a missing one."""
        if value is None:
            return 0
        at = bisect_left(self.values, value)
        return at + 1 if self.values[at : at + 1] == (value,) else 0


class Covariates(Frozen):
    """What a model wants to know of a series beside its target, by kind and in this order."""

    past: tuple[CovariateName, ...] = ()  # a number per step of the context
    known: tuple[CovariateName, ...] = ()  # a number per step of the context and of the horizon
    static: tuple[CovariateName, ...] = ()  # a number per series
    categories: tuple[Category, ...] = ()  # a text per series

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        names = [*self.past, *self.known, *self.static, *(c.name for c in self.categories)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"covariates {twice} are declared twice; each name has one meaning")
        return self

    def __bool__(self) -> bool:
        """Whether anything is declared."""
        return bool(self.past or self.known or self.static or self.categories)

    def codes(self, values: Sequence[str | None]) -> tuple[int, ...]:
        """The code of each category's value; values in the order of `categories`."""
        return tuple(c.code(value) for c, value in zip(self.categories, values, strict=True))


class ForecastSignature(Signature):
    """What a client must know to ask for a forecast."""

    freq: str  # pandas offset alias of the series the model was trained on
    seasonality: int = Field(ge=1)  # steps
    context_length: int = Field(ge=1)  # steps; of a longer history the newest part is used
    minimum_context: int = Field(ge=1)  # steps
    horizon: int = Field(ge=1)  # steps
    quantile_levels: tuple[Level, ...]  # increasing, 0.5 among them
    covariates: Covariates = Covariates()
    calendar: bool = False  # the graph reads hours, weekdays, months from timestamps

    @field_validator("freq")
    @classmethod
    def _freq_is_known(cls, freq: str) -> str:
        Frequency.parse(freq)
        return freq

    @model_validator(mode="after")
    def _levels_are_usable(self) -> Self:
        levels = self.quantile_levels
        if 0.5 not in levels or list(levels) != sorted(set(levels)):
            raise ValueError("quantile_levels must increase and hold 0.5")
        return self

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs that the graph must have, in this order."""
        declared = self.covariates
        past, known, static = len(declared.past), len(declared.known), len(declared.static)
        categories = len(declared.categories)
        everything = (
            (True, TensorSpec(name=CONTEXT, dtype="float32", shape=(BATCH, TIME))),
            (True, TensorSpec(name=LENGTHS, dtype="int64", shape=(BATCH,))),
            (self.calendar, TensorSpec(name=TIMESTAMPS, dtype="int64", shape=(BATCH, SPAN))),
            (past, TensorSpec(name=PAST, dtype="float32", shape=(BATCH, TIME, past))),
            (known, TensorSpec(name=KNOWN, dtype="float32", shape=(BATCH, SPAN, known))),
            (static, TensorSpec(name=STATIC, dtype="float32", shape=(BATCH, static))),
            (
                categories,
                TensorSpec(name=CATEGORIES, dtype="int64", shape=(BATCH, categories)),
            ),
        )
        return tuple(spec for wanted, spec in everything if wanted)

    def sizes(self, batch: int, steps: int) -> dict[str, int]:
        """The sizes of the free axes for so many rows of so many steps."""
        return {BATCH: batch, TIME: steps, SPAN: steps + self.horizon}

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs that the graph must have."""
        shape = (BATCH, self.horizon, len(self.quantile_levels))
        return (TensorSpec(name=QUANTILES, dtype="float32", shape=shape),)

    @property
    def numbers(self) -> int:
        """How many a forecast of one series has."""
        return self.horizon * len(self.quantile_levels)

    def extent(self, first: tuple[int, ...]) -> tuple[int, int]:
        """Rows and steps of a context."""
        return (first[0], first[1]) if len(first) == 2 else (0, 0)

    @property
    def paddings(self) -> tuple[int, ...]:
        """Every bucket up to that of the context length."""
        lengths = range(1, self.context_length + 1)
        return tuple(sorted({bucket(n, self.context_length) for n in lengths}))

    def padded(self, inputs: Inputs) -> list[int]:
        """The bucket of each row."""
        return [bucket(n, self.context_length) for n in inputs[1].tolist()]

    def padded_share(self, inputs: Inputs) -> float:
        """How many of the steps of the context are padding."""
        context, lengths = inputs[:2]
        steps: int = sum(lengths.tolist())
        return 1.0 - steps / context.size

    def blank(self, batch: int, steps: int) -> Inputs:
        """Rows of zeros, as long as they may be."""
        inputs = super().blank(batch, steps)
        inputs[1].fill(steps)
        return inputs

    def summary(self) -> dict[str, Any]:
        """What a forecast needs and gives."""
        return self.model_dump(include={"freq", "horizon", "context_length", "quantile_levels"})

    def check(self, inputs: Inputs) -> None:
        """Each length within its row: ONNX Runtime's GRU reads beyond the end of others."""
        steps = inputs[0].shape[1]
        lengths = inputs[1].tolist()  # of a few rows, faster than two reductions
        if min(lengths) < 1 or max(lengths) > steps:
            raise ValueError(f"{LENGTHS} must lie in 1..{steps}")


class Seen(Frozen):
    """What training saw of the targets, to compare with what a service is asked."""

    low: float  # the lowest value
    high: float
    log_scale: float | None  # mean ln of the series' seasonal errors; None where none is above 0


class ForecastTraining(Training):
    """With the number of series."""

    series: int
    seen: Seen | None = None  # unknown of versions older than this field

    @model_serializer(mode="wrap")
    def _as_it_was_read(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What is unknown is not written: metadata of before stays as it is."""
        written: dict[str, Any] = serialize(self)
        if self.seen is None:
            written.pop("seen", None)
        return written


class Scores(Frozen):
    """One row of a backtest table; None where the measure is undefined (a constant series, say)."""

    mase: float | None
    smape: float | None  # M4 convention, 0..200
    wql: float | None
    coverage: float | None  # share of actuals inside the central 80 % interval


class Evaluation(Judgement):
    """The backtest on the last horizon of every series, which training never saw."""

    horizon: int
    scores: dict[str, Scores]


class ForecastMetadata(Metadata):
    """metadata.json of a forecaster."""

    task: Literal["forecast"] = "forecast"
    signature: ForecastSignature
    training: ForecastTraining
    evaluation: Evaluation
