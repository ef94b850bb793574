"""The fit of the protocol is the one that a tutorial writes down, weight by weight."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.preprocessing import MinMaxScaler
from torch import nn

from tests.training.classic.networks import SMALL
from training.classic.fit import fit
from training.classic.network import RolledForecaster
from training.fit import Diverged

PROTOCOL = replace(SMALL, epochs=3, learning_rate=1e-2)
VALUES = torch.from_numpy((300 + 100 * np.sin(np.arange(20)) + np.arange(20)).astype(np.float32))


def make() -> RolledForecaster:
    torch.manual_seed(0)
    return RolledForecaster(PROTOCOL)


def test_it_is_the_loop_of_the_tutorials() -> None:
    network = make()
    recurrent, out = nn.GRU(1, PROTOCOL.hidden), nn.Linear(PROTOCOL.hidden, 1)
    recurrent.load_state_dict(network.recurrent.weights.state_dict())
    out.load_state_dict(network.out.state_dict())
    optimiser = torch.optim.Adam([*recurrent.parameters(), *out.parameters()], lr=1e-2)
    scaler = MinMaxScaler((-1, 1))
    scaled = torch.from_numpy(scaler.fit_transform(VALUES[:, None])).float().flatten()
    expected = []
    for _ in range(PROTOCOL.epochs):
        losses = []
        for first in range(20 - 6):
            states, _ = recurrent(scaled[first : first + 6].view(6, 1, 1))
            loss = ((out(states[-1, 0]) - scaled[first + 6]) ** 2).mean()
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            losses.append(loss.item())
        expected.append(np.mean(losses))
    np.testing.assert_allclose(fit(network, VALUES, PROTOCOL), expected, rtol=1e-3)
    found = dict(network.named_parameters())
    for name, weight in recurrent.named_parameters():
        torch.testing.assert_close(found[f"recurrent.weights.{name}"], weight, atol=1e-4, rtol=0)
    torch.testing.assert_close(network.out.weight, out.weight, atol=1e-4, rtol=0)


def test_it_tells_how_far_it_is_after_every_epoch() -> None:
    told: list[tuple[float, float]] = []
    losses = fit(make(), VALUES, PROTOCOL, lambda share, loss: told.append((share, loss)))
    assert tuple(loss for _, loss in told) == losses
    np.testing.assert_allclose([share for share, _ in told], [1 / 3, 2 / 3, 1])


def test_a_gap_is_no_training_value() -> None:
    holed = VALUES.clone()
    holed[7] = torch.nan
    with pytest.raises(Diverged, match="the loss of epoch 1 is nan"):
        fit(make(), holed, PROTOCOL)


def test_it_ends_with_the_same_bits_every_time() -> None:
    one, other = make(), make()
    assert fit(one, VALUES, PROTOCOL) == fit(other, VALUES, PROTOCOL)
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, other.state_dict()[name]), name
