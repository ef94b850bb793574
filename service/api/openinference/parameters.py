"""Parameters of a request that nobody here offers, for the REST and the gRPC form alike."""

_STATELESS = (
    "requests are independent of each other here; send a history whole, and the state of a text"
)
_UNSUPPORTED = {  # parameters of a request, and what to do instead
    "sequence_id": _STATELESS,
    "sequence_start": _STATELESS,
    "sequence_end": _STATELESS,
    "priority": "the earliest deadline runs first; send 'timeout' instead",
}


def unsupported(name: str) -> str | None:
    """What to do instead of sending a parameter; None for one that may be sent."""
    if name.startswith("triton_"):
        return "names that begin so are reserved; use another"
    return _UNSUPPORTED.get(name)
