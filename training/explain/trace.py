"""A question put to a graph, and what its GRU layers saw and answered on the way.

The graph runs in the runtime that serves it; the gates, which it never shows, are computed again
from its weights in float64. Where the two disagree about the states, nothing is explained.

Shapes: S recurrent steps, I inputs, N hidden units.
"""

from dataclasses import dataclass

import numpy as np
import onnx

from service.providers import open_session
from training.explain import graph
from training.explain.gates import Gates, gates
from training.explain.graph import Layer
from training.explain.question import Answer, Answers, CannotExplain, Floats, Question

AGREEMENT = 1e-4  # of states within -1..1; float32 over a thousand steps is within 1e-5


@dataclass(frozen=True, eq=False)
class Trace:
    """One layer over one question."""

    layer: Layer
    x: Floats  # [S, I]
    initial: Floats  # [N]
    gates: Gates  # each [S, N]
    difference: float  # largest, between the graph's states and those computed again


def ask(model: onnx.ModelProto, question: Question) -> Answers:
    """The outputs of every run.

    Raises:
        CannotExplain: onnxruntime cannot run the graph, or an answer is not finite.
    """
    answers: list[Answer] = []
    try:
        session = open_session(model.SerializeToString(), "cpu")
        names = [output.name for output in session.get_outputs()]
        for given in question.runs:
            fed = dict(given)
            if answers:
                fed |= {name: answers[-1][source] for name, source in question.carried.items()}
            answers.append(dict(zip(names, session.run(names, fed), strict=True)))
    except Exception as error:  # onnxruntime raises a dozen unrelated classes
        raise CannotExplain(f"onnxruntime: {type(error).__name__}: {error}") from error
    for answer in answers:
        if wrong := [name for name, array in answer.items() if not np.isfinite(array).all()]:
            raise CannotExplain(f"the model answers with {wrong[0]} that is not finite")
    return answers


def trace(model: onnx.ModelProto, question: Question) -> tuple[Answers, list[Trace]]:
    """The answers, and every layer on the way to them.

    Raises:
        CannotExplain: as `ask` and `graph.layers`, or the weights do not give the graph's states.
    """
    watched = graph.layers(model)
    answers = ask(graph.probed(model, watched), question)
    return answers, [_trace(layer, answers) for layer in watched]


def _trace(layer: Layer, answers: Answers) -> Trace:
    x, states = (
        np.concatenate([_valid(layer, name, answer) for answer in answers])
        for name in ("x", "states")
    )
    initial = answers[0].get(graph.probe(layer, "initial"))  # [1, 1, N]
    start = np.zeros(layer.hidden) if initial is None else initial[0, 0].astype(np.float64)
    found = gates(x, start, layer)
    difference = float(np.abs(found.h - states).max())
    if not difference <= AGREEMENT:
        raise CannotExplain(
            f"GRU node {layer.place}: states computed from its weights differ from the graph's by "
            f"{difference:.1g}; the gates would not be its own"
        )
    return Trace(layer, x, start, found, difference)


def _valid(layer: Layer, name: str, answer: Answer) -> Floats:
    """x or states of the one row of a run, without padding: [S, I] or [S, N]."""
    array = answer[graph.probe(layer, name)].astype(np.float64)  # [S, 1, I] or [S, 1, 1, N]
    rows = array.reshape(len(array), -1)
    steps = answer.get(graph.probe(layer, "steps"))
    return rows if steps is None else rows[: int(steps[0])]
