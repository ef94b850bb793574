"""The tensors of placed rows, back as histories: what tests compare placement with."""

from service.contract.forecast import (
    CATEGORIES,
    KNOWN,
    PAST,
    STATIC,
    TIMESTAMPS,
    ForecastSignature,
)
from service.contract.metadata import Inputs
from service.contract.placement import History

FIELDS = {
    TIMESTAMPS: "timestamps",
    PAST: "past",
    KNOWN: "known",
    STATIC: "static",
    CATEGORIES: "categories",
}


def unstack(inputs: Inputs, signature: ForecastSignature) -> list[History]:
    """The rows without their padding."""
    context, lengths, *others = inputs
    beside = list(zip(signature.inputs[2:], others, strict=True))
    histories = []
    for at, n in enumerate(lengths.tolist()):
        sizes = signature.sizes(1, n)
        parts = {FIELDS[spec.name]: rows[at, : spec.fixed(sizes)[1]] for spec, rows in beside}
        histories.append(History(context[at, :n], **parts))
    return histories
