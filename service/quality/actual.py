"""`Actual`: what happened to an item at a moment, and which item_ids every database can hold."""

import msgspec

_LONGEST_ID = 1024  # bytes of UTF-8: less than what any database can have in an index


class Actual(msgspec.Struct, frozen=True, gc=False):
    """What happened."""

    item_id: str
    timestamp: int  # microseconds since 1970
    value: float
    model: str = ""  # whose forecasts it is for; empty: of all


def is_storable(item_id: str) -> bool:
    """Whether every database takes it: no NUL, no half of a surrogate pair, not too long."""
    try:
        return "\0" not in item_id and len(item_id.encode()) <= _LONGEST_ID
    except UnicodeEncodeError:
        return False
