"""The gated recurrent unit: both published conventions, a float64 reference, and the ONNX form.

With sigma the logistic function and * the elementwise product, one step from state h to h' is

    r = sigma(W_r x + b_r + U_r h + c_r)         reset gate
    z = sigma(W_z x + b_z + U_z h + c_z)         update gate
    n = tanh(W_n x + b_n + r * (U_n h + c_n))    reset after the product (cuDNN, PyTorch)
    n = tanh(W_n x + b_n + U_n (r * h) + c_n)    reset before the product (Cho et al. 2014)
    h' = (1 - z) * n + z * h

Weights are kept in PyTorch's layout and gate order (r, z, n); ONNX wants (z, r, n). The convention
is ONNX's attribute `linear_before_reset`: 1 for reset after, 0 for reset before. The two give
different numbers for the same weights, and a cell that leaves r out of n is neither.

Shapes: B batch, S recurrent steps, I inputs, N hidden units.
"""

from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.layers.recurrence import recurrence


class Convention(StrEnum):
    """Where the reset gate acts in the candidate state."""

    RESET_AFTER = "reset_after"
    RESET_BEFORE = "reset_before"

    @property
    def linear_before_reset(self) -> int:
        """The attribute of the ONNX GRU operator that says the same."""
        return int(self is Convention.RESET_AFTER)


