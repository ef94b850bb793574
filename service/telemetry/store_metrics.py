"""What is counted of an object store: whether it answers, since when, and what it costs."""

from service.telemetry.tally import Over, tally

_STATE = Over.LIVING | Over.LARGEST


def observe_store(url: str, up: bool, seen: float, loaded: int) -> None:
    """Say what came of a look.

    Args:
        seen: when a look worked the last time, seconds since 1970.
        loaded: bytes, since the last time this was called.
    """
    tally.cells(("gatecast_store_up", url), over=_STATE)[0] = float(up)
    tally.cells(("gatecast_store_seen_timestamp_seconds", url), over=_STATE)[0] = seen
    tally.cells(("gatecast_store_loaded_bytes_total", url))[0] += loaded
