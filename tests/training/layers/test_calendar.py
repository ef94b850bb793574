"""The calendar inside the graph: every date of ten thousand years, against numpy's own."""

from datetime import UTC, datetime, timedelta

import numpy as np
import onnxruntime as ort
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from training.export import trace
from training.layers.calendar import Calendar, Cycle, phases

moments = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59))


def seconds(moment: datetime) -> int:
    return (moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)


@settings(deadline=None)
@given(moments)
def test_phases_are_those_of_the_standard_library(moment: datetime) -> None:
    found = {cycle: int(phase) for cycle, phase in phases(torch.tensor(seconds(moment))).items()}
    assert found == {
        Cycle.TIME_OF_DAY: moment.hour * 4 + moment.minute // 15,
        Cycle.DAY_OF_WEEK: moment.weekday(),
        Cycle.DAY_OF_MONTH: moment.day - 1,
        Cycle.MONTH: moment.month - 1,
    }


def test_every_day_of_four_hundred_years_agrees_with_numpy() -> None:
    days = np.arange("1800-01-01", "2200-01-01", dtype="datetime64[D]")
    found = phases(torch.from_numpy(days.astype("datetime64[s]").astype(np.int64)))
    months = days.astype("datetime64[M]")
    assert (found[Cycle.MONTH].numpy() == months.astype(int) % 12).all()
    assert (found[Cycle.DAY_OF_MONTH].numpy() == (days - months).astype(int)).all()


class _Phases(nn.Module):
    def forward(self, timestamps: Tensor) -> Tensor:
        return torch.stack(list(phases(timestamps).values()), -1)


def test_the_exported_calendar_is_whole_number_arithmetic_with_the_same_answers() -> None:
    example = torch.tensor([[0, 1, 2], [3, 4, 5]])
    model = trace(_Phases(), {"timestamps": (example, ("batch", "span"))}, ["phases"])
    assert not {node.op_type for node in model.graph.node} & {"Cast", "Floor", "Abs"}
    random = np.random.default_rng(0)
    timestamps = random.integers(-62_135_596_800, 253_402_300_799, (100, 7))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (served,) = session.run(None, {"timestamps": timestamps})
    assert np.array_equal(served, _Phases()(torch.from_numpy(timestamps)).numpy())


def test_a_step_is_described_by_the_sum_of_its_phases() -> None:
    calendar = Calendar([Cycle.DAY_OF_WEEK, Cycle.MONTH], 3)
    week, year = calendar.parameters()
    monday_in_may = torch.tensor([[seconds(datetime(2024, 5, 6, 12))]])
    assert torch.equal(calendar(monday_in_may)[0, 0], week[0] + year[4])
