"""Weights of other libraries' GRUs in our layout: PyTorch, Keras, Dive into Deep Learning (d2l).

Libraries agree on the recurrence of `training.gru` and differ in how they write it down: the order
of the gates, the axis along which they are joined, one bias or two, where the reset gate acts, and
which state the update gate keeps. What shapes cannot tell is an argument, never a guess. What they
can tell is checked before anything is copied; only the transpose of a square matrix goes unseen.

Every gate is sigma and every candidate tanh. Weights trained with another activation (old versions
of Keras took the hard sigmoid if not told otherwise) load and give other numbers.

Shapes: I inputs, N hidden units.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.gru import Convention, GRULayer

Array: TypeAlias = NDArray[Any] | Tensor
Floats: TypeAlias = NDArray[np.floating[Any]]

_TORCH = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
_KERAS = ("kernel", "recurrent_kernel", "bias")
_D2L = ("W_xz", "W_hz", "b_z", "W_xr", "W_hr", "b_r", "W_xh", "W_hh", "b_h")


class InvalidWeights(ValueError):
    """The arrays are not the weights of one GRU layer."""


class Update(StrEnum):
    """Which state the update gate z multiplies."""

    KEEPS = "keeps"  # h' = z * h + (1 - z) * n: PyTorch, Keras, d2l, ONNX
    RENEWS = "renews"  # h' = (1 - z) * h + z * n: the same model with z' = 1 - z


@dataclass(frozen=True, eq=False)
class GRUWeights:
    """One layer in our layout: gates in the order r, z, n along the first axis.

    w_ih [3N, I], w_hh [3N, N], b_ih [3N], b_hh [3N], float32 or float64.
    """

    w_ih: Floats
    w_hh: Floats
    b_ih: Floats
    b_hh: Floats
    convention: Convention

    def load(self, layer: GRULayer) -> None:
        """Copy the weights into a layer, rounded to its dtype.

        Raises:
            InvalidWeights: the layer has the other convention or other sizes; it is unchanged then.
        """
        if layer.convention is not self.convention:
            raise InvalidWeights(
                f"the layer's convention is {layer.convention}, expected that of the weights: "
                f"make the layer with Convention.{self.convention.name}"
            )
        arrays = (self.w_ih, self.w_hh, self.b_ih, self.b_hh)
        state = {name: torch.from_numpy(array) for name, array in zip(_TORCH, arrays, strict=True)}
        for name, parameter in layer.weights.named_parameters():
            if (came := state[name].shape) != parameter.shape:
                raise InvalidWeights(
                    f"{name}: expected shape {list(parameter.shape)}, that of the layer, "
                    f"got {list(came)}; make the layer with the sizes of the weights"
                )
        layer.weights.load_state_dict(state)


def from_torch(state: Mapping[str, Array], update: Update = Update.KEEPS) -> GRUWeights:
    """Weights of a `torch.nn.GRU` of one layer and one direction.

    Layout as in the documentation of `torch.nn.GRU`: gates r, z, n; reset after the product.

    Args:
        state: its state dict: weight_ih_l0 [3N, I], weight_hh_l0 [3N, N], bias_ih_l0 [3N] and
            bias_hh_l0 [3N].
        update: which state the update gate multiplies in the cell that the weights were made for.

    Raises:
        InvalidWeights: a missing or unknown name, a wrong shape or dtype, a value not finite.
    """
    missing, unknown = set(_TORCH) - set(state), set(state) - set(_TORCH)
    if missing or unknown:
        raise InvalidWeights(
            f"expected exactly {', '.join(_TORCH)}: one layer and direction, with biases "
            f"(zeros for none); missing: {', '.join(sorted(missing)) or 'none'}, "
            f"unknown: {', '.join(sorted(map(str, unknown))) or 'none'}"
        )
    layout = {
        "weight_hh_l0": ("3N", "N"),
        "weight_ih_l0": ("3N", "I"),
        "bias_ih_l0": ("3N",),
        "bias_hh_l0": ("3N",),
    }
    arrays = _checked(state, layout, "a torch.nn.GRU")
    blocks = (np.split(arrays[name], 3) for name in _TORCH)
    r, z, n = (_Gate(*parts) for parts in zip(*blocks, strict=True))
    return _joined(r, z, n, Convention.RESET_AFTER, update)


def from_keras(
    weights: Sequence[Array], reset_after: bool, update: Update = Update.KEEPS
) -> GRUWeights:
    """Weights of a `keras.layers.GRU`.

    Layout as in `keras.layers.GRUCell`: gates z, r, h along the last axis. With `reset_after` there
    are two biases, of the inputs and of the state; without it, one.

    Args:
        weights: what the layer's `get_weights()` returns: kernel [I, 3N], recurrent_kernel [N, 3N]
            and bias, [2, 3N] with `reset_after` and [3N] without.
        reset_after: the layer's argument of that name; its default varies by version.
        update: which state the update gate multiplies in the cell that the weights were made for.

    Raises:
        InvalidWeights: a wrong number of arrays, a wrong shape or dtype, a value not finite.
    """
    named = _named(weights, _KERAS, "add zeros as the bias of a layer with use_bias=False")
    layout = {
        "recurrent_kernel": ("N", "3N"),
        "kernel": ("I", "3N"),
        "bias": ("2", "3N") if reset_after else ("3N",),
    }
    arrays = _checked(named, layout, f"a Keras GRU with reset_after={reset_after}")
    bias = arrays["bias"]
    b, c = bias if reset_after else (bias, 0 * bias)
    blocks = (
        np.split(part, 3) for part in (arrays["kernel"].T, arrays["recurrent_kernel"].T, b, c)
    )
    z, r, n = (_Gate(*parts) for parts in zip(*blocks, strict=True))
    convention = Convention.RESET_AFTER if reset_after else Convention.RESET_BEFORE
    return _joined(r, z, n, convention, update)


def from_d2l(parameters: Sequence[Array], update: Update = Update.KEEPS) -> GRUWeights:
    """Weights of the GRU written from scratch in Dive into Deep Learning.

    Layout as in its section on gated recurrent units: every gate has matrices of its own, applied
    from the right, and one bias; reset before the product.

    Args:
        parameters: W_xz, W_hz, b_z, W_xr, W_hr, b_r, W_xh, W_hh, b_h, with W_x* [I, N], W_h* [N, N]
            and b_* [N].
        update: which state the update gate multiplies in the cell that the weights were made for.

    Raises:
        InvalidWeights: a wrong number of arrays, a wrong shape or dtype, a value not finite.
    """
    named = _named(parameters, _D2L, "leave out W_hq and b_q, the output layer")
    axes = {"W_h": ("N", "N"), "W_x": ("I", "N"), "b_": ("N",)}
    layout = {name: axes[kind] for kind in axes for name in _D2L if name.startswith(kind)}
    arrays = _checked(named, layout, "a d2l GRU")
    z, r, n = (
        _Gate(arrays[f"W_x{k}"].T, arrays[f"W_h{k}"].T, arrays[f"b_{k}"], 0 * arrays[f"b_{k}"])
        for k in "zrh"
    )
    return _joined(r, z, n, Convention.RESET_BEFORE, update)


class _Gate(NamedTuple):
    """One gate as in sigma(w x + b + u h + c)."""

    w: Floats  # [N, I]
    u: Floats  # [N, N]
    b: Floats  # [N]
    c: Floats  # [N]


def _joined(r: _Gate, z: _Gate, n: _Gate, convention: Convention, update: Update) -> GRUWeights:
    if update is Update.RENEWS:
        z = _Gate(*(-part for part in z))  # 1 - sigma(a) = sigma(-a)
    w_ih, w_hh, b_ih, b_hh = (np.concatenate(parts) for parts in zip(r, z, n, strict=True))
    return GRUWeights(w_ih, w_hh, b_ih, b_hh, convention)


def _named(arrays: Sequence[Array], names: tuple[str, ...], remedy: str) -> dict[str, Array]:
    if len(arrays) != len(names):
        raise InvalidWeights(
            f"expected {len(names)} arrays, {', '.join(names)}; got {len(arrays)}: {remedy}"
        )
    return dict(zip(names, arrays, strict=True))


def _checked(
    arrays: Mapping[str, Array], layout: Mapping[str, tuple[str, ...]], owner: str
) -> dict[str, Floats]:
    """The arrays as numpy's, each of the shape that its axes say.

    Args:
        layout: axes by name, such as ("3N", "I"). The first array that has an axis "I" or "N" says
            how long it is, so one that can contradict itself comes first.
        owner: whose arrays they are, for the message.
    """
    sizes: dict[str, int] = {}
    floats = {}
    for name, axes in layout.items():
        floats[name] = _floats(name, arrays[name])
        shape = floats[name].shape
        if len(shape) == len(axes):
            for axis, size in zip(axes, shape, strict=True):
                if axis in ("I", "N"):
                    sizes.setdefault(axis, size)
        expected = [_size(axis, sizes) for axis in axes]
        if list(shape) != expected or 0 in shape:
            known = "" if None in expected else f" = {expected}"
            raise InvalidWeights(
                f"{name} of {owner}: expected shape [{', '.join(axes)}]{known} "
                f"for I inputs and N units, at least 1, got {list(shape)}"
            )
    return floats


def _size(axis: str, sizes: Mapping[str, int]) -> int | None:
    """Length of an axis such as "2", "N" or "3N"; none while N is not known."""
    if axis.isdigit():
        return int(axis)
    length = sizes.get(axis[-1])
    return None if length is None else int(axis[:-1] or 1) * length


def _floats(name: str, array: Array) -> Floats:
    """The array as numpy's, of the same dtype."""
    if not isinstance(array, np.ndarray | Tensor):
        raise InvalidWeights(
            f"{name}: expected a numpy array or a torch tensor, got {type(array).__name__}; "
            "convert it with numpy.asarray"
        )
    if array.dtype not in (np.float32, np.float64, torch.float32, torch.float64):
        raise InvalidWeights(f"{name}: expected float32 or float64, got {array.dtype}; convert it")
    values: Floats = array.detach().cpu().numpy() if isinstance(array, Tensor) else array
    if not np.isfinite(values).all():
        raise InvalidWeights(f"{name}: expected finite numbers, got NaN or infinity")
    return values
