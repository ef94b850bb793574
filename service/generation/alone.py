"""One text without a service: the same plan, the same choice, the same runtime, the same bits."""

from collections.abc import Iterator

import numpy as np

from service.contract.language import LOGITS, NEXT_STATE, LanguageMetadata
from service.generation.agreement import Plan
from service.generation.sampling import Choice
from service.repository.live import LiveModel


def write(model: LiveModel[LanguageMetadata], plan: Plan) -> Iterator[int]:
    """The codes of a text, one by one as they are written.

    Raises:
        InferenceFailed: from the runtime.
    """
    signature = model.metadata.signature
    choice = Choice([plan.manner], len(signature.vocabulary))
    state = np.zeros((1, signature.layers, signature.hidden), np.float32)
    for code in plan.prompt[:-1]:
        answer = model.runtime.run(np.array([code], np.int64), state)
        state = signature.split(answer)[NEXT_STATE]
    code = plan.prompt[-1]
    for draw in plan.draws():
        parts = signature.split(model.runtime.run(np.array([code], np.int64), state))
        (code,) = choice.choose(parts[LOGITS], [draw]).tolist()
        state = parts[NEXT_STATE]
        yield code
