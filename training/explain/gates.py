"""The gates of a GRU over time, in float64, and how its state depends on the one before.

The recurrence is that of `training.gru`. The logarithm of z is computed from what enters sigma: a
gate that keeps nearly everything is 1 in float32 and even in float64, and would seem to keep it for
ever.

Shapes: S recurrent steps, I inputs, N hidden units, ... any leading axes.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from training.explain.graph import Layer
from training.explain.question import Floats
from training.gru import Convention


class Gates(NamedTuple):
    """Each [..., N]; over time [S, N]."""

    r: Floats  # reset gate: how much of the state the candidate sees
    z: Floats  # update gate: how much of the state is kept
    log_z: Floats
    n: Floats  # candidate state
    h: Floats  # the state after the step


def gates(x: Floats, initial: Floats, layer: Layer) -> Gates:
    """All steps: x [S, I] from the state [N] -> each [S, N]."""
    steps = list(unroll(x, initial, layer))
    return Gates(*(np.stack(part) for part in zip(*steps, strict=True)))


def unroll(x: Floats, initial: Floats, layer: Layer) -> Iterator[Gates]:
    """Step by step: x [S, I] from states [..., N], which all see the same x."""
    h = initial
    for seen in x:
        gate = step(seen, h, layer)
        h = gate.h
        yield gate


def step(x: Floats, h: Floats, layer: Layer) -> Gates:
    """One step: x [I], states h [..., N] -> each [..., N]."""
    a_r, a_z = (_entering(x, h, layer, name) for name in "rz")
    r, z = _sigma(a_r), _sigma(a_z)
    at = layer.gate("n")
    u, c = layer.w_hh[at], layer.b_hh[at]
    after = layer.convention is Convention.RESET_AFTER
    recalled = r * (h @ u.T + c) if after else (r * h) @ u.T + c
    n = np.tanh(layer.w_ih[at] @ x + layer.b_ih[at] + recalled)
    # _sigma(-a_z) is 1 - z with all its digits where z is nearly 1
    return Gates(r, z, -np.logaddexp(0.0, -a_z), n, _sigma(-a_z) * n + z * h)


def jacobian(x: Floats, h: Floats, layer: Layer) -> Floats:
    """The derivative of the next state by the present one: x [I], h [N] -> [N, N], row = output.

    With U_. the recurrent weights, c_n the recurrent bias of n, D(.) a diagonal matrix:

        D(z) + D((h - n) z (1 - z)) U_z + D((1 - z) (1 - n^2)) C
        C = D(r) U_n + D((U_n h + c_n) r (1 - r)) U_r    reset after the product
        C = U_n (D(r) + D(h r (1 - r)) U_r)              reset before the product
    """
    r, z, _, n, _ = step(x, h, layer)
    u_r, u_z, u_n = (layer.w_hh[layer.gate(name)] for name in "rzn")
    by_reset = (r * (1 - r))[:, np.newaxis] * u_r
    if layer.convention is Convention.RESET_AFTER:
        recalled = u_n @ h + layer.b_hh[layer.gate("n")]
        candidate = r[:, np.newaxis] * u_n + recalled[:, np.newaxis] * by_reset
    else:
        candidate = u_n @ (np.diag(r) + h[:, np.newaxis] * by_reset)
    renewed = ((1 - z) * (1 - n * n))[:, np.newaxis] * candidate
    derivative: Floats = np.diag(z) + ((h - n) * z * (1 - z))[:, np.newaxis] * u_z + renewed
    return derivative


def _entering(x: Floats, h: Floats, layer: Layer, name: str) -> Floats:
    at = layer.gate(name)
    entering: Floats = layer.w_ih[at] @ x + layer.b_ih[at] + h @ layer.w_hh[at].T + layer.b_hh[at]
    return entering


def _sigma(a: Floats) -> Floats:
    return np.exp(-np.logaddexp(0.0, -a))
