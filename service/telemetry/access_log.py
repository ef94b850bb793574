"""One line for each request, when it has ended: who asked what, what came of it, where time went.

Nothing of a body is in it, no item and no secret. Lines are written by a thread, in pieces that the
kernel never mixes with those of another worker.
"""

import os
import select
import sys
from datetime import UTC, datetime
from typing import Any

import orjson

from service.telemetry import metrics
from service.telemetry.account import Account
from service.telemetry.backlog import Backlog

LOGGER = "gatecast.access"
_MOST = 16_384  # lines that wait
_BATCH = 1024
_REST_S = 0.1


class AccessLog:
    """Writes accounts to standard error."""

    def __init__(self, *, as_json: bool) -> None:
        self._write_line = json_line if as_json else text_line
        self._refused = metrics.lost("access_log", "refused")
        self._backlog = Backlog("access_log", self._write, most=_MOST, batch=_BATCH, rest_s=_REST_S)
        self.put = self._backlog.put
        self.close = self._backlog.close

    def _write(self, accounts: list[Account]) -> None:
        piece = b""
        for account in accounts:
            line = self._write_line(account)
            if len(piece) + len(line) > select.PIPE_BUF:
                self._send(piece)
                piece = b""
            piece += line
        self._send(piece)

    def _send(self, piece: bytes) -> None:
        try:
            os.write(sys.stderr.fileno(), piece)
        except OSError:  # nobody reads it any more
            self._refused[0] += piece.count(b"\n")


def json_line(account: Account) -> bytes:
    """As `log_format` json."""
    moment = datetime.fromtimestamp(account.wall_ns / 1e9, UTC)
    fields = _fields(account)
    said = f"{account.method} {account.route} {account.status}".strip()
    head = {
        "time": moment.isoformat(),
        "level": "INFO",
        "logger": LOGGER,
        "message": said,
        "worker": os.getpid(),
    }
    return orjson.dumps(head | fields, option=orjson.OPT_APPEND_NEWLINE)


def text_line(account: Account) -> bytes:
    """As `log_format` text."""
    words = [f"{name}={value}" for name, value in _fields(account).items()]
    return f"INFO access {' '.join(words)}\n".encode()


def _fields(account: Account) -> dict[str, Any]:
    """What is known; the rest is left out."""
    fields: dict[str, Any] = {
        "request_id": account.request_id,
        "method": account.method or None,
        "route": account.route,
        "status": account.status,
        "bytes": account.sent,
        "total_ms": _ms(account.ended - account.arrived),
        "client": account.client,
        "key": account.key,
    }
    if account.answered is not None:
        fields["model"] = f"{account.answered.model}@{account.answered.version}"
    if (timing := account.timing) is not None:
        fields |= {"queue_ms": _ms(timing.queue_s), "compute_ms": _ms(timing.compute_s)}
    if account.trace is not None:
        fields["trace_id"] = account.trace.trace_id
    return {name: value for name, value in fields.items() if value is not None}


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
