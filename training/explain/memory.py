"""How long a GRU remembers: what its update gate implies, what is measured, and its gradients.

h' = (1 - z) n + z h: of the state after step s, the share z_{s+1} ... z_t is still there after step
t, carried along unchanged. This product is exp of the sum of ln z, so over many steps a unit keeps
the share exp(-1 / tau) per step with tau = -1 / mean(ln z). The mean is that of ln z and not of z:
-1 / ln(mean z) is never smaller, and overstates how long a unit remembers that forgets at times.

What the state was also enters the gates and the candidate; that part is measured, not implied.

Shapes: S recurrent steps, I inputs, N hidden units, K steps later.
"""

from typing import NamedTuple

import numpy as np

from training.explain.gates import jacobian, unroll
from training.explain.graph import Layer
from training.explain.question import Floats
from training.explain.trace import Trace

PLAIN = {"r": 1, "z": 0}  # a GRU with these gates is a tanh network with the candidate's weights
OPENED = 4.0  # a gate of 0.5 becomes one of 0.98
_STARTS = 8  # places at which the state is disturbed
_REACH = 100  # steps that a disturbance is followed, at most
_LEAST = np.finfo(float).tiny
_LARGEST_LOG = 700.0  # exp of it is still a float64
_NUDGE = 1e-4  # to either side; the error of the difference is of its square


class Memory(NamedTuple):
    """Of one layer over one input of at least two steps; curves begin at 1, after 0 steps."""

    constants: Floats  # [N] tau of each unit, steps
    carried: Floats  # [K + 1] what the update gate alone keeps: root mean square over the units
    measured: Floats  # [K + 1] what is left of a disturbance: root mean square over the units


class Gains(NamedTuple):
    """How a gradient at the last state grows or shrinks on its way back, after 0..S steps.

    Root mean square of the singular values of the derivative: the factor for the length of a
    gradient of random direction.
    """

    gru: Floats  # [S + 1]
    kept: Floats  # [S + 1] through z alone, as if gates and candidate did not see the state
    plain: Floats  # [S + 1] of a plain tanh network with the candidate's weights
    opened: Floats  # [S + 1] with `OPENED` more at the update gate, which then keeps more


def memory(trace: Trace) -> Memory:
    """Implied and measured, over what follows each of a few places: half of the input or less."""
    count = len(trace.x)
    reach = min(count // 2, _REACH)
    starts = np.unique(np.linspace(0, count - 1 - reach, _STARTS).astype(int))
    log_z = trace.gates.log_z
    carried = [np.cumsum(log_z[s + 1 : s + 1 + reach], 0) for s in starts]  # ln of the share
    measured = [_disturbed(trace, s, reach) for s in starts]
    return Memory(
        time_constants(log_z),
        np.append(1.0, _root_mean_square(np.stack(carried))),
        np.append(1.0, np.sqrt(np.mean(np.square(measured), axis=0))),
    )


def time_constants(log_z: Floats) -> Floats:
    """ln z [S, N] -> [N] steps, after which a unit keeps 1 / e of itself."""
    constants: Floats = -1.0 / np.minimum(log_z.mean(0), -_LEAST)
    return constants


def gains(trace: Trace) -> Gains:
    """Products of derivatives, from the last state back to the one before the first step."""
    kept = np.cumsum(trace.gates.log_z[::-1], 0)
    return Gains(
        _gains(trace.x, trace.initial, trace.layer),
        np.append(1.0, _root_mean_square(kept[np.newaxis])),
        _gains(trace.x, trace.initial, trace.layer.forced(PLAIN)),
        _gains(trace.x, trace.initial, trace.layer.biased("z", OPENED)),
    )


def spectral_radius(layer: Layer) -> float:
    """Of the candidate's recurrent matrix: per step, what a network without gates multiplies by."""
    return float(np.abs(np.linalg.eigvals(layer.w_hh[layer.gate("n")])).max())


def fallen(curve: Floats) -> float:
    """Steps after which a curve is first below 1 / e, between steps by its logarithm; or inf."""
    below = np.flatnonzero(curve < np.exp(-1))
    if not len(below):
        return float("inf")
    at = int(below[0])
    before, after = np.log(np.maximum(curve[at - 1 : at + 1], _LEAST))
    return float(at - 1 + (before + 1) / (before - after))


def _disturbed(trace: Trace, start: int, reach: int) -> Floats:
    """Root mean square length of what a disturbance of one unit after `start` has become: [K]."""
    nudge = _NUDGE * np.eye(trace.layer.hidden)
    state = trace.gates.h[start]
    x = trace.x[start + 1 : start + 1 + reach]
    both = np.concatenate([state + nudge, state - nudge])  # [2 N, N]
    lengths = []
    for gate in unroll(x, both, trace.layer):
        up, down = np.split(gate.h, 2)
        change = (up - down) / (2 * _NUDGE)  # a row for each disturbed unit
        lengths.append(np.sqrt(np.square(change).sum(1).mean()))
    return np.array(lengths)


def _gains(x: Floats, initial: Floats, layer: Layer) -> Floats:
    states = [initial, *(gate.h for gate in unroll(x, initial, layer))]
    product = np.eye(layer.hidden)  # scaled back to length 1, or a thousand steps overflow
    logs = [0.0]
    for seen, h in zip(x[::-1], states[-2::-1], strict=True):
        product = product @ jacobian(seen, h, layer)
        length = max(np.sqrt(np.square(product).sum() / layer.hidden), _LEAST)
        product /= length
        logs.append(logs[-1] + np.log(length))
    return _exp(np.array(logs))


def _root_mean_square(logs: Floats) -> Floats:
    """Of shares exp(logs [starts, K, N]) over starts and units: [K]; their squares may vanish."""
    of_step = logs.transpose(1, 0, 2).reshape(logs.shape[1], -1)
    mean = (np.logaddexp.reduce(2 * of_step, axis=1) - np.log(of_step.shape[1])) / 2
    return _exp(mean)


def _exp(logs: Floats) -> Floats:
    """exp as a number that is neither 0 nor infinite."""
    return np.exp(np.clip(logs, -_LARGEST_LOG, _LARGEST_LOG))
