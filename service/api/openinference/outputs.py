"""What is said of outputs that a model does not give, in the REST and the gRPC form alike."""

from collections.abc import Collection

from service.api.responses import short
from service.errors import Malformed

NO_CLASSES = "classification is not supported; values come as they are"


def wrong_output(name: str, model: str, known: Collection[str]) -> Malformed:
    """An output that is asked for twice, or that is not one of the `known` ones of the model."""
    if name in known:
        return Malformed(f"inference output {name!r} is asked twice", "outputs")
    has = ", ".join(map(repr, known))
    message = f"unexpected inference output {short(name)!r} for model {model!r}; it has {has}"
    return Malformed(message, "outputs")
