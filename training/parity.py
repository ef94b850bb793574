"""torch = ONNX Runtime, through the code that serves. Refuses to publish above tolerance.

Each task brings families of rows and torch's own answers to them; here they are compared with what
`service.runtime` answers, in units of each row's own scale.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from service.contract.artifact import Golden
from service.contract.metadata import Inputs, Parity, ParityCase, Signature
from service.contract.tolerance import TOLERANCES
from service.runtime import Runtime

Floats = NDArray[np.float32]
Families = Mapping[str, Inputs]  # rows by what is special about them, padded to the longest
Answer = Callable[[Inputs], tuple[Floats, Floats]]  # torch's joined outputs [B, ...] and scale [B]


class ParityFailed(RuntimeError):
    """The served answers differ from torch's by more than the tolerance."""


def check(answer: Answer, runtime: Runtime, families: Families) -> Parity:
    """Compare torch and the served runtime on every family.

    Raises:
        ParityFailed: with the worst case and by how much.
    """
    measured = tuple(_compare(name, rows, answer, runtime) for name, rows in families.items())
    failed = [f"{case.name} ({case.worst:.2g})" for case in measured if case.share > 1]
    tolerance = TOLERANCES[runtime.provider]
    if failed:
        raise ParityFailed(
            f"torch and the served model differ by more than {tolerance.atol:g} + "
            f"{tolerance.rtol:g} relative, in units of a series' scale: {', '.join(failed)}; "
            "nothing is published"
        )
    return Parity(
        atol=tolerance.atol,
        rtol=tolerance.rtol,
        rows=sum(case.rows for case in measured),
        worst=max(case.worst for case in measured),
        share=max(case.share for case in measured),
        cases=measured,
    )


def table(parity: Parity) -> str:
    """The cases as aligned text, one line each, and the verdict."""
    lines = [f"{'parity case':<16}{'rows':>6}{'worst':>10}{'of allowed':>12}"]
    lines += [
        f"{case.name:<16}{case.rows:>6}{case.worst:>10.1e}{case.share:>12.1%}"
        for case in parity.cases
    ]
    lines.append(
        f"Parity holds: {parity.rows} rows, torch and served answers differ by at most "
        f"{parity.share:.1%} of atol {parity.atol:g} + rtol {parity.rtol:g} (scaled outputs)."
    )
    return "\n".join(lines)


def golden(answer: Answer, signature: Signature, families: Families) -> Golden:
    """Torch's own answers to a few rows of every family, for the service to replay."""
    some = [tuple(array[::8][:4] for array in inputs) for inputs in families.values()]
    inputs = tuple(map(np.concatenate, zip(*some, strict=True)))
    expected, scale = _answer_all(answer, signature, inputs)
    names = [spec.name for spec in signature.inputs]
    outputs = {name: np.ascontiguousarray(a) for name, a in signature.split(expected).items()}
    return Golden(dict(zip(names, inputs, strict=True)), outputs, scale)


def _compare(name: str, rows: Inputs, answer: Answer, runtime: Runtime) -> ParityCase:
    tolerance = TOLERANCES[runtime.provider]
    worst = share = 0.0
    for block in runtime.metadata.signature.blocks(rows):
        expected, scale = answer(block.inputs)
        difference = tolerance.compare(expected, runtime.run(*block.inputs), scale)
        worst, share = max(worst, difference.worst), max(share, difference.share)
    return ParityCase(name=name, rows=len(rows[0]), worst=worst, share=share)


def _answer_all(answer: Answer, signature: Signature, inputs: Inputs) -> tuple[Floats, Floats]:
    """The answers in the order of the rows, each from a block of its own shape."""
    blocks = signature.blocks(inputs)
    answers = [answer(block.inputs) for block in blocks]
    order = np.argsort(np.concatenate([block.rows for block in blocks]))
    expected, scale = (np.concatenate(parts)[order] for parts in zip(*answers, strict=True))
    return expected, scale
