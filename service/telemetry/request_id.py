"""The id by which a caller and a log speak of the same request."""

import os
import re

HEADER = b"x-request-id"
LONGEST = 128
_FORM = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,%d}" % LONGEST)


def request_id(sent: bytes | None) -> str:
    """The caller's own, or a new one where none or none of the expected form was sent.

    A letter, a digit or one of ._~:/+=@- each: nothing that a log, a header or a shell reads as
    more than a text.
    """
    if sent is not None and _FORM.fullmatch(sent):
        return sent.decode("ascii")
    return os.urandom(16).hex()
