"""The rows that parity is proven on, and torch's own answers to them.

Real rows, rows far out, constants, and every magnitude from a millionth to a thousand million.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from service.contract.metadata import Inputs
from training.regression.network import GRURegressor

PROVEN = 256  # real rows that take part
FAR = 30.0  # standard deviations
CONSTANTS = (0.0, 1.0, -3.5, 1e-6, 1e9)

Floats = NDArray[np.float32]


def families(features: NDArray[np.float64]) -> dict[str, Inputs]:
    """The rows of each family, made after real ones [N, F]; the same for the same rows."""
    real = features[:PROVEN]
    count = real.shape[1]
    random = np.random.default_rng(0)
    away = FAR * features.std(0) * random.choice([-1.0, 1.0], (64, count))
    alone = np.repeat(np.eye(count), 2, axis=0) * np.tile([[-1.0], [1.0]], (count, 1))
    made = {
        "training data": real,
        "far out": features.mean(0) + away,
        "one far out": features.mean(0) + FAR * features.std(0) * alone,
        "constants": np.full((len(CONSTANTS), count), 1.0) * np.array(CONSTANTS)[:, np.newaxis],
        "magnitudes": np.concatenate([real[:4] * 10.0**power for power in range(-6, 10)]),
    }
    return {name: (rows.astype(np.float32),) for name, rows in made.items()}


def torch_answer(network: GRURegressor, inputs: Inputs) -> tuple[Floats, Floats]:
    """Torch's predictions [B] and the scale of each row [B], in units of the target."""
    (features,) = inputs
    network.eval()
    with torch.no_grad():
        predictions = network(torch.from_numpy(features)).numpy()
    return predictions, np.full(len(features), network.target_scale.item(), np.float32)
