"""Small networks of the protocol, untrained, with the scale of some values."""

import numpy as np
import torch
from numpy.typing import NDArray

from training.classic.network import RolledForecaster
from training.classic.protocol import Protocol

SMALL = Protocol(window=6, horizon=4, hidden=8)
VALUES = np.array([104.0, 250.0, 559.0, 317.0])  # what the scale is taken from


def make(protocol: Protocol = SMALL, seed: int = 0) -> RolledForecaster:
    """A network whose recurrence is strong enough to show in every forecast."""
    torch.manual_seed(seed)
    network = RolledForecaster(protocol).eval()
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    network.measure(torch.from_numpy(VALUES.astype(np.float32)))
    return network


def ask(
    network: RolledForecaster, row: NDArray[np.float64] | list[float], padding: int = 0
) -> NDArray[np.float64]:
    """The forecast [H] of one row."""
    context = torch.full((1, len(row) + padding), torch.nan)
    context[0, : len(row)] = torch.tensor(row)
    with torch.no_grad():
        answer = network(context, torch.tensor([len(row)]))
    assert answer.shape == (1, network.horizon, 1)
    forecast: NDArray[np.float64] = answer[0, :, 0].double().numpy()
    return forecast
