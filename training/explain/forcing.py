"""What a model answers when gates of its GRU are held open or shut.

The graph is edited at the biases of the gate and put to the runtime that serves it; everything
behind the GRU stays as it was trained, so this shows what the model as a whole owes to a gate.
"""

from dataclasses import dataclass

import onnx

from training.explain import graph
from training.explain.memory import PLAIN
from training.explain.question import Answers, Floats, Question
from training.explain.trace import ask

CASES = {
    "as trained": {},
    "r = 0: the candidate does not see the state": {"r": 0},
    "r = 1: the candidate sees all of it": {"r": 1},
    "z = 0: nothing is kept": {"z": 0},
    "z = 1: nothing is taken in": {"z": 1},
    "z = 0, r = 1: a plain tanh network": PLAIN,
}


@dataclass(frozen=True, eq=False)
class Outcome:
    """One case."""

    case: str
    figure: float  # of the question's measure
    ahead: Floats | None  # [H], the forecast if there is one


def outcomes(model: onnx.ModelProto, question: Question) -> list[Outcome]:
    """Every case, as trained first.

    Raises:
        CannotExplain: see `trace.ask`.
    """
    asked = ((case, ask(graph.forced(model, gates), question)) for case, gates in CASES.items())
    return [_outcome(case, answers, question) for case, answers in asked]


def _outcome(case: str, answers: Answers, question: Question) -> Outcome:
    ahead = question.ahead(answers) if question.ahead else None
    return Outcome(case, question.judge(answers), ahead)
