"""A model with a calendar and nothing else beside the target, whose answer shows what it was told.

Not a forecaster: a graph written by hand. Of each step ahead it answers, nine times, the newest
value of the target plus the hours since 1970 of that step, so a moment in a wrong place is seen.
"""

from pathlib import Path

import numpy as np
import onnx.parser
from numpy.typing import NDArray

from service.contract.forecast import Covariates
from service.contract.placement import History
from tests.artifacts import edit, toy

SIGNATURE = toy.SIGNATURE.model_copy(update={"covariates": Covariates(), "freq": "h"})
_GRAPH = """
<ir_version: 10, opset_import: ["" : 20]>
dated (float[batch, time] context, int64[batch] lengths, int64[batch, span] timestamps)
    => (float[batch, 3, 9] quantiles)
<
    int64 one = {1}, int64[1] first = {1}, int64[1] second = {2}, int64[3] steps = {0, 1, 2},
    int64 hour = {3600}, int64[3] levels = {1, 1, 9}
> {
    column = Unsqueeze (lengths, first)
    ahead = Add (column, steps)
    shape = Shape (ahead)
    last = Sub (column, one)
    behind = Expand (last, shape)
    target = GatherElements <axis = 1> (context, behind)
    hour_numbers = Div (timestamps, hour)
    hours = Cast <to = 1> (hour_numbers)
    hour_ahead = GatherElements <axis = 1> (hours, ahead)
    sum = Add (target, hour_ahead)
    column_of_sums = Unsqueeze (sum, second)
    quantiles = Expand (column_of_sums, levels)
}
"""


def write(models: Path, name: str = "dated") -> Path:
    """Publish it into a folder of models; its folder."""
    histories = [_history(steps) for steps in (1, 7, 20, 33)]
    answers = np.stack([_answer(one) for one in histories])
    model: bytes = onnx.parser.parse_model(_GRAPH).SerializeToString()
    return edit.publish(models / name / "1", SIGNATURE, histories, answers, model)


def _history(steps: int) -> History:
    hours = np.arange(1000, 1000 + steps + SIGNATURE.horizon)
    return History(np.arange(1.0, steps + 1), timestamps=3600 * hours)


def _answer(seen: History) -> NDArray[np.float32]:
    assert seen.timestamps is not None
    ahead = seen.timestamps[len(seen.target) :] / 3600 + seen.target[-1]
    return np.repeat(ahead.astype(np.float32)[:, np.newaxis], 9, axis=1)
