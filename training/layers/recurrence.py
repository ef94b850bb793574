"""The reset-after GRU for training: a forward pass that keeps little, and a backward pass by hand.

Autograd over `nn.GRU` records every small operation of every step, allocates each result anew and
sums the gradient of the weights step by step. Here a step is six operations in place, the backward
pass puts its gradients where the forward pass had its gates, and blocks of rows run on several
cores. The result is that of `nn.GRU` up to rounding: on one core in half of its time for many steps
of few units, and no slower for few steps of many. The price is 40 lines of derivatives, which the
tests compare with autograd's.

Shapes: B batch, S recurrent steps, I inputs, N hidden units, b rows of one block.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from service.cores import available_cores

# Rows of a block. Fixed, so that the order of sums, and with it every bit, does not depend on the
# number of cores. A step of so many rows stays in a core's cache; fewer are not worth a thread.
ROWS = 128
CORES = available_cores()
# A new thread has all cores of its own, and a product on two of them other bits than on one.
_LANES = ThreadPoolExecutor(CORES, "gru", torch.set_num_threads, (1,))
_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input
T = TypeVar("T")


def recurrence(
    x: Tensor, steps: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> tuple[Tensor, Tensor]:
    """Run every row to its own end.

    Args:
        x: [B, S, I], right-padded.
        steps: [B] int64, the number of valid steps of each row, 1..S.
        w_ih, w_hh, b_ih, b_hh: [3N, I], [3N, N], [3N], [3N], in PyTorch's order r, z, n.

    Returns:
        states [B, S, N] and final [B, N]. Their gradient can be taken once.
    """
    states, final = _Recurrence.apply(x, steps, w_ih, w_hh, b_ih, b_hh)  # type: ignore[no-untyped-call]
    return states, final


class _Block(NamedTuple):
    """What the forward pass leaves of some rows."""

    x: Tensor  # [S, b, I + 1] the inputs, then a one: with it the biases are weights
    gates: Tensor  # [S, b, 2N] r and z
    candidate: Tensor  # [S, b, N] n
    recurrent: Tensor  # [S, b, N] U_n h + c_n


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, steps: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        batch, length, _ = x.shape
        hidden = x.new_empty(length + 1, batch, weights[1].shape[1])
        hidden[0] = 0
        blocks = _blockwise(batch, lambda rows: _forward(x[rows], hidden[:, rows], *weights))
        # Saved this way, a second backward pass over what the first has overwritten is an error.
        saved = (tensor for block in blocks for tensor in block)
        ctx.save_for_backward(steps, hidden, *weights[:2], *saved)
        ctx.set_materialize_grads(False)
        return hidden[1:].transpose(0, 1), hidden[steps, torch.arange(batch)]

    @staticmethod
    def backward(ctx: Any, *d_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        steps, hidden, w_ih, w_hh, *saved = ctx.saved_tensors
        fields = len(_Block._fields)

        def run(rows: slice) -> tuple[Tensor, ...]:
            at = rows.start // ROWS * fields
            block = _Block(*saved[at : at + fields])
            arriving = (None if d is None else d[rows] for d in d_outputs)
            d_weights = _backward(block, hidden[:, rows], w_hh, steps[rows], *arriving)
            return *d_weights, *([_d_inputs(block, w_ih)] if ctx.needs_input_grad[0] else [])

        parts = list(zip(*_blockwise(len(steps), run), strict=True))
        d_x = torch.cat(parts.pop()) if ctx.needs_input_grad[0] else None
        return d_x, None, *(torch.stack(part).sum(0) for part in parts)


def _blockwise(batch: int, run: Callable[[slice], T]) -> list[T]:
    """What `run` gives for each block of rows, in order, on as many cores as there are.

    The calling thread takes its share: one that only waited would make two of the others begin on
    the same core.
    """
    blocks = [slice(start, min(start + ROWS, batch)) for start in range(0, batch, ROWS)]
    lanes = min(CORES, len(blocks))

    def lane(number: int) -> list[T]:
        return [run(rows) for rows in blocks[number::lanes]]

    others = [_LANES.submit(lane, number) for number in range(1, lanes)]
    done = [lane(0), *(other.result() for other in others)]
    return [done[at % lanes][at // lanes] for at in range(len(blocks))]


@torch.no_grad()
def _forward(
    x: Tensor, hidden: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> _Block:
    """Fill hidden [S + 1, b, N] from its first step on."""
    rows, steps, _ = x.shape
    units = hidden.shape[-1]
    gate = 2 * units  # columns of r and z
    block = _Block(
        torch.cat([x, x.new_ones(rows, steps, 1)], -1).transpose(0, 1).contiguous(),
        x.new_empty(steps, rows, gate),
        x.new_empty(steps, rows, units),
        x.new_empty(steps, rows, units),
    )
    bias = torch.cat([b_ih[:gate] + b_hh[:gate], b_ih[gate:]])
    w_gates, w_candidate = torch.cat([w_ih, bias.unsqueeze(1)], 1).T.tensor_split([gate], 1)
    u_gates, u_candidate = w_hh.T.tensor_split([gate], 1)
    r, z = block.gates.chunk(2, -1)
    parts = (*block, r, z, hidden[:-1], hidden[1:])
    for x_t, gates, n, recurrent, r, z, h, following in zip(*map(torch.unbind, parts), strict=True):
        torch.mm(x_t, w_gates, out=gates).addmm_(h, u_gates).sigmoid_()
        torch.addmm(b_hh[gate:], h, u_candidate, out=recurrent)
        torch.mm(x_t, w_candidate, out=n).addcmul_(r, recurrent).tanh_()
        torch.lerp(n, h, z, out=following)  # n + z * (h - n)
    return block


@torch.no_grad()
def _backward(
    block: _Block,
    hidden: Tensor,
    w_hh: Tensor,
    steps: Tensor,
    d_states: Tensor | None,
    d_final: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of w_ih, w_hh, b_ih and b_hh.

    In `block`, the gradients of the arguments of sigma and tanh take the place of the gates and the
    candidate, and that of U_n h + c_n its own.
    """
    units = hidden.shape[-1]
    u_gates, u_candidate = w_hh.tensor_split([2 * units])
    d_h, d_n = hidden.new_zeros(2, *hidden.shape[1:])
    d_gates = torch.empty_like(block.gates[0])
    d_r, d_z = d_gates.chunk(2, 1)
    parts = (*block[1:], *block.gates.chunk(2, -1), hidden[:-1])
    views = zip(*map(torch.unbind, parts), strict=True)
    for t, (gates, n, recurrent, r, z, h) in reversed(list(enumerate(views))):
        if d_final is not None and (ends := steps == t + 1).any():
            d_h += torch.where(ends.unsqueeze(1), d_final, 0.0)
        if d_states is not None:
            d_h += d_states[:, t]
        torch.sub(h, n, out=d_z).mul_(d_h)
        torch.mul(d_h, z, out=d_n)
        d_h, d_n = d_n, d_h.sub_(d_n)  # shares z and 1 - z of it
        _tanh_backward(d_n, n, grad_input=n)
        torch.mul(n, recurrent, out=d_r)
        torch.mul(n, r, out=recurrent)
        _sigmoid_backward(d_gates, gates, grad_input=gates)
        d_h.addmm_(gates, u_gates).addmm_(recurrent, u_candidate)
    x, gates, n, recurrent = (tensor.flatten(0, 1) for tensor in block)
    h = hidden[:-1].flatten(0, 1)
    d_u = torch.cat([gates.T @ h, recurrent.T @ h])
    # Of few inputs, many times faster than the transpose of this product.
    d_w, d_b = torch.cat([x.T @ gates, x.T @ n], 1).tensor_split([-1])  # [I, 3N], [1, 3N]
    d_c = torch.cat([d_b[0, : 2 * units], recurrent.sum(0)])
    return d_w.T, d_u, d_b[0], d_c


def _d_inputs(block: _Block, w_ih: Tensor) -> Tensor:
    """Gradient of the inputs [b, S, I], after `_backward`."""
    w_gates, w_candidate = w_ih.tensor_split([block.gates.shape[-1]])
    return (block.gates @ w_gates + block.candidate @ w_candidate).transpose(0, 1)
