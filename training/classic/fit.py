"""Find the weights as the protocol does: one window at a time, in order, nothing held out."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from training.classic.network import RolledForecaster
from training.classic.protocol import Protocol
from training.fit import Diverged


def fit(
    network: RolledForecaster,
    values: Tensor,
    protocol: Protocol,
    progress: Callable[[float, float], None] = lambda _share, _loss: None,
) -> tuple[float, ...]:
    """Fit the network in place, from its present weights; nothing here is random.

    Args:
        values: [M] all training steps in data units, oldest first, none missing.
        progress: called after every epoch with the share of them that are over, and the loss.

    Returns:
        the mean squared error of the scaled values over each epoch.

    Raises:
        Diverged: a loss that is not finite.
    """
    network.measure(values)
    network.train()
    windows = network.scale(values).unfold(0, protocol.window + 1, 1).unsqueeze(1)
    optimiser = torch.optim.Adam(network.parameters(), protocol.learning_rate)
    losses: list[float] = []
    for epoch in range(protocol.epochs):
        squares = 0.0
        for window in windows:  # [1, W + 1]
            loss = mse_loss(network.following(window[:, :-1]), window[:, -1:])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            squares += loss.item()
        losses.append(squares / len(windows))
        if not losses[-1] < float("inf"):
            raise Diverged(f"the loss of epoch {epoch + 1} is {losses[-1]}; nothing is published")
        progress((epoch + 1) / protocol.epochs, losses[-1])
    return tuple(losses)
