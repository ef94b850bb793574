"""Where a fit stands, on disk: an interrupted training continues to the same bits."""

import io
import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.network import GRUForecaster


class CannotResume(RuntimeError):
    """There is no checkpoint, or it belongs to another training."""


@dataclass
class State:
    """Where a fit stands."""

    step: int = 0
    seconds: float = 0.0  # spent so far, over all resumptions
    best_step: int = 0
    best_share: float = 0.0  # of the schedule, when the best was found
    finished: bool = False
    best_loss: float = math.inf
    best: dict[str, Tensor] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)
    curve: list[tuple[int, float, float]] = field(default_factory=list)


def weights(network: GRUForecaster) -> dict[str, Tensor]:
    """A copy of all weights and statistics."""
    return {name: weight.detach().clone() for name, weight in network.state_dict().items()}


def save(
    path: Path,
    identity: str,
    network: GRUForecaster,
    optimiser: torch.optim.Optimizer,
    state: State,
) -> None:
    """Write to a neighbour and rename: a kill in the middle leaves the previous checkpoint.

    Raises:
        OSError: the disk is full, say; the previous checkpoint is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {
        "identity": identity,
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "random": torch.get_rng_state(),
        "state": asdict(state),
    }
    unfinished = path.with_suffix(".unfinished")
    data = io.BytesIO()  # what torch raises where a file cannot be written is no OSError
    torch.save(content, data)
    try:
        unfinished.write_bytes(data.getbuffer())
        os.replace(unfinished, path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


def load(
    path: Path, identity: str, network: GRUForecaster, optimiser: torch.optim.Optimizer
) -> State:
    """Put network, optimiser and random numbers back to where the checkpoint was taken.

    Raises:
        CannotResume: there is no checkpoint, or it belongs to another training.
    """
    if not path.exists():
        raise CannotResume(f"nothing to resume: there is no {path}; train without --resume")
    device = next(network.parameters()).device
    content = torch.load(path, weights_only=True, map_location=device)
    if content["identity"] != identity:
        raise CannotResume(
            f"{path} belongs to another training (other data, horizon, seed or settings); repeat "
            "the command that was interrupted, or train without --resume"
        )
    network.load_state_dict(content["network"])
    optimiser.load_state_dict(content["optimiser"])
    torch.set_rng_state(content["random"].cpu())
    return State(**content["state"])


def read(path: Path) -> State:
    """Where the fit of this checkpoint stands."""
    return State(**torch.load(path, weights_only=True, map_location="cpu")["state"])
