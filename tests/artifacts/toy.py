"""A model that wants everything beside the target, and whose answer shows each of its inputs.

Not a forecaster: a graph written by hand. Its nine "quantiles" of each step are the values that the
contract promises at their places, -1 for a missing one, so a value in a wrong place is seen.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
from numpy.typing import NDArray

from service.contract.forecast import Category, Covariates, ForecastSignature
from service.contract.placement import History
from tests.artifacts import edit

SIGNATURE = ForecastSignature(
    freq="D",
    seasonality=7,
    context_length=20,
    minimum_context=1,
    horizon=3,
    quantile_levels=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    covariates=Covariates(
        past=("price", "stock"),
        known=("promo",),
        static=("size",),
        categories=(Category(name="region", values=("north", "south")),),
    ),
    calendar=True,
)
_GRAPH = """
<ir_version: 10, opset_import: ["" : 20]>
toy (
    float[batch, time] context, int64[batch] lengths, int64[batch, span] timestamps,
    float[batch, time, 2] past_covariates, float[batch, span, 1] known_covariates,
    float[batch, 1] static_features, int64[batch, 1] static_categories
) => (float[batch, 3, 9] quantiles)
<
    int64 zero = {0}, int64 one = {1}, int64[1] first = {1}, int64[1] second = {2},
    int64[3] steps = {0, 1, 2}, int64 day = {86400}, float missing = {-1.0}
> {
    column = Unsqueeze (lengths, first)
    ahead = Add (column, steps)
    shape = Shape (ahead)
    last = Sub (column, one)
    behind = Expand (last, shape)
    target = GatherElements <axis = 1> (context, behind)
    prices = Gather <axis = 2> (past_covariates, zero)
    price = GatherElements <axis = 1> (prices, behind)
    stocks = Gather <axis = 2> (past_covariates, one)
    stock = GatherElements <axis = 1> (stocks, behind)
    promos = Gather <axis = 2> (known_covariates, zero)
    promo_behind = GatherElements <axis = 1> (promos, behind)
    promo_ahead = GatherElements <axis = 1> (promos, ahead)
    day_numbers = Div (timestamps, day)
    days = Cast <to = 1> (day_numbers)
    day_behind = GatherElements <axis = 1> (days, behind)
    day_ahead = GatherElements <axis = 1> (days, ahead)
    size = Expand (static_features, shape)
    codes = Cast <to = 1> (static_categories)
    region = Expand (codes, shape)
    c0 = Unsqueeze (target, second)
    c1 = Unsqueeze (price, second)
    c2 = Unsqueeze (stock, second)
    c3 = Unsqueeze (promo_behind, second)
    c4 = Unsqueeze (promo_ahead, second)
    c5 = Unsqueeze (day_behind, second)
    c6 = Unsqueeze (day_ahead, second)
    c7 = Unsqueeze (size, second)
    c8 = Unsqueeze (region, second)
    all = Concat <axis = 2> (c0, c1, c2, c3, c4, c5, c6, c7, c8)
    unknown = IsNaN (all)
    quantiles = Where (unknown, missing, all)
}
"""


def model() -> bytes:
    """The graph's file."""
    made: bytes = onnx.parser.parse_model(_GRAPH).SerializeToString()
    return made


def answer(seen: History) -> NDArray[np.float32]:
    """What the graph answers to one series [H, 9], told from the history alone."""
    assert seen.timestamps is not None
    assert seen.past is not None
    assert seen.known is not None
    assert seen.static is not None
    assert seen.categories is not None
    last = len(seen.target) - 1
    days = seen.timestamps // 86_400
    rows = [
        [
            seen.target[last],
            *seen.past[last],
            seen.known[last, 0],
            seen.known[last + step, 0],
            days[last],
            days[last + step],
            seen.static[0],
            seen.categories[0],
        ]
        for step in (1, 2, 3)
    ]
    values = np.array(rows, np.float32)
    return np.where(np.isnan(values), np.float32(-1), values)


def history(steps: int, random: np.random.Generator) -> History:
    """A random series of so many steps with everything the model wants, a third of it missing."""

    def some(*shape: int) -> NDArray[np.float64]:
        values = random.integers(-9, 10, shape).astype(np.float64)
        values[random.random(shape) < 0.3] = np.nan
        return values

    span = steps + SIGNATURE.horizon
    begin = int(random.integers(0, 40_000))
    return History(
        target=np.append(some(steps - 1), 5.0),
        timestamps=86_400 * np.arange(begin, begin + span),
        past=some(steps, 2),
        known=some(span, 1),
        static=some(1),
        categories=random.integers(0, 3, 1),
    )


def write(models: Path, name: str = "toy", **changes: Any) -> Path:
    """Publish the toy into a folder of models; its folder.

    Args:
        changes: top-level fields of the metadata.
    """
    random = np.random.default_rng(0)
    histories = [history(steps, random) for steps in (1, 7, 20, 33)]
    answers = np.stack([answer(one) for one in histories])
    return edit.publish(models / name / "1", SIGNATURE, histories, answers, model(), **changes)
