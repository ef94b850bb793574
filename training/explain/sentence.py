"""A language model's question: a sentence, token by token, each with the state before it."""

import numpy as np

from service.contract.language import (
    LOGITS,
    NEXT_STATE,
    STATE,
    TOKENS,
    LanguageMetadata,
    LanguageSignature,
    UnknownToken,
)
from service.contract.metadata import Array
from training.explain.question import Answers, CannotExplain, Floats, Question

LINE = 60  # characters of a title
MOST = 1000  # tokens: one run each, and a column of the pictures


def question(metadata: LanguageMetadata, text: str | None) -> Question:
    """What to ask a language model.

    Raises:
        CannotExplain: no text, one of a single token or of too many, or a token that the model
            does not know.
    """
    signature = metadata.signature
    text = text or ""
    codes = _encode(signature, text)
    if not 2 <= len(codes) <= MOST:
        raise CannotExplain(
            f"a language model is shown a sentence of 2 to {MOST} {signature.unit}s, came "
            f'{len(codes)}: --input "{_example(signature)}"'
        )
    state = np.zeros((1, signature.layers, signature.hidden), np.float32)

    def surprise(answers: Answers) -> Floats:
        """Nats of each token but the first, which nothing came before."""
        logits = np.stack([answer[LOGITS][0] for answer in answers[:-1]]).astype(np.float64)
        of_token = logits[np.arange(len(logits)), codes[1:]]
        return np.append(np.nan, np.logaddexp.reduce(logits, axis=1) - of_token)

    return Question(
        title=f"“{text}”" if len(text) <= LINE else f"“{text[: LINE - 1]}…”",
        runs=tuple({TOKENS: codes[at : at + 1], STATE: state} for at in range(len(codes))),
        judge=lambda answers: float(np.exp(np.nanmean(surprise(answers)))),
        measure=f"perplexity of {len(codes)} {signature.unit}s",
        shown=surprise,
        shown_as="surprise, nats",
        carried={STATE: NEXT_STATE},
        labels=tuple(signature.vocabulary[code] for code in codes),
    )


def _encode(signature: LanguageSignature, text: str) -> Array:
    try:
        return signature.encode(text)
    except UnknownToken as error:
        raise CannotExplain(
            f"{error.token!r}, {signature.unit} {error.place + 1} of --input, is not in the "
            f"model's vocabulary of {len(signature.vocabulary)}: "
            f"{' '.join(map(repr, signature.vocabulary[:40]))}"
        ) from None


def _example(signature: LanguageSignature) -> str:
    return signature.decode(range(min(6, len(signature.vocabulary))))