class GRULayer(nn.Module):
    """One recurrent layer over right-padded sequences.

    The parameters live in an `nn.GRU`, so weights from PyTorch load unchanged. Only the reset-after
    convention may use its kernel, and has a faster form for training on CPUs (`recurrence`).
    """

    def __init__(self, inputs: int, hidden: int, convention: Convention) -> None:
        super().__init__()
        self.convention = convention
        self.weights = nn.GRU(inputs, hidden, batch_first=True)

    def forward(
        self, x: Tensor, steps: Tensor, initial: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run every row to its own end.

        Args:
            x: [B, S, I], right-padded; what stands in the padding has no effect on `final`.
            steps: [B] int64, the number of valid steps of each row, 1..S.
            initial: [B, N], the state before the first step; zeros if not given.

        Returns:
            states [B, S, N], meaningful up to each row's last valid step, and final [B, N].
        """
        if torch.onnx.is_in_onnx_export():
            return self._symbolic(x, steps, initial)
        if self.convention is Convention.RESET_BEFORE:
            states = self._written_out(x, initial)
        elif initial is not None:  # `recurrence` begins at zero; cuDNN takes no strided state
            states, _ = self.weights(x, initial.unsqueeze(0).contiguous())
        elif torch.is_grad_enabled() and x.is_cpu:
            return recurrence(x, steps, *self.weights.parameters())
        else:
            states, _ = self.weights(x)
        last = (steps - 1).view(-1, 1, 1).expand(-1, 1, states.shape[-1])
        return states, states.gather(1, last).squeeze(1)

    def _written_out(self, x: Tensor, initial: Tensor | None = None) -> Tensor:
        """The recurrence step by step, in the form a student can read."""
        w_ih, w_hh, b_ih, b_hh = self.weights.parameters()
        state = x.new_zeros(x.shape[0], self.weights.hidden_size) if initial is None else initial
        states = []
        for step in x.unbind(1):
            state = gru_step(step, state, w_ih, w_hh, b_ih, b_hh, self.convention)
            states.append(state)
        return torch.stack(states, 1)  # [B, S, N]

    def _symbolic(self, x: Tensor, steps: Tensor, initial: Tensor | None) -> tuple[Tensor, Tensor]:
        """Exactly one ONNX GRU node, with the attributes and the lengths that we choose.

        The exporter's own translation never emits `sequence_lens`, and its time axis is frozen from
        the second export in a process on. Opset 20 keeps GRU at version 14, the newest that ONNX
        Runtime's CUDA provider registers.
        """
        hidden = self.weights.hidden_size
        batch, length, _ = x.shape
        w_ih, w_hh, b_ih, b_hh = (_to_onnx_order(weight) for weight in self.weights.parameters())
        onnx_weights = (w_ih, w_hh, torch.cat([b_ih, b_hh]))  # [3N, I], [3N, N], [6N]
        states, final = torch.onnx.ops.symbolic_multi_out(
            "GRU",
            (
                x.transpose(0, 1),
                *(weight.unsqueeze(0) for weight in onnx_weights),  # one direction
                steps.to(torch.int32),
                *([] if initial is None else [initial.unsqueeze(0)]),
            ),
            attrs={
                "hidden_size": hidden,
                "linear_before_reset": self.convention.linear_before_reset,
            },
            dtypes=(torch.float32, torch.float32),
            shapes=((length, 1, batch, hidden), (1, batch, hidden)),
            version=20,
        )
        return states.squeeze(1).transpose(0, 1), final.squeeze(0)


def gru_step(
    x: Tensor,
    h: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor,
    b_hh: Tensor,
    convention: Convention,
) -> Tensor:
    """One step of the recurrence: x [B, I], h [B, N], weights in PyTorch's layout -> h' [B, N]."""
    x_r, x_z, x_n = (x @ w_ih.T + b_ih).chunk(3, -1)
    w_r, w_z, w_n = w_hh.chunk(3)
    b_r, b_z, b_n = b_hh.chunk(3)
    r = torch.sigmoid(x_r + h @ w_r.T + b_r)
    z = torch.sigmoid(x_z + h @ w_z.T + b_z)
    if convention is Convention.RESET_AFTER:
        n = torch.tanh(x_n + r * (h @ w_n.T + b_n))
    else:
        n = torch.tanh(x_n + (r * h) @ w_n.T + b_n)
    return (1 - z) * n + z * h


def reference_gru(
    x: NDArray[np.float64],
    steps: NDArray[np.int64],
    weights: list[NDArray[np.float64]],
    convention: Convention,
    initial: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The recurrence in float64 numpy, row by row and gate by gate: the judge of every other form.

    Args:
        x: [B, S, I].
        steps: [B], valid steps of each row.
        weights: w_ih [3N, I], w_hh [3N, N], b_ih [3N], b_hh [3N] in PyTorch's order r, z, n.
        convention: where the reset gate acts.
        initial: [B, N], the state before the first step; zeros if not given.

    Returns:
        states [B, S, N], zero in the padding as ONNX has it, and final [B, N].
    """
    w_ih, w_hh, b_ih, b_hh = (np.asarray(w, np.float64) for w in weights)
    hidden = w_hh.shape[1]
    gate = {name: slice(k * hidden, (k + 1) * hidden) for k, name in enumerate("rzn")}
    states = np.zeros((*x.shape[:2], hidden))
    final = np.zeros((x.shape[0], hidden))
    for row in range(x.shape[0]):
        h = np.zeros(hidden) if initial is None else initial[row]
        for t in range(steps[row]):
            seen = {name: w_ih[at] @ x[row, t] + b_ih[at] for name, at in gate.items()}
            r, z = (
                1.0 / (1.0 + np.exp(-(seen[name] + w_hh[gate[name]] @ h + b_hh[gate[name]])))
                for name in "rz"
            )
            u, c = w_hh[gate["n"]], b_hh[gate["n"]]
            after = convention is Convention.RESET_AFTER
            n = np.tanh(seen["n"] + (r * (u @ h + c) if after else u @ (r * h) + c))
            h = (1.0 - z) * n + z * h
            states[row, t] = h
        final[row] = h
    return states, final


def _to_onnx_order(weight: Tensor) -> Tensor:
    """Gate blocks r, z, n (PyTorch) -> z, r, n (ONNX)."""
    hidden = weight.shape[0] // 3  # slices, not chunk: the exporter folds them into an initializer
    return torch.cat([weight[hidden : 2 * hidden], weight[:hidden], weight[2 * hidden :]])
